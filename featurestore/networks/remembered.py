"""What this node has found out about models, so that the next plan or run does not find it out again.

A network has to be laid out to know its width, and a weights file of gigabytes has to be read to know its digest. Both
are remembered in one small file of the node's cache: a weights file by its path, size, times and inode, all else by the
versions of the libraries and by our own code. With other versions all of that is found out anew. Nothing of a user's
own code is remembered. A cache that cannot be written, or is damaged, costs no more than the time.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import Any, BinaryIO

from featurestore.networks.installation import versions
from featurestore.store import node_cache
from featurestore.store.digests import digest
from featurestore.store.layout import content_key
from featurestore.written_whole import written_whole

_FILE = "models.json"
_MOST_ENTRIES = 20_000  # some megabytes; beyond that, those that this process did not need are forgotten
_SETTLED_SECONDS = 10.0  # a file that is younger may change again within one tick of its clock


class _Memory:
    """The file of this node, as it was when it was opened, and what has been found out since."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._known = _read(path)
        self._used: dict[str, Any] = {}
        self._is_new = False

    def recall(self, key: str) -> Any:
        if key in self._known:
            self._used[key] = self._known[key]
        return self._used.get(key)

    def keep(self, key: str, value: Any) -> None:
        self._used[key] = value
        self._is_new = True

    def save(self) -> None:
        """Write what is known whole, with what other processes have found out meanwhile."""
        if not self._is_new:
            return
        everything = _read(self._path) | self._used
        entries = everything if len(everything) <= _MOST_ENTRIES else self._used
        with suppress(OSError), written_whole(self._path) as staged:  # no space, or no permission
            staged.write_text(_written(entries), encoding="utf-8")


_open: list[_Memory] = []


@contextmanager
def remembering() -> Iterator[None]:
    """Remember, in this block, what is found out; it is written down when the block ends."""
    if _open or not node_cache.limit_bytes():
        yield
        return
    memory = _Memory(node_cache.folder() / _FILE)
    _open.append(memory)
    try:
        yield
    finally:
        _open.remove(memory)
        memory.save()


def of_versions(
    kind: str,
    parts: Mapping[str, Any],
    find: Callable[[], Any],
    *,
    read: Callable[[Any], Any] = lambda plain: plain,
    write: Callable[[Any], Any] = lambda value: value,
) -> Any:
    """Return what `find` returns, or has returned with the libraries and the code of today.

    Parameters
    ----------
    kind : str
        What is found out.
    parts : mapping
        Everything that decides it beside these: JSON-serialisable values.
    find : callable
        Function that finds it out. What it raises is not remembered.
    read, write : callable
        Functions that make a value of what JSON can hold, and the other way round. A value that does not come back as
        it was is not remembered.
    """
    if not _open:
        return find()
    key = content_key({"kind": kind, "versions": versions(), "code": _code(), **parts})
    known = _open[0].recall(key)
    if known is not None:
        return read(known)
    value = find()
    with suppress(TypeError, ValueError):  # it has something that JSON does not
        plain = json.loads(json.dumps(write(value)))
        if plain is not None and read(plain) == value:
            _open[0].keep(key, plain)
    return value


def of_file(kind: str, path: Path, file: BinaryIO, find: Callable[[], str]) -> str:
    """Return what `find` makes of the content of an open file, or has made of it: it is the same file, unchanged.

    Parameters
    ----------
    kind : str
        What is found out.
    path : Path
    file : binary file
        The file, opened.
    find : callable
        Function that reads it.
    """
    if not _open:
        return find()
    before = _stamp(path, file)
    key = content_key({"kind": kind, **before})
    known = _open[0].recall(key)
    if known is not None:
        return str(known)
    found = find()
    youngest = max(before["mtime_ns"], before["ctime_ns"]) / 1e9
    if before == _stamp(path, file) and time.time() - youngest >= _SETTLED_SECONDS:
        _open[0].keep(key, found)
    return found


def _stamp(path: Path, file: BinaryIO) -> dict[str, Any]:
    """Return what is another once a file has changed: the time of its inode cannot be set back, as its own can."""
    stat = os.fstat(file.fileno())
    times = {"mtime_ns": stat.st_mtime_ns, "ctime_ns": stat.st_ctime_ns}
    return {"path": str(path.absolute()), "size": stat.st_size, "inode": stat.st_ino, **times}


@cache
def _code() -> str:
    """Return a hash of the code and the tables that decide what is found out: an edited clone keeps its version."""
    folder, found = Path(__file__).parents[1], hashlib.sha256()
    for part in ("networks", "catalogue"):
        for path in sorted(path for path in (folder / part).rglob("*") if path.suffix in (".py", ".csv")):
            found.update(f"{path.relative_to(folder)}\0".encode() + path.read_bytes())
    return found.hexdigest()


def _written(entries: Mapping[str, Any]) -> str:
    text = json.dumps(entries, sort_keys=True)
    return json.dumps({"xxh3": digest(text.encode()), "entries": text})


def _read(path: Path) -> dict[str, Any]:
    """Return what is in the file; nothing if it is not as it was written."""
    try:
        record = json.loads(path.read_bytes())
        text = record["entries"]
        entries: dict[str, Any] = json.loads(text) if record["xxh3"] == digest(text.encode()) else {}
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return {}
    return entries
