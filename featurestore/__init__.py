"""Images -> features on disk. Importing this package loads no torch."""

from featurestore.errors import ProbestoreError
from featurestore.layout import FeatureSet, SampleSet
from featurestore.store import Features, FeatureStore

__all__ = ["FeatureSet", "FeatureStore", "Features", "ProbestoreError", "SampleSet"]
