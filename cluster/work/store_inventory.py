"""The inventory of a store: it is listed once when a run begins, and kept up to date as the run goes on."""

from __future__ import annotations

from collections.abc import Collection, Mapping
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
        self._complete: set[FeatureSet | SampleSet] = set()
        self._names: dict[str, set[str]] = {}

    @cached_property
    def _stock(self) -> Stock:
        return self._store.stock() if self._store else Stock({})

    def has(self, item: FeatureSet | SampleSet) -> bool:
        """Whether a set is complete."""
        return item in self._complete or self._stock.has(item)

    def shards(self, item: FeatureSet | SampleSet) -> set[int]:
        """Return the shards of a set that were published when the run began."""
        return self._stock.shards(item)

    def overflowed(self, item: FeatureSet) -> bool:
        """Whether a float16 set had met a value that float16 cannot hold when the run began."""
        return self._stock.overflowed(item)

    def completed(self, item: FeatureSet | SampleSet) -> None:
        """Note that a set is complete now."""
        self._complete.add(item)

    def names(self, table: str) -> Collection[str]:
        """Return the names of the records of a table."""
        return self._known(table)

    def records(self, tables: Collection[str]) -> Mapping[str, Collection[str]]:
        """Return the names of the records of several tables."""
        return {table: self._known(table) for table in tables}

    def look_again(self, table: str) -> None:
        """List the records of a table anew at the next question, because workers have added some."""
        self._names.pop(table, None)

    def recorded(self, table: str, name: str) -> None:
        """Note that a record is there now."""
        self._known(table).add(name)

    def _known(self, table: str) -> set[str]:
        if table not in self._names:
            self._names[table] = self._store.names(table) if self._store else set()
        return self._names[table]
