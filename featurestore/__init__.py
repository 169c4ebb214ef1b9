"""Images -> features on disk. Importing this package loads no torch."""

from featurestore.errors import ProbestoreError
from featurestore.store.feature_store import Features, FeatureStore
from featurestore.store.layout import FeatureSet, SampleSet, SplitSets

__all__ = ["FeatureSet", "FeatureStore", "Features", "ProbestoreError", "SampleSet", "SplitSets"]
