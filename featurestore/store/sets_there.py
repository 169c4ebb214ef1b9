"""Which of the sets that a run asks for are there, without a listing of all shards.

The table `sets` says what is complete. On a local file system each set that is asked for is looked at all the same, so
that what somebody has removed is missed: its folder is listed, and nothing is opened. On an object store, where each
look is a request, a set of the table is taken to be there, and of the models and datasets of the others all files are
listed.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from typing import NamedTuple

from featurestore.store import layout
from featurestore.store.feature_store import FeatureStore
from featurestore.store.known_sets import COLUMNS, Known, known_sets
from featurestore.store.layout import FeatureSet, SampleSet

AnySet = FeatureSet | SampleSet

_THREADS = 16  # an object store takes its time for each listing, and a network's file system for each folder
_FOLDERS_AT_ONCE = 256


class Found(NamedTuple):
    """What there is of a set.

    Attributes
    ----------
    shards : collection of int
        Shards that are published.
    has_manifest : bool
    is_whole : bool
        Whether it has its manifest, and no shard has gone since. A part says of how many it is.
    overflowed : bool
        Whether it has the mark that float16 cannot hold its values.
    completed_at : datetime or None
        Time of change of its manifest, where that is known.
    """

    shards: Collection[int] = ()
    has_manifest: bool = False
    is_whole: bool = False
    overflowed: bool = False
    completed_at: datetime | None = None

    @classmethod
    def of(cls, names: Collection[str], completed_at: datetime | None) -> Found:
        """Return what the names of the files in the folder of a set say."""
        parts = {part for name in names if (part := layout.parse_part(name))}
        has_manifest = layout.MANIFEST in names
        is_whole = has_manifest and bool(parts) and len(parts) >= min(n_shards for _, n_shards in parts)
        shards = {shard for shard, _ in parts}
        whole = is_whole and len(shards) == 1 + max(shards)
        return cls(
            range(len(shards)) if whole else shards, has_manifest, is_whole, layout.OVERFLOW in names, completed_at
        )


_NOTHING = Found()
_ONE_SECOND = timedelta(seconds=1)


class SetsThere:
    """Finds out about sets, about many at a time, and remembers it.

    Parameters
    ----------
    store : FeatureStore
        Its table `sets` is read now.

    Raises
    ------
    StoreError
        If that cannot be read.
    """

    def __init__(self, store: FeatureStore) -> None:
        self._store = store
        self._known = known_sets(store.record_rows("sets", COLUMNS))
        self._found: dict[AnySet, Found] = {}
        self._listed: dict[str, dict[AnySet, Found]] = {}  # folder of a model or a dataset -> its sets

    def look(self, items: Iterable[AnySet]) -> None:
        """Find out about sets of which nothing is known yet, all at once.

        Raises
        ------
        StoreError
            If the store cannot be listed.
        """
        new = [item for item in dict.fromkeys(items) if item not in self._found]
        if self._store.storage.is_local:
            self._look_into_folders(new)
            return
        self._list({_folder_above(item) for item in new if item not in self._known.complete})
        for item in new:
            listed = self._listed.get(_folder_above(item))
            self._found[item] = self._said(item) if listed is None else listed.get(item, _NOTHING)

    def __getitem__(self, item: AnySet) -> Found:
        if item not in self._found:
            self.look([item])
        return self._found[item]

    def overflowed(self, items: Collection[FeatureSet]) -> set[FeatureSet]:
        """Return those of some float16 sets that have the mark that float16 cannot hold their values.

        Raises
        ------
        StoreError
            If the store cannot be listed.
        """
        if not self._store.storage.is_local:
            known = self._known.overflowed.intersection(items)
            self.look(item for item in items if item not in known)
            return known | {item for item in items if item not in known and self._found[item].overflowed}
        self.look(items)
        return {item for item in items if self._found[item].overflowed}

    def digest(self, item: AnySet) -> str | None:
        """Return the digest of the parts of a complete set; None where the table `sets` has none that is of today."""
        is_whole = self[item].is_whole
        row = self._row(item)
        return row.parts_digest if row and is_whole else None

    def models_with_features(self, names: Iterable[str]) -> set[str]:
        """Return those of some models of which there are features, complete or not.

        Raises
        ------
        StoreError
            If the store cannot be listed.
        """
        there = {
            item.model for item, found in self._found.items() if isinstance(item, FeatureSet) and found != _NOTHING
        }
        others = [name for name in names if name not in there]
        with ThreadPoolExecutor(_THREADS) as pool:
            listed = pool.map(self._store.storage.list_files, map(_folder_of_model, others))
            return there | {name for name, files in zip(others, listed, strict=True) if files}

    def note(self) -> int:
        """Write rows of the sets that were asked for, are complete or have overflowed, and had none; return how many.

        Raises
        ------
        StoreError
            If a manifest cannot be read, or the store cannot be written.
        """
        complete = {item: found.completed_at for item, found in self._found.items() if self._lacks_row(item, found)}
        overflowed = {
            item
            for item, found in self._found.items()
            if isinstance(item, FeatureSet) and found.overflowed and item not in self._known.overflowed
        }
        return self._store.note_sets(complete, overflowed)

    @property
    def n_unknown(self) -> int:
        """Number of complete sets that `note` will have to read the manifests of."""
        return sum(self._lacks_row(item, found) for item, found in self._found.items())

    # ---- by the table, by folders, by listings -----------------------------------------------------------------

    def _lacks_row(self, item: AnySet, found: Found) -> bool:
        return found.is_whole and self._row(item) is None

    def _row(self, item: AnySet) -> Known | None:
        """Return the row of a set that is complete, unless it tells of another manifest than is there.

        Versions that did not have the table replace manifests without it.
        """
        row, found = self._known.complete.get(item), self._found.get(item)
        return row if row and found and self._is_of_today(row, found.completed_at) else None

    def _is_of_today(self, row: Known, completed_at: datetime | None) -> bool:
        """Return whether a row tells of the manifest that was written at this time.

        A listing of an object store may have another precision than a question about one file, or no times.
        """
        if self._store.storage.is_local or row.completed_at is None or completed_at is None:
            return row.completed_at == completed_at or not self._store.storage.is_local
        return abs(row.completed_at - completed_at) < _ONE_SECOND

    def _said(self, item: AnySet) -> Found:
        """Return what the table says of a complete set."""
        row = self._known.complete[item]
        return Found(range(row.n_shards), True, True, item in self._known.overflowed, row.completed_at)

    def _look_into_folders(self, items: list[AnySet]) -> None:
        with ThreadPoolExecutor(_THREADS) as pool:
            starts = range(0, len(items), _FOLDERS_AT_ONCE)
            for found in pool.map(self._look_at_some, (items[start : start + _FOLDERS_AT_ONCE] for start in starts)):
                self._found.update(found)

    def _look_at_some(self, items: Iterable[AnySet]) -> list[tuple[AnySet, Found]]:
        return [(item, self._look_at(item)) for item in items]

    def _look_at(self, item: AnySet) -> Found:
        storage, folder = self._store.storage, item.folder
        names = storage.names_in(folder)
        if not names:
            return _NOTHING
        completed_at = storage.modified(f"{folder}/{layout.MANIFEST}") if layout.MANIFEST in names else None
        row = self._known.complete.get(item)
        if row and layout.MANIFEST in names and _has_all(names, row.n_shards):
            return Found(range(row.n_shards), True, True, layout.OVERFLOW in names, completed_at)
        return Found.of(names, completed_at)

    def _list(self, folders: Iterable[str]) -> None:
        new = sorted(folder for folder in folders if folder not in self._listed)
        with ThreadPoolExecutor(_THREADS) as pool:
            self._listed |= zip(new, pool.map(self._sets_in, new), strict=True)

    def _sets_in(self, folder: str) -> dict[AnySet, Found]:
        files: dict[str, dict[str, datetime | None]] = defaultdict(dict)
        for file in self._store.storage.files(folder):
            place, _, name = file.name.rpartition("/")
            files[place][name] = file.modified
        return dict(_found(files))


def _found(files: Mapping[str, Mapping[str, datetime | None]]) -> Iterator[tuple[AnySet, Found]]:
    for place, times in files.items():
        if item := layout.parse_folder(place):
            yield item, Found.of(times.keys(), times.get(layout.MANIFEST))


def _folder_above(item: AnySet) -> str:
    """Return the folder that is listed to find out about a set: that of its model, or of its dataset."""
    return _folder_of_model(item.model) if isinstance(item, FeatureSet) else f"samples/dataset={item.dataset}"


def _folder_of_model(name: str) -> str:
    return f"features/model={name}"


def _has_all(names: Collection[str], n_shards: int) -> bool:
    """Return whether there is a file of each of so many shards, whatever else there is; quicker than to parse them."""
    ending = f"-of-{n_shards:05d}"
    return len({stem for name in names if (stem := name.partition(".")[0]).endswith(ending)}) == n_shards
