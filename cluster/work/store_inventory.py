"""The inventory of a store: what a run asks for is looked up when it begins, and kept up to date as the run goes on."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from datetime import UTC, datetime
from functools import cached_property

from featurestore import FeatureSet, FeatureStore, SampleSet
from featurestore.store.sets_there import SetsThere


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
    def _sets(self) -> SetsThere | None:
        return SetsThere(self._store) if self._store else None

    def look(self, items: Iterable[FeatureSet | SampleSet]) -> None:
        """Find out about all these sets at once: one after the other, an object store would take its time for each."""
        if self._sets:
            self._sets.look(items)

    def has(self, item: FeatureSet | SampleSet) -> bool:
        """Whether a set is complete, with all of its shards."""
        return item in self._complete or bool(self._sets and self._sets[item].is_whole)

    def has_manifest(self, item: FeatureSet | SampleSet) -> bool:
        """Whether a set was complete when the run began, even if shards of it have gone since."""
        return bool(self._sets and self._sets[item].has_manifest)

    def completed_at(self, item: FeatureSet | SampleSet) -> datetime | None:
        """Return when a set became complete; None if that is not known."""
        return self._complete.get(item) or (self._sets[item].completed_at if self._sets else None)

    def digest(self, item: FeatureSet | SampleSet) -> str | None:
        """Return the digest of the parts of a set that was complete when the run began; None if it is not at hand."""
        return self._sets.digest(item) if self._sets and item not in self._complete else None

    def shards(self, item: FeatureSet | SampleSet) -> set[int]:
        """Return the shards of a set that were published when the run began."""
        return set(self._sets[item].shards) if self._sets else set()

    def models_with_features(self, names: Iterable[str]) -> set[str]:
        """Return those of some models of which features were published when the run began, complete or not."""
        return self._sets.models_with_features(names) if self._sets else set()

    def overflowed(self, items: Collection[FeatureSet]) -> set[FeatureSet]:
        """Return those of some float16 sets that had met a value that float16 cannot hold when the run began."""
        return self._sets.overflowed(items) if self._sets else set()

    def completed(self, item: FeatureSet | SampleSet) -> None:
        """Note that a set is complete now."""
        self._complete[item] = _NEVER_BEFORE

    @property
    def n_unknown(self) -> int:
        """Number of complete sets that the store's table `sets` does not name: an earlier version made them."""
        return self._sets.n_unknown if self._sets else 0

    def note_sets(self) -> None:
        """Name them there, so that the next run need not look for their files."""
        if self._sets:
            self._sets.note()

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
