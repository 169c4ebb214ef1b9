"""Everything that was made and is not there: records, features and images."""

from __future__ import annotations

from featurestore import FeatureStore
from featurestore.store import expected


def gone(store: FeatureStore) -> list[expected.Gone]:
    """By table and file."""
    return sorted([*expected.gone(store), *expected.gone_sets(store)])
