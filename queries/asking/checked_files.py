"""The files of a store as DuckDB reads them: through the store's own file system, and each checked when it is opened.

DuckDB looks at no checksum of a Parquet file. Here it is handed nothing that is not as it was written, from wherever a
store can lie, with the credentials that the store was opened with, and without an extension.
"""

from __future__ import annotations

import os
import threading
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from fsspec import AbstractFileSystem

from featurestore import FeatureStore
from featurestore.errors import MissingFileError, ProbestoreError, QueryError, StoreError
from featurestore.store import layout, schema
from queries.asking.table_files import EVERYTHING, LATE, Asked, TableFiles

SCHEME = "stored"
FEATURE_LIST = "feature_list"
"""A table of the names and sizes of the files of features, which is no table of a store."""
_KEPT_BYTES = 256 * 1024**2  # of remote files, which DuckDB opens two or three times in a row
_ANY_TIME = datetime.fromtimestamp(0, UTC)  # within one `Database` a file does not change
_LATER = _ANY_TIME + timedelta(days=1)
_OF_NOTHING = Asked(models=frozenset(), datasets=frozenset())
_FEATURE_LIST = pa.schema([("file", pa.string()), ("bytes", pa.int64())])


def pattern(table: str) -> str:
    """Return the path by which SQL knows the files of a table; it is that of no file."""
    return f"{SCHEME}://{table}/**"


