"""Gather the records of finished work into few files, packs, beside whatever else goes on in the store.

A pack is published before the files that it has the rows of are removed, and each of these only if it still is the file
that was read. Whoever is killed in between leaves records in both, of which the files count. A file that was changed
meanwhile stays, and counts; so does one that is damaged, or that a pack could not hold.

Where several compactions go on at once, a record is in several packs, and all but one of these give it up. Whether a
pack has its records rightly is therefore asked before it is published, and never again: once others see it, they may
have given up theirs for it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from featurestore.errors import DamagedFileError, MissingFileError, StoreError
from featurestore.store import layout, packs, schema
from featurestore.store.digests import digest, seal
from featurestore.store.feature_store import FeatureStore, mark_packed
from featurestore.store.pack_index import TRIES
from featurestore.store.packs import Record
from featurestore.store.record_cache import FEW_FILES
from featurestore.store.storage import Storage, StoredFile

MOST_BYTES_OF_A_RECORD = 16 * 1024**2
"""Files of records that are larger stay: there is nothing to gain."""
SMALL_PACK = packs.MOST_BYTES // 4
"""Packs that are smaller are merged when there are more than `FEW_FILES` of them."""

_FIRST = ("predictions", "tuning", "results")  # results say that the others are there
_BATCH_BYTES = 16 * 1024**2  # of records that are read at once
_BATCH_FILES = 256
_THREADS = 16  # an object store takes its time for each file
_COARSE = timedelta(minutes=1)  # within it, two files of one size may have one and the same time of change


@dataclass
class Compacted:
    """What was done.

    Attributes
    ----------
    records : dict of str to int
        Table -> number of records that were packed, and whose files are removed.
    packs : dict of str to int
        Table -> number of packs that were written.
    merged : int
        Number of packs whose records are in other packs now.
    left : dict of str to str
        File that stays -> why.
    """

    records: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    packs: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    merged: int = 0
    left: dict[str, str] = field(default_factory=dict)


def compact(store: FeatureStore, *, more_than: int = 0) -> Compacted:
    """Pack the records of finished work. Runs and readers may go on meanwhile, and other compactions.

    Parameters
    ----------
    store : FeatureStore
    more_than : int
        Tables of no more files of records are left as they are.

    Raises
    ------
    StoreError
        If the store cannot be listed, read or written. Nothing is lost then, and doing it again goes on from there.
    """
    done = Compacted()
    with ThreadPoolExecutor(_THREADS) as pool:
        for table in _in_order():
            files = store.stored_files(table)
            loose = [file for file in files if _is_record(file, table)]
            if len(loose) > more_than:
                mark_packed(store.storage)
                _Compaction(store, table, pool, done).pack(loose)
                files = store.stored_files(table)
            _tidy(store, table, [file for file in files if layout.parse_pack(file.name)], done)
    return done


def is_due(store: FeatureStore) -> bool:
    """Return whether a table has so many files of records that packing them is worth its while.

    Raises
    ------
    StoreError
        If the store cannot be listed.
    """
    tables = _in_order()
    with ThreadPoolExecutor(len(tables)) as pool:
        listed = pool.map(store.storage.files, tables)
        counts = [sum(_is_record(file, table) for file in files) for table, files in zip(tables, listed, strict=True)]
    return max(counts) > FEW_FILES


def _in_order() -> list[str]:
    """Return the packed tables: what is written before results goes before them, too."""
    tables = [name for name, table in schema.TABLES.items() if table.packed]
    return sorted(tables, key=lambda name: _FIRST.index(name) if name in _FIRST else len(_FIRST))


def _is_record(file: StoredFile, table: str) -> bool:
    """Return whether this is the file of a record that a pack may hold."""
    folder, _, name = file.name.rpartition("/")
    return folder == table and name.endswith(".parquet") and file.size <= MOST_BYTES_OF_A_RECORD


@dataclass(frozen=True)
class _Read:
    """A file of a record as it was read."""

    file: StoredFile
    digest: str
    read_at: datetime


class _Compaction:
    """The packing of one table."""

    def __init__(self, store: FeatureStore, table: str, pool: Executor, done: Compacted) -> None:
        self._store, self._table, self._pool, self._done = store, table, pool, done
        self._read: dict[str, _Read] = {}

    def pack(self, files: Sequence[StoredFile]) -> None:
        """Pack the records of these files, sorted by model and dataset."""
        order = _places(self._store, self._table)
        waiting = sorted(files, key=lambda file: (order(layout.record_name(file.name)), file.name))
        for _ in range(TRIES):
            packed = set[str]()
            for _, names in packs.write(
                self._store.storage, self._table, self._records(waiting), are_current=self._are_there
            ):
                self._done.packs[self._table] += 1
                self._remove(names)
                packed.update(names)
            if packed.issuperset(self._read):
                return
            self._read.clear()
            there = self._there()
            waiting = [file for file in waiting if layout.record_name(file.name) in there - packed]

    def _are_there(self, names: Sequence[str]) -> bool:
        """Return whether the files of records are all there: what somebody has removed meanwhile must not come back."""
        return self._there().issuperset(names)

    def _there(self) -> set[str]:
        files = self._store.stored_files(self._table)
        return {layout.record_name(file.name) for file in files if _is_record(file, self._table)}

    def _records(self, files: Iterable[StoredFile]) -> Iterator[Record]:
        for batch in _batches(files):
            before = self._store.generations(self._table)
            read = [record for record in self._pool.map(self._record, batch) if record]
            now = self._store.generations(self._table)
            for record in read:
                # Else somebody packs this name just then, who may have read a later file than is at hand here.
                if before.get(record.name) == now.get(record.name):
                    yield replace(record, generation=now.get(record.name, 0))

    def _record(self, file: StoredFile) -> Record | None:
        """Read a record; None if its file stays, for a reason that is noted, or is gone."""
        storage, read_at = self._store.storage, datetime.now(UTC)
        try:
            content = storage.read_intact(file.name)
            with storage.parsing(file.name):
                rows = pq.ParquetFile(pa.BufferReader(content)).read(use_threads=False).replace_schema_metadata(None)
        except MissingFileError:  # somebody else has packed or removed it
            return None
        except DamagedFileError:
            self._done.left[file.name] = f"it is damaged; mend the store: {storage.mend()}"
            return None
        if why := self._objection(rows, own := seal(content)):
            self._done.left[file.name] = why
            return None
        name = layout.record_name(file.name)
        self._read[name] = _Read(file, digest(content), read_at)
        return Record(name, rows, own, file.modified, read_at)

    def _objection(self, rows: pa.Table, own: str | None) -> str | None:
        """Say why a record is not packed."""
        if own is None:
            sign = self._store.storage.command("verify", "--seal")
            return f"an earlier version wrote it without a digest; give it one: {sign}"
        if not packs.fits(self._table, rows):
            return "it has no rows, or columns that this version of probestore does not know"
        return None

    def _remove(self, names: Sequence[str]) -> None:
        """Remove the files of records that a pack has now, unless they have changed."""
        self._done.records[self._table] += sum(self._pool.map(self._remove_one, names))
        for name in names:
            del self._read[name]

    def _remove_one(self, name: str) -> bool:
        """Return whether the file was removed."""
        storage, read = self._store.storage, self._read[name]
        return storage.delete_same(read.file.name, lambda path: _is_same(storage, path, read))


def _is_same(storage: Storage, path: str, read: _Read) -> bool:
    """Return whether a file is the one that was read, by its size and time, or, where they do not tell, its content."""
    now = storage.look(path)
    if now is None or now.size != read.file.size or now.modified != read.file.modified:
        return False
    coarse = now.modified is None or (now.modified.microsecond == 0 and read.read_at - now.modified < _COARSE)
    return not coarse or digest(storage.read_buffer(path)) == read.digest


def _places(store: FeatureStore, table: str) -> Callable[[str], tuple[str, ...]]:
    """Return what gives the model and the dataset of a record by its name, as far as they are known."""
    of = table if schema.TABLES[table].gathered else "results"  # predictions are named as results are
    columns = [name for name in ("model", "dataset") if name in schema.TABLES[of].schema.names]
    try:
        rows: list[dict[str, Any]] = store.record_rows(of, columns).to_pylist()
    except StoreError:  # one is damaged, or out of reach: the order is for speed only
        rows = []
    known = {row["record"]: tuple(row[name] or "" for name in columns) for row in rows}
    nowhere = ("",) * len(columns)
    return lambda name: known.get(name, nowhere)


def _batches(files: Iterable[StoredFile]) -> Iterator[list[StoredFile]]:
    """Yield files that are read at once."""
    batch, n_bytes = list[StoredFile](), 0
    for file in files:
        batch.append(file)
        n_bytes += file.size
        if len(batch) == _BATCH_FILES or n_bytes >= _BATCH_BYTES:
            yield batch
            batch, n_bytes = [], 0
    if batch:
        yield batch


def _tidy(store: FeatureStore, table: str, files: Sequence[StoredFile], done: Compacted) -> None:
    """Write packs again without the records of which later ones count, and many small packs as few large ones."""
    damaged: list[str] = []
    counting: dict[str, set[str]] = defaultdict(set)
    for record in store.expanded(files, damaged=damaged):
        counting[packs.place_of(record).pack.name].add(layout.record_name(record.name))
    done.left |= {name: f"it cannot be read; see why: {store.storage.command('verify')}" for name in damaged}
    sound = [file for file in files if file.name not in damaged]
    lists = store.pack_contents(table, sound)
    former = {file: set(lists[file.name].names) - counting[file.name] for file in sound}
    small = [file for file in sound if file.size < SMALL_PACK]
    merged = small if len(small) > FEW_FILES else []
    tidying = _Tidying(store.storage, table, former, done)
    if merged:
        tidying.rewrite(merged)
    for file, names in former.items():
        if names and file not in merged:
            tidying.rewrite([file])


class _Tidying:
    """The writing of packs anew.

    Parameters
    ----------
    former : mapping of StoredFile to set of str
        All packs that can be read -> names of records that they give up, because those of other packs count.
    """

    def __init__(self, storage: Storage, table: str, former: Mapping[StoredFile, set[str]], done: Compacted) -> None:
        self._storage, self._table, self._former, self._done = storage, table, former, done
        self._there = set(former)

    def rewrite(self, files: Sequence[StoredFile]) -> None:
        """Write the records of packs as other packs, and remove them.

        If a pack is gone meanwhile, all stay as they are: what they would give up may be nowhere else.
        """
        read, written = set[str](), set[str]()

        def records() -> Iterator[Record]:
            for file in files:
                for record in packs.known_records(self._storage, file, but=self._former[file]):
                    read.add(record.name)
                    yield record

        n_packs = 0
        try:
            for _, names in packs.write(self._storage, self._table, records(), are_current=self._are_current):
                written.update(names)
                n_packs += 1
        except MissingFileError:
            return
        except DamagedFileError as error:
            self._done.left |= {file.name: str(error) for file in files}
            return
        if written != read or not self._are_current(()):
            return
        for file in files:
            self._storage.delete(file.name)
        self._there.difference_update(files)
        self._done.packs[self._table] += n_packs
        self._done.merged += len(files)

    def _are_current(self, _: Sequence[str]) -> bool:
        return all(self._storage.look(file.name) for file in self._there)
