"""Paths of millions of images in columns: a number for the folder, and the bytes of the name in it."""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

_CHUNK = 4096
_THREADS = 16
_SLOW_SECONDS = 50e-6
"""A file system that takes longer for the status of a file waits for something, so that threads wait together. On a
local disk it takes 2 microseconds, and threads would only wait for each other."""


class Names:
    """Names of files in one text. As a list they would take four times the memory."""

    def __init__(self, names: Sequence[str] = ()) -> None:
        self._text = "/".join(names)  # the one sign that no name has
        self._count = len(names)

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[str]:
        return iter(self._text.split("/") if self._count else ())

    def first(self, n: int) -> list[str]:
        """Return the first of them, at most `n`."""
        return self._text.split("/", n)[: min(n, self._count)]

    def mention(self, word: str) -> bool:
        """Return whether one of them holds a word, whatever its case."""
        return word in self._text.lower()


@dataclass(frozen=True)
class ImagePaths:
    """Paths of images inside a root, in an order.

    Attributes
    ----------
    folders : tuple of str
        Folders that hold them; the root is an empty text.
    folder : ndarray of int32, shape (n,)
        Place in `folders` of the folder of each image.
    names : pa.LargeBinaryArray of length n
        Name of each image in its folder, as the file system has it.
    """

    folders: tuple[str, ...]
    folder: npt.NDArray[np.int32]
    names: pa.LargeBinaryArray

    @classmethod
    def of(cls, blocks: Sequence[tuple[Sequence[str], npt.NDArray[np.int32], Sequence[str]]]) -> ImagePaths:
        """Return the paths of several blocks, one after the other: of each the folders, their places, and the names."""
        folders: list[str] = []
        places, names = [np.zeros(0, np.int32)], [_binary([])]
        for own, place, own_names in blocks:
            places.append(place + np.int32(len(folders)))
            names.append(_binary(own_names))
            folders.extend(own)
        return cls(tuple(folders), np.concatenate(places), pa.concat_arrays(names))

    def __len__(self) -> int:
        return len(self.folder)

    def take(self, rows: npt.NDArray[np.int64]) -> ImagePaths:
        """Return the paths of these rows, in this order."""
        return ImagePaths(self.folders, self.folder[rows], self.names.take(pa.array(rows)))

    def raw(self, start: int = 0, stop: int | None = None) -> Iterator[bytes]:
        """Yield the paths from `start` to before `stop` as the file system has them."""
        heads = self._heads()
        stop = len(self) if stop is None else stop
        for begin in range(start, stop, _CHUNK):
            end = min(begin + _CHUNK, stop)
            names = self.names.slice(begin, end - begin).to_pylist()
            for folder, name in zip(self.folder[begin:end].tolist(), names, strict=True):
                yield heads[folder] + name

    def texts(self, start: int = 0, stop: int | None = None) -> Iterator[str]:
        """Yield the same as texts."""
        return map(os.fsdecode, self.raw(start, stop))

    def as_column(self) -> pa.LargeBinaryArray:
        """Return the paths as the file system has them."""
        heads = pa.array(self._heads(), pa.large_binary()).take(pa.array(self.folder))
        return pc.binary_join_element_wise(heads, self.names, pa.scalar(b"", pa.large_binary()))

    def _heads(self) -> list[bytes]:
        return [os.fsencode(folder) + b"/" if folder else b"" for folder in self.folders]

    def at(self, places: npt.NDArray[np.int64]) -> Iterator[str]:
        """Yield the paths at some places."""
        for place in places.tolist():
            yield from self.texts(place, place + 1)

    def per_folder(self) -> dict[str, int]:
        """Return how many images lie in each folder, in the order in which the folders come."""
        found, first, counts = np.unique(self.folder, return_index=True, return_counts=True)
        counted = Counter[str]()
        for place in np.argsort(first):
            counted[self.folders[found[place]]] += int(counts[place])
        return counted

    def statuses(self, root: str) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """Return bytes and times of change (in ns) of the files, both int64 of shape (n,).

        Raises
        ------
        OSError
            If a file is gone, or may not be looked at.
        """
        found = np.empty((len(self), 2), np.int64)
        look = partial(self._look, os.fsencode(root) + b"/", found)
        starts = range(0, len(self), _CHUNK)
        begin = time.perf_counter()
        for start in starts[:1]:
            look(start)
        n_threads = _THREADS if time.perf_counter() - begin > _SLOW_SECONDS * min(_CHUNK, len(self)) else 1
        with ThreadPoolExecutor(n_threads) as threads:
            list(threads.map(look, starts[1:]))
        return found[:, 0], found[:, 1]

    def _look(self, root: bytes, into: npt.NDArray[np.int64], start: int) -> None:
        stop = min(start + _CHUNK, len(self))
        found = [_status(root + path) for path in self.raw(start, stop)]
        into[start:stop] = [(status.st_size, status.st_mtime_ns) for status in found]


def _binary(names: Sequence[str]) -> pa.LargeBinaryArray:
    """Return names as the bytes that the file system has."""
    joined = os.fsencode("".join(f"{name}/" for name in names))
    ends = np.flatnonzero(np.frombuffer(joined, np.uint8) == ord("/"))
    offsets = np.concatenate([[0], ends - np.arange(len(ends))]).astype(np.int64)
    content = pa.py_buffer(joined.replace(b"/", b""))
    return pa.LargeBinaryArray.from_buffers(pa.large_binary(), len(names), [None, pa.py_buffer(offsets), content])


def _status(path: bytes) -> os.stat_result:
    """Return the status of a file; of a link that leads nowhere, that of the link."""
    try:
        return os.stat(path)  # noqa: PTH116 - a Path for each of a million images takes longer than the disk
    except OSError:
        return os.lstat(path)