class CheckedFiles(AbstractFileSystem):  # type: ignore[misc]  # fsspec has no types
    """A file system of fsspec that DuckDB reads one store by. It opens files for reading, and does nothing else.

    The first file of each table has its columns in the types of this version and no rows. It is made here: the store's
    own is as old as the store.

    Parameters
    ----------
    store : FeatureStore
    files : TableFiles
        The only files that are opened.

    Attributes
    ----------
    asked : mapping of str to Asked
        What the query that runs can need of the tables that are listed late; of one that is not named, everything.
    typing : bool
        While this is set, no table has rows, and none is listed: views that are made ask for columns only.
    failure : ProbestoreError, optional
        Reason of the last file or table that could not be opened; DuckDB hands on no more than its text.
    """

    protocol = SCHEME
    cachable = False

    def __init__(self, store: FeatureStore, files: TableFiles) -> None:
        super().__init__()
        self.asked: Mapping[str, Asked] = {}
        self.typing = True
        self.failure: ProbestoreError | None = None
        self._store = store
        self._files = files
        self._manifests: dict[str, Mapping[str, Any]] = {}
        self._lock = threading.Lock()
        self._sizes: dict[str, int] = {}
        self._checked: dict[str, tuple[int, ...]] = {}  # local files -> state in which they were found intact
        self._kept: OrderedDict[str, pa.Buffer] = OrderedDict()  # remote files, the one used last at the end
        self._tables = {pattern(table): table for table in (*schema.SETS, *schema.TABLES, FEATURE_LIST)}
        self._made: dict[str, pa.Buffer] = {}
        self._opened_now: set[str] = set()  # files that the query has opened
        self._elsewhere: set[str] = set()  # files whose rows come from where they are now
        self._lists: dict[Asked, str] = {}

    def open(self, path: str, mode: str = "rb", **_: Any) -> pa.NativeFile:
        """Open a file of the store by a name that `glob` gave.

        Raises
        ------
        QueryError
            If it is none of the files of the tables.
        StoreError
            If it is not there, cannot be read, or is not as it was written.
        """
        with self._noting_failures():
            return self._opened(path.removeprefix(f"{SCHEME}://"))

    def info(self, path: str, **_: Any) -> dict[str, Any]:
        """Return name and size of a file that was opened."""
        name = path.removeprefix(f"{SCHEME}://")
        return {"name": path, "size": self._sizes[name], "type": "file"}

    def modified(self, path: str) -> datetime:
        """Return one and the same time for every file, and a later one once its rows come from elsewhere."""
        return _LATER if path.removeprefix(f"{SCHEME}://") in self._elsewhere else _ANY_TIME

    def begin(self, asked: Mapping[str, Asked]) -> None:
        """Begin a query, of which is known what it can need."""
        self.failure, self.asked = None, asked
        self._opened_now.clear()

    def glob(self, path: str, **_: Any) -> list[str]:
        """Return the files of the table that a path is the `pattern` of; of any other, the path: no name is a pattern.

        DuckDB sorts them: the file of no rows, which decides on the types of columns, has the first of all names.

        Raises
        ------
        StoreError
            If the table cannot be listed.
        """
        table = self._tables.get(path)
        if table is None:
            return [path]
        with self._noting_failures():
            return [f"{SCHEME}://{name}" for name in self._names(table)]

    def _names(self, table: str) -> list[str]:
        if table == FEATURE_LIST:
            return [self._list_of_features()]
        nothing = self.typing and table in LATE
        own = () if nothing else self._files.names(table, self.asked.get(table, EVERYTHING))
        return [self._without_rows(table), *own]

    @contextmanager
    def _noting_failures(self) -> Iterator[None]:
        try:
            yield
        except ProbestoreError as error:
            self.failure = error
            raise

    def _without_rows(self, table: str) -> str:
        """Return the name of the file of no rows of a table."""
        name = layout.empty_path(table)
        if name not in self._made:
            self._make(name, schema.table(table).schema.empty_table())
        return name

    def _list_of_features(self) -> str:
        """Return the name of a file with what is listed of features; another name for another list."""
        asked = _OF_NOTHING if self.typing else self.asked.get("features", EVERYTHING)
        if asked not in self._lists:
            sizes = {} if self.typing else self._files.names("features", asked)
            name = f"{FEATURE_LIST}/{len(self._lists)}.parquet"
            self._make(name, pa.table([list(sizes), list(sizes.values())], schema=_FEATURE_LIST))
            self._lists[asked] = name
        return self._lists[asked]

    def _make(self, name: str, rows: pa.Table) -> None:
        stream = pa.BufferOutputStream()
        pq.write_table(rows, stream)
        self._made[name] = stream.getvalue()
        self._sizes[name] = self._made[name].size

    def _opened(self, name: str) -> pa.NativeFile:
        if name in self._made:
            return pa.BufferReader(self._made[name])
        if name in self._files.gone:
            raise self._files.gone[name]
        if not self._files.has(name):
            raise QueryError(f"SQL opens the files of the tables of this store. Got {name!r}, which is none of them.")
        storage = self._store.storage
        if not storage.is_local or name in self._elsewhere or self._files.is_partly_read(name):
            return pa.BufferReader(self._kept_content(name))
        state = _state(storage.path(name))
        if state is None:
            return pa.BufferReader(self._kept_content(name))
        if self._checked.get(name) == state:
            self._opened_now.add(name)
            return pa.OSFile(storage.path(name))
        content = self._content(name)
        self._sizes[name] = content.size
        if name not in self._elsewhere:
            self._checked[name] = state
        return pa.BufferReader(content)

    def _content(self, name: str) -> pa.Buffer:
        """Read a file and check it, or the rows of its records where they are now: it may have been packed."""
        records = self._files.records(name)
        if not self._files.is_partly_read(name) and name not in self._elsewhere:
            try:
                content = self._store.read_checked(name, self._manifests)
                self._opened_now.add(name)
                return content
            except MissingFileError:
                if not records:
                    raise
            if name in self._opened_now:  # what DuckDB knows of it may not hold for other bytes
                raise StoreError(f"{name} was packed with others while the query ran. Ask it again.")
        rows = self._store.read_listed(name.split("/")[0], records)
        self._elsewhere.add(name)
        stream = pa.BufferOutputStream()
        pq.write_table(rows, stream)
        return stream.getvalue()

    def _kept_content(self, name: str) -> pa.Buffer:
        with self._lock:
            if name in self._kept:
                self._kept.move_to_end(name)
                return self._kept[name]
        content = self._content(name)
        with self._lock:
            self._sizes[name] = content.size
            self._kept[name] = content
            while len(self._kept) > 1 and sum(kept.size for kept in self._kept.values()) > _KEPT_BYTES:
                self._kept.popitem(last=False)
        return content


def _state(path: str) -> tuple[int, ...] | None:
    """Return what changes with a local file; None if it cannot be asked."""
    try:
        found = os.stat(path)  # noqa: PTH116 - a path is text here
    except OSError:
        return None
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns
