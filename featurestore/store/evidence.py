"""What results rest on: are the features, predictions and tuning of now those that they were computed from?"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import pyarrow as pa

from featurestore.errors import DamagedFileError, MissingFeaturesError
from featurestore.store.digests import digest_of_parts, rows_digest
from featurestore.store.feature_store import FeatureStore
from featurestore.store.layout import FeatureSet, SplitSets, record_path
from featurestore.store.schema import SPLITS

COLUMNS = (
    *("cell", "origin", "replaced", "features_digests", "predictions_digest", "tuning_digest"),
    "created_at",
)
"""Columns of `results` that `Evidence.objection` reads."""


def tuning_digest(rows: pa.Table) -> str:
    """Return the digest of how a parameter was chosen, whatever time that took."""
    return rows_digest(rows, without=["seconds"])


@dataclass(frozen=True)
class _Features:
    digest: str
    created_at: datetime | None


class Evidence:
    """What there is now of what results rest on. Each file is read once.

    Parameters
    ----------
    store : FeatureStore
    there : collection of str, optional
        Names of all files of the store, where they have just been listed; by default each is looked for.
    digest : callable, optional
        Returns the digest of a feature set where it is at hand; None where its manifest is to be read. What the
        manifests do not say is no objection.
    """

    def __init__(
        self,
        store: FeatureStore,
        *,
        there: Collection[str] | None = None,
        digest: Callable[[FeatureSet], str | None] = lambda item: None,
    ) -> None:
        self._store = store
        self._there = there
        self._digest = digest
        self._features: dict[FeatureSet, _Features | None] = {}

    @property
    def digests(self) -> dict[FeatureSet, str | None]:
        """Digests of the feature sets whose manifests were read; None of those that are not there or damaged."""
        return {item: now.digest if now else None for item, now in self._features.items()}

    def note(self, item: FeatureSet, manifest: Mapping[str, Any]) -> None:
        """Take note of a manifest that was read just now and is sound, so that it is not read again."""
        self._features[item] = _features(manifest)

    def objection(self, result: Mapping[str, Any], features: SplitSets | None) -> str | None:
        """Say what a result rests on that is not what there is now; None if it rests on nothing else.

        What is not there or is damaged is no objection: others find it, and it will be compared when it is there again.

        Parameters
        ----------
        result : mapping of str to Any
            `COLUMNS` of one of the rows of a cell.
        features : SplitSets, optional
            The feature sets of the cell; None if they are not known.

        Raises
        ------
        StoreError
            If a file cannot be read.
        """
        if result["origin"] is not None or result["replaced"] is not None:
            return None
        return (features and self._of_features(result, features)) or self._of_records(result)

    def _of_features(self, result: Mapping[str, Any], features: SplitSets) -> str | None:
        if result["features_digests"] is None:  # of an earlier version
            found = filter(None, map(self._now, features.sets()))
            younger = any(now.created_at and now.created_at > result["created_at"] for now in found)
            return "features that were made anew since" if younger else None
        for split, digest in zip(SPLITS, result["features_digests"], strict=True):
            if digest is None or self._digest(features.set(split)) == digest:
                continue
            now = self._now(features.set(split))
            if now and now.digest != digest:
                return f"other features of {split} than there are"
        return None

    def _of_records(self, result: Mapping[str, Any]) -> str | None:
        cell = result["cell"]
        if self._is_other("predictions", cell, result["predictions_digest"]):
            return "other predictions than there are"
        if self._is_other("tuning", cell, result["tuning_digest"]):
            return "another tuning than there is"
        return None

    def _is_other(self, table: str, cell: str, digest: str | None) -> bool:
        if digest is None or not self._is_there(table, cell):
            return False
        if table == "predictions":
            return self._store.record_seal(table, cell) != digest
        try:
            return tuning_digest(self._store.read_record(table, cell)) != digest
        except DamagedFileError:
            return False

    def _is_there(self, table: str, cell: str) -> bool:
        if self._there is None:
            return self._store.has_record(table, cell)
        return record_path(table, cell) in self._there

    def _now(self, item: FeatureSet) -> _Features | None:
        if item not in self._features:
            self._features[item] = self._read(item)
        return self._features[item]

    def _read(self, item: FeatureSet) -> _Features | None:
        try:
            return _features(self._store.manifest(item))
        except (MissingFeaturesError, DamagedFileError):
            return None


def _features(manifest: Mapping[str, Any]) -> _Features:
    created_at = manifest.get("created_at")
    return _Features(digest_of_parts(manifest), datetime.fromisoformat(created_at) if created_at else None)
