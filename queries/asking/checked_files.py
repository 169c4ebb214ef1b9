"""The files of a store as DuckDB reads them: through the store's own file system, and each checked when it is opened.

DuckDB looks at no checksum of a Parquet file. Here it is handed nothing that is not as it was written, from wherever a
store can lie, with the credentials that the store was opened with, and without an extension.
"""

from __future__ import annotations

import os
import threading
from collections import OrderedDict
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa
from fsspec import AbstractFileSystem

from featurestore import FeatureStore
from featurestore.errors import StoreError

SCHEME = "stored"
_KEPT_BYTES = 256 * 1024**2  # of remote files, which DuckDB opens two or three times in a row
_ANY_TIME = datetime.fromtimestamp(0, UTC)  # within one `Database` a file does not change


def sql_name(name: str) -> str:
    """Return the path by which SQL knows a file of the store."""
    return f"{SCHEME}://{name}"


class CheckedFiles(AbstractFileSystem):  # type: ignore[misc]  # fsspec has no types
    """A file system of fsspec that DuckDB reads one store by. It opens files for reading, and does nothing else.

    Parameters
    ----------
    store : FeatureStore

    Attributes
    ----------
    gone : dict of str to StoreError
        What is said of files that were made and are not there, by their names.
    failure : StoreError, optional
        Reason of the last file that could not be opened; DuckDB hands on no more than its text.
    """

    protocol = SCHEME
    cachable = False

    def __init__(self, store: FeatureStore) -> None:
        super().__init__()
        self.gone: dict[str, StoreError] = {}
        self.failure: StoreError | None = None
        self._store = store
        self._manifests: dict[str, Mapping[str, Any]] = {}
        self._lock = threading.Lock()
        self._sizes: dict[str, int] = {}
        self._checked: dict[str, tuple[int, ...]] = {}  # local files -> state in which they were found intact
        self._kept: OrderedDict[str, pa.Buffer] = OrderedDict()  # remote files, the one used last at the end

    def open(self, path: str, mode: str = "rb", **_: Any) -> pa.NativeFile:
        """Open a file of the store by the name that `sql_name` gave it.

        Raises
        ------
        StoreError
            If it is not there, cannot be read, or is not as it was written.
        """
        name = path.removeprefix(f"{SCHEME}://")
        try:
            return self._opened(name)
        except StoreError as error:
            self.failure = error
            raise

    def info(self, path: str, **_: Any) -> dict[str, Any]:
        """Return name and size of a file that was opened."""
        name = path.removeprefix(f"{SCHEME}://")
        return {"name": path, "size": self._sizes[name], "type": "file"}

    def modified(self, path: str) -> datetime:
        """Return one and the same time for every file."""
        return _ANY_TIME

    def glob(self, path: str, **_: Any) -> list[str]:
        """Return the path itself: no name of a file is a pattern."""
        return [path]

    def _opened(self, name: str) -> pa.NativeFile:
        if name in self.gone:
            raise self.gone[name]
        storage = self._store.storage
        if not storage.is_local:
            return pa.BufferReader(self._remote(name))
        state = _state(storage.path(name))
        if state is not None and self._checked.get(name) == state:
            return pa.OSFile(storage.path(name))
        content = self._store.read_checked(name, self._manifests)
        self._sizes[name] = content.size
        if state is not None:
            self._checked[name] = state
        return pa.BufferReader(content)

    def _remote(self, name: str) -> pa.Buffer:
        with self._lock:
            if name in self._kept:
                self._kept.move_to_end(name)
                return self._kept[name]
        content = self._store.read_checked(name, self._manifests)
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
