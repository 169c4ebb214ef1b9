"""The many small files of a table of records, gathered in one file on this node.

A cell is a file of its own, so that nobody who computes one waits for anybody. But opening thousands of files takes
seconds, for every question anew, while next to nothing has changed in between. So the rows are kept together in the
node's cache, with the name, size and time of the file that each came from, and only files that are new or have changed
are opened: packs first, which have the rows of many records. A cache that cannot be written or is damaged costs no more
than that.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from featurestore.store import layout, schema
from featurestore.store.digests import digest, is_intact, sealed_parquet
from featurestore.store.pack_index import PackIndex
from featurestore.store.packs import place_of
from featurestore.store.storage import Storage, StoredFile
from featurestore.written_whole import written_whole

FEW_FILES = 32
"""So many files, or fewer, are opened as fast as one is."""

_SOURCES = b"probestore_sources"
_THREADS = 8

_Stamp: TypeAlias = tuple[str, int, str, str]
"""Name, bytes and time of change of a file, and which of its records count: while these are equal, it is still the
same."""


@dataclass(frozen=True)
class _Source:
    """A file that rows come from, and its records that count."""

    stamp: _Stamp
    records: Sequence[StoredFile] = field(compare=False)

    @property
    def name(self) -> str:
        return self.stamp[0]


@dataclass(frozen=True)
class _Gathered:
    """Rows one after the other, and of which file how many of them are."""

    stamps: Sequence[_Stamp]
    counts: Sequence[int]
    rows: pa.Table


def gather(storage: Storage, table: str, folder: Path, *, listed: Sequence[StoredFile] | None = None) -> Path | None:
    """Return one file with the rows of all records of a table; None if there are few, or their times are not known.

    Parameters
    ----------
    storage : Storage
        Storage of the store.
    table : str
        One of `schema.TABLES`.
    folder : Path
        Folder of the cache; made when it is needed.
    listed : sequence of StoredFile, optional
        The records of the table, as `PackIndex.listed` lists them; by default they are listed here.

    Raises
    ------
    StoreError
        If a file cannot be read.
    """
    sources = _sources(PackIndex(storage).listed(table) if listed is None else listed)
    few = len(sources) <= FEW_FILES and not any(layout.parse_pack(source.name) for source in sources)
    if few or not _times_are_known(sources):
        return None
    path = _path(storage, table, folder)
    _, saved = _bring_up_to_date(storage, table, path, sources, columns=())
    return path if saved else None


def write_rows(storage: Storage, table: str, path: Path, *, listed: Sequence[StoredFile]) -> None:
    """Write the rows of all records of a table to a new file, where they cannot be kept.

    Parameters
    ----------
    storage, table
        As for `gather`.
    path : Path
    listed : sequence of StoredFile
        The records of the table, as `PackIndex.listed` lists them.

    Raises
    ------
    StoreError
        If a file cannot be read.
    """
    pq.write_table(_read_all(storage, table, _sources(listed)).rows, path)


def records(storage: Storage, table: str, folder: Path | None, *, listed: Sequence[StoredFile]) -> dict[str, pa.Table]:
    """Return the rows of each record of a table by its name in the listing, in that order.

    A file that has not changed is not opened again.

    Parameters
    ----------
    storage, table, listed
        As for `write_rows`.
    folder : Path or None
        Folder of the cache; None if nothing may be kept.

    Raises
    ------
    StoreError
        If a file cannot be read.
    """
    sources = _sources(listed)
    gathered = _up_to_date(storage, table, folder, sources)
    found, start = {}, 0
    for name, n_rows in zip(*_of_records(gathered, sources), strict=True):
        found[name] = gathered.rows.slice(start, n_rows)
        start += n_rows
    return {file.name: found[file.name] for file in listed if file.name in found}


def all_rows(
    storage: Storage, table: str, folder: Path | None, columns: Sequence[str], *, listed: Sequence[StoredFile]
) -> pa.Table:
    """Return some columns of all rows of a table, and the names of their records in the listing in a column ``file``.

    For tens of thousands of records this is many times as fast as `records`.

    Parameters
    ----------
    storage, table, folder, listed
        As for `records`.
    columns : sequence of str

    Raises
    ------
    StoreError
        If a file cannot be read.
    """
    sources = _sources(listed)
    gathered = _up_to_date(storage, table, folder, sources, columns=columns)
    names, counts = _of_records(gathered, sources)
    places = pa.array(np.repeat(np.arange(len(names)), np.array(counts, np.int64)))
    return gathered.rows.select(columns).append_column("file", pa.array(names, pa.string()).take(places))


def _sources(listed: Iterable[StoredFile]) -> list[_Source]:
    """Return the files that have the records of a listing: packs first, each with the records of it that count."""
    loose, packs = list[_Source](), dict[StoredFile, list[StoredFile]]()
    for file in listed:
        if file.packed:
            packs.setdefault(file.packed.pack, []).append(file)
        elif file.name.endswith(".parquet"):
            loose.append(_Source(_stamp(file), (file,)))
    in_order = ((pack, sorted(own, key=lambda file: place_of(file).start)) for pack, own in packs.items())
    of_packs = [_Source(_stamp(pack, [place_of(file).start for file in own]), own) for pack, own in in_order]
    return [*of_packs, *loose]


def _stamp(file: StoredFile, starts: Sequence[int] = ()) -> _Stamp:
    counting = digest(np.array(starts, np.int64)) if starts else ""
    return (file.name, file.size, file.modified.isoformat() if file.modified else "", counting)


def _times_are_known(sources: Iterable[_Source]) -> bool:
    """Return whether each file can be told from a later one of its name; packs never change."""
    return all(source.stamp[2] or layout.parse_pack(source.name) for source in sources)


def _path(storage: Storage, table: str, folder: Path) -> Path:
    # Versions that know no packs cannot read what is kept of them, so these files have other names than theirs.
    key = layout.content_key({"store": storage.uri, "schema": str(schema.TABLES[table].schema), "packs": True})
    return folder / f"records-{key}.parquet"


def _up_to_date(
    storage: Storage,
    table: str,
    folder: Path | None,
    sources: Sequence[_Source],
    *,
    columns: Sequence[str] | None = None,
) -> _Gathered:
    if folder and sources and _times_are_known(sources):
        return _bring_up_to_date(storage, table, _path(storage, table, folder), sources, columns=columns)[0]
    return _read_all(storage, table, sources)


def _bring_up_to_date(
    storage: Storage,
    table: str,
    path: Path,
    sources: Sequence[_Source],
    *,
    columns: Sequence[str] | None = None,
) -> tuple[_Gathered, bool]:
    """Return the rows of all these files, with at least some of the columns, and whether they are in the cache now."""
    wanted = {source.stamp: source for source in sources}
    known = _load(path, columns)
    if known and set(known.stamps) == wanted.keys():
        return known, True
    if known and columns is not None:
        known = _load(path)
    kept = _only(known, wanted) if known else _Gathered((), (), _no_rows(table))
    there = set(kept.stamps)
    new = _read_all(storage, table, [source for stamp, source in wanted.items() if stamp not in there])
    rows = pa.concat_tables([kept.rows.replace_schema_metadata(None), new.rows]).combine_chunks()
    gathered = _Gathered([*kept.stamps, *new.stamps], [*kept.counts, *new.counts], rows)
    return gathered, _save(path, gathered)


def _only(known: _Gathered, wanted: Mapping[_Stamp, _Source]) -> _Gathered:
    """Return the rows of those files that are still wanted."""
    counts = np.array(known.counts, np.int64)
    is_wanted = np.array([stamp in wanted for stamp in known.stamps], bool)
    rows = known.rows.filter(pa.array(np.repeat(is_wanted, counts)))
    stamps = [stamp for stamp in known.stamps if stamp in wanted]
    return _Gathered(stamps, counts[is_wanted].tolist(), rows)


def _of_records(gathered: _Gathered, sources: Sequence[_Source]) -> tuple[list[str], list[int]]:
    """Return the names of the records that the rows are of, one after the other, and their numbers of rows."""
    by_stamp = {source.stamp: source.records for source in sources}
    names, counts = list[str](), list[int]()
    for stamp, n_rows in zip(gathered.stamps, gathered.counts, strict=True):
        own = by_stamp[stamp]
        names += [record.name for record in own]
        counts += [record.packed.n_rows if record.packed else n_rows for record in own]
    return names, counts


def _read_all(storage: Storage, table: str, sources: Sequence[_Source]) -> _Gathered:
    with ThreadPoolExecutor(_THREADS) as pool:
        found = list(pool.map(lambda source: _read_source(storage, table, source), sources))
    rows = pa.concat_tables([_no_rows(table), *found])
    return _Gathered([source.stamp for source in sources], [len(own) for own in found], rows)


def _read_source(storage: Storage, table: str, source: _Source) -> pa.Table:
    """Read a file, and of it the rows of the records that count."""
    rows = _read(storage, table, source.name)
    own = [record.packed for record in source.records if record.packed]
    if not own or sum(place.n_rows for place in own) == len(rows):
        return rows
    counts: npt.NDArray[np.bool_] = np.zeros(len(rows), bool)
    for place in own:
        counts[place.start : place.start + place.n_rows] = True
    return rows.filter(pa.array(counts))


def _read(storage: Storage, table: str, name: str) -> pa.Table:
    """Read the rows of one file; columns that are newer than it are null."""
    content = storage.read_intact(name)
    with storage.parsing(name):
        rows = pq.ParquetFile(pa.BufferReader(content)).read(use_threads=False)
        return schema.by_name(rows, _no_rows(table).schema)


@cache
def _no_rows(table: str) -> pa.Table:
    """Return no rows. Nothing is "not null": what a file lacked is null, whatever the schema of today asks for."""
    return pa.schema([field.with_nullable(True) for field in schema.TABLES[table].schema]).empty_table()


def _load(path: Path, columns: Sequence[str] | None = None) -> _Gathered | None:
    """Read what is gathered there, all columns or some; None if the file is not as it was written."""
    try:
        content = pa.py_buffer(path.read_bytes())
        if not is_intact(content, path.name):
            return None
        rows = pq.ParquetFile(pa.BufferReader(content)).read(columns=None if columns is None else list(columns))
        sources = json.loads(rows.schema.metadata[_SOURCES])
        stamps = [(name, size, modified, counting) for name, size, modified, counting, _ in sources]
    except (OSError, pa.ArrowException, KeyError, TypeError, ValueError, RecursionError):
        return None
    counts = [n_rows for *_, n_rows in sources]
    return _Gathered(stamps, counts, rows) if sum(counts) == len(rows) else None


def _save(path: Path, gathered: _Gathered) -> bool:
    """Write the file whole; return whether that was possible."""
    sources = [(*stamp, n_rows) for stamp, n_rows in zip(gathered.stamps, gathered.counts, strict=True)]
    rows = gathered.rows.replace_schema_metadata({_SOURCES: json.dumps(sources)})
    try:
        with written_whole(path) as staged:
            staged.write_bytes(sealed_parquet(rows, {}, name=path.name))
    except OSError:  # no space, or no permission
        return False
    return True
