"""The many small files of a table of records, gathered in one file on this node.

A cell is a file of its own, so that nobody who computes one waits for anybody. But opening thousands of files takes
seconds, for every question anew, while next to nothing has changed in between. So the rows are kept together in the
node's cache, with the name, size and time of the file that each came from, and only files that are new or have changed
are opened. A cache that cannot be written or is damaged costs no more than that.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from featurestore.store import layout, schema
from featurestore.store.digests import is_intact, sealed_parquet
from featurestore.store.storage import Storage, StoredFile
from featurestore.written_whole import written_whole

FEW_FILES = 32
"""So many files, or fewer, are opened as fast as one is."""

_SOURCES = b"probestore_sources"
_THREADS = 8

_Stamp: TypeAlias = tuple[str, int, str]
"""Name, bytes and time of change of a file: while these are equal, it is still the same."""


def gather(storage: Storage, table: str, folder: Path, *, listed: Sequence[StoredFile] | None = None) -> Path | None:
    """Return one file with the rows of all files of a table; None if there are few, or their times are not known.

    Parameters
    ----------
    storage : Storage
        Storage of the store.
    table : str
        One of `schema.TABLES`.
    folder : Path
        Folder of the cache; made when it is needed.
    listed : sequence of StoredFile, optional
        The files of the table, where they have just been listed; by default they are listed here.

    Raises
    ------
    StoreError
        If a file cannot be read.
    """
    files = _records(storage.files(table) if listed is None else listed)
    if len(files) <= FEW_FILES or not _times_are_known(files):
        return None
    path = _path(storage, table, folder)
    _, saved = _bring_up_to_date(storage, table, path, files)
    return path if saved else None


def records(storage: Storage, table: str, folder: Path | None) -> dict[str, pa.Table]:
    """Return the rows of all files of a table by the names of the files; one that has not changed is not opened again.

    Parameters
    ----------
    storage, table
        As for `gather`.
    folder : Path or None
        Folder of the cache; None if nothing may be kept.

    Raises
    ------
    StoreError
        If a file cannot be read.
    """
    files = _records(storage.files(table))
    if folder and files and _times_are_known(files):
        rows, _ = _bring_up_to_date(storage, table, _path(storage, table, folder), files)
    else:
        rows = _read_all(storage, table, [_stamp(file) for file in files])
    return {name: found for (name, _, _), found in rows.items()}


def all_rows(
    storage: Storage, table: str, folder: Path | None, columns: Sequence[str], *, listed: Sequence[StoredFile]
) -> pa.Table:
    """Return some columns of all rows of a table, and the names of their files in a column ``file``.

    For tens of thousands of files this is many times as fast as `records`.

    Parameters
    ----------
    storage, table, folder
        As for `records`.
    columns : sequence of str
    listed : sequence of StoredFile
        The files of the table.

    Raises
    ------
    StoreError
        If a file cannot be read.
    """
    files = _records(listed)
    path = _path(storage, table, folder) if folder and files and _times_are_known(files) else None
    stamps, rows = _gathered(path) if path else ([], _no_rows(table))
    if [stamp for stamp, _ in stamps] != (wanted := [_stamp(file) for file in files]):
        found = _bring_up_to_date(storage, table, path, files)[0] if path else _read_all(storage, table, wanted)
        stamps = [(stamp, len(own)) for stamp, own in found.items()]
        rows = pa.concat_tables([own.select(columns) for own in found.values()])
    names = pa.array([name for (name, _, _), _ in stamps], pa.string())
    places = np.repeat(np.arange(len(stamps)), np.array([n_rows for _, n_rows in stamps], np.int64))
    return rows.select(columns).append_column("file", names.take(pa.array(places)))


def _records(files: Sequence[StoredFile]) -> list[StoredFile]:
    return [file for file in files if file.name.endswith(".parquet")]


def _times_are_known(files: Sequence[StoredFile]) -> bool:
    return all(file.modified is not None for file in files)


def _path(storage: Storage, table: str, folder: Path) -> Path:
    key = layout.content_key({"store": storage.uri, "schema": str(schema.TABLES[table].schema)})
    return folder / f"records-{key}.parquet"


def _bring_up_to_date(
    storage: Storage, table: str, path: Path, files: Sequence[StoredFile]
) -> tuple[dict[_Stamp, pa.Table], bool]:
    """Return the rows of all these files, and whether they are in the cache now."""
    wanted = [_stamp(file) for file in files]
    known = _load(path)
    if list(known) == wanted:
        return known, True
    known |= _read_all(storage, table, [stamp for stamp in wanted if stamp not in known])
    rows = {stamp: known[stamp] for stamp in wanted}
    return rows, _save(path, rows)


def _read_all(storage: Storage, table: str, stamps: Sequence[_Stamp]) -> dict[_Stamp, pa.Table]:
    with ThreadPoolExecutor(_THREADS) as pool:
        return dict(zip(stamps, pool.map(lambda stamp: _read(storage, table, stamp[0]), stamps), strict=True))


def _stamp(file: StoredFile) -> _Stamp:
    return (file.name, file.size, file.modified.isoformat() if file.modified else "")


def _read(storage: Storage, table: str, name: str) -> pa.Table:
    """Read the rows of one file; columns that are newer than it are null."""
    content = storage.read_intact(name)
    with storage.parsing(name):
        rows = pq.ParquetFile(pa.BufferReader(content)).read(use_threads=False)
        return schema.by_name(rows, _no_rows(table).schema)


def _no_rows(table: str) -> pa.Table:
    """Return no rows. Nothing is "not null": what a file lacked is null, whatever the schema of today asks for."""
    return pa.schema([field.with_nullable(True) for field in schema.TABLES[table].schema]).empty_table()


def _load(path: Path) -> dict[_Stamp, pa.Table]:
    """Read what is gathered there, by the files that it came from; nothing if the file is not as it was written."""
    stamps, rows = _gathered(path)
    found, start = {}, 0
    for stamp, n_rows in stamps:
        found[stamp] = rows.slice(start, n_rows)
        start += n_rows
    return found


def _gathered(path: Path) -> tuple[list[tuple[_Stamp, int]], pa.Table]:
    """Read the same, each file with the number of its rows, and all rows one after the other."""
    nothing: tuple[list[tuple[_Stamp, int]], pa.Table] = ([], pa.table({}))
    try:
        content = pa.py_buffer(path.read_bytes())
        if not is_intact(content, path.name):
            return nothing
        rows = pq.read_table(pa.BufferReader(content))
        sources = json.loads(rows.schema.metadata[_SOURCES])
    except (OSError, pa.ArrowException, KeyError, TypeError, ValueError, RecursionError):
        return nothing
    stamps = [((name, size, modified), n_rows) for name, size, modified, n_rows in sources]
    return (stamps, rows) if sum(n_rows for _, n_rows in stamps) == len(rows) else nothing


def _save(path: Path, gathered: Mapping[_Stamp, pa.Table]) -> bool:
    """Write the file whole; return whether that was possible."""
    sources: Sequence[tuple[str, int, str, int]] = [(*stamp, len(rows)) for stamp, rows in gathered.items()]
    rows = pa.concat_tables([part.replace_schema_metadata(None) for part in gathered.values()])
    rows = rows.combine_chunks().replace_schema_metadata({_SOURCES: json.dumps(sources)})
    try:
        with written_whole(path) as staged:
            staged.write_bytes(sealed_parquet(rows, {}, name=path.name))
    except OSError:  # no space, or no permission
        return False
    return True
