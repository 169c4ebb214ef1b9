"""The inventory of a store: it is listed once when a run begins, and kept up to date as the run goes on."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from datetime import UTC, datetime
from functools import cached_property

from featurestore import FeatureSet, FeatureStore, SampleSet
from featurestore.store.feature_store import Stock


class Inventory:
    """The sets and the records of a store.

    Parameters
    ----------
    store : FeatureStore, optional
        Store; None stands for one that is yet to be made, which has nothing.
    """

    def __init__(self, store: FeatureStore | None) -> None:
        self._store = store
        self._complete: dict[FeatureSet | SampleSet, datetime] = {}
        self._names: dict[str, dict[str, datetime | None]] = {}

    @cached_property
    def _stock(self) -> Stock:
        return self._store.stock() if self._store else Stock({})

    def has(self, item: FeatureSet | SampleSet) -> bool:
        """Whether a set is complete, with all of its shards."""
        return item in self._complete or self._stock.is_whole(item)

    def has_manifest(self, item: FeatureSet | SampleSet) -> bool:
        """Whether a set was complete when the run began, even if shards of it have gone since."""
        return self._stock.has(item)

    def completed_at(self, item: FeatureSet | SampleSet) -> datetime | None:
        """Return when a set became complete; None if that is not known."""
        return self._complete.get(item) or self._stock.completed_at(item)

    def shards(self, item: FeatureSet | SampleSet) -> set[int]:
        """Return the shards of a set that were published when the run began."""
        return self._stock.shards(item)

    def models(self) -> set[str]:
        """Return the names of the models that features were published of when the run began."""
        return self._stock.models()

    def overflowed(self, item: FeatureSet) -> bool:
        """Whether a float16 set had met a value that float16 cannot hold when the run began."""
        return self._stock.overflowed(item)

    def completed(self, item: FeatureSet | SampleSet) -> None:
        """Note that a set is complete now."""
        self._complete[item] = _NEVER_BEFORE

    def names(self, table: str) -> Collection[str]:
        """Return the names of the records of a table."""
        return self._known(table).keys()

    def records(self, tables: Collection[str]) -> Mapping[str, Collection[str]]:
        """Return the names of the records of several tables."""
        return {table: self._known(table).keys() for table in tables}

    def look_again(self, table: str) -> None:
        """List the records of a table anew at the next question, because workers have added some."""
        self._names.pop(table, None)

    def recorded(self, table: str, name: str) -> None:
        """Note that a record is there now."""
        self._known(table)[name] = _NEVER_BEFORE

    def modified(self, table: str, name: str) -> datetime | None:
        """Return when a record was written; None if that is not known."""
        return self._known(table).get(name)

    def _known(self, table: str) -> dict[str, datetime | None]:
        if table not in self._names:
            self._names[table] = self._store.record_times(table) if self._store else {}
        return self._names[table]


_NEVER_BEFORE = datetime.max.replace(tzinfo=UTC)
"""Time of what this run has made: after everything that was there when it began."""
