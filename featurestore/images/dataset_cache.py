"""Datasets that a node has opened: the first of its processes looks at the files, and the others map what it found."""

from __future__ import annotations

import errno
import fcntl
import hashlib
import json
import mmap
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib.metadata import version
from pathlib import Path
from typing import TextIO

import pyarrow as pa

from featurestore.catalogue.datasets import DatasetSpec
from featurestore.errors import OtherFilesError
from featurestore.images.listing import ListedImages, write_listing
from featurestore.images.opened_images import OpenedImages
from featurestore.images.sources import can_be_listed
from featurestore.images.splits import Dataset
from featurestore.store import node_cache
from featurestore.store.digests import digest
from featurestore.store.layout import content_key, key_fields
from featurestore.written_whole import written_whole

_DIGEST_BYTES = 32
_MOST_RUNS = 16  # whose looks are remembered for a dataset


class DatasetCache(node_cache.NodeCache):
    """Listings of datasets on a disk of this node, mapped into memory by all its processes.

    A listing is the file ``datasets-KEY.arrow``, with a digest at its end; KEY is of the record and of the fingerprint.
    Beside it, ``datasets-KEY-NODE.looks`` says which runs have looked at the files on this node, and what fingerprint
    they found. Its lock makes one process look while the others wait.

    Whatever is wrong with the folder, nothing is raised for that: every process then looks at the files itself.

    Parameters
    ----------
    folder : Path
        Made when it is needed.
    limit_bytes : int
        Space that listings may take with the matrices of this node. With 0, nothing is kept.
    """

    def keep(self, dataset: Dataset, run_id: str) -> None:
        """Keep the listing of a dataset that this process has opened for a run, and let the dataset rest on it.

        While another process is at it, as one of another run may be, nothing is waited for.
        """
        key = _key(dataset.spec, dataset.fingerprint)
        with self._turn(dataset.spec, key, wait=False) as looks:
            if looks and self._keep(dataset, key):
                looks.note(run_id, dataset.fingerprint)
        pa.default_memory_pool().release_unused()

    def open(self, spec: DatasetSpec, fingerprint: str, run_id: str) -> Dataset:
        """Return the dataset that a run was planned with.

        The first process of this node that needs it in a run looks at all files; the others trust what that one found.
        Files that change later are noticed when they are read.

        Raises
        ------
        OtherFilesError
            If the files are others than those that the run was planned with.
        DatasetError
            If it cannot be opened.
        """
        key = _key(spec, fingerprint)
        with self._turn(spec, key) as looks:
            found = looks.found(run_id) if looks else None
            if looks and found is None:
                dataset = Dataset(spec)
                if dataset.fingerprint == fingerprint:
                    dataset = self._kept(dataset, key)
                looks.note(run_id, dataset.fingerprint)
                return _checked(dataset, fingerprint)
        if found not in (None, fingerprint):
            raise _other_files(spec)
        if found and (images := self._load(spec, key)):
            return Dataset(spec, images)
        return self._kept(_checked(Dataset(spec), fingerprint), key)

    @contextmanager
    def _turn(self, spec: DatasetSpec, key: str, *, wait: bool = True) -> Iterator[_Looks | None]:
        """Wait for the turn of this process among those of its node; give None where nothing can be kept."""
        how = fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB
        file = self._locked(key, how) if self._limit_bytes and can_be_listed(spec) else None
        if file is None:
            yield None
            return
        with file:  # which unlocks it
            yield _Looks(file)

    def _locked(self, key: str, how: int) -> TextIO | None:
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            file = (self._folder / f"datasets-{key}-{_this_node()}.looks").open("a+")
        except OSError:  # no space, or no permission
            return None
        try:
            fcntl.flock(file, how)
        except OSError:  # a file system without locks, or the lock of another process
            file.close()
            return None
        return file

    def _kept(self, dataset: Dataset, key: str) -> Dataset:
        """Return a dataset that rests on its listing, if that can be kept."""
        self._keep(dataset, key)
        return dataset

    def _keep(self, dataset: Dataset, key: str) -> bool:
        """Let a dataset rest on its listing, which is written if it is not there; return whether it can be kept."""
        images = self._load(dataset.spec, key)
        if images is None and isinstance(dataset.images, OpenedImages) and can_be_listed(dataset.spec):
            with suppress(OSError):  # no space, or no permission
                self._save(dataset.images, key)
            images = self._load(dataset.spec, key)
        if images is None:
            return False
        dataset.rest_on(images)
        return True

    def _path(self, key: str) -> Path:
        return self._folder / f"datasets-{key}.arrow"

    def _save(self, images: OpenedImages, key: str) -> None:
        path = self._path(key)
        with written_whole(path) as staged:
            with pa.OSFile(str(staged), "wb") as sink:
                write_listing(images, sink)
            with staged.open("r+b") as file:
                with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
                    seal = _digest(path.name, content)
                file.seek(0, os.SEEK_END)
                file.write(seal.encode())
            if staged.stat().st_size > self._limit_bytes:
                raise OSError(errno.ENOSPC, "larger than all that may be kept")
            node_cache.make_room(self._folder, 0, self._limit_bytes)

    def _load(self, spec: DatasetSpec, key: str) -> ListedImages | None:
        """Map a listing; None if there is no sound one. An unsound one is removed."""
        path = self._path(key)
        try:
            with pa.memory_map(str(path)) as file:
                content = file.read_buffer()
            listing, seal = content.slice(0, max(0, content.size - _DIGEST_BYTES)), content[-_DIGEST_BYTES:]
            if seal.to_pybytes() != _digest(path.name, listing).encode():
                raise OSError(errno.EIO, f"{path} is not as it was written.")
        except (OSError, pa.ArrowException):
            node_cache.remove(path)
            return None
        with suppress(OSError):  # in somebody else's folder
            os.utime(path)  # the time of the last use
        return ListedImages(spec, listing)


class _Looks:
    """What runs found when they looked at the files of a dataset on this node, in a file that this process has locked.

    Parameters
    ----------
    file : TextIO
        A digest, and JSON of run -> fingerprint. What is not so says nothing.
    """

    def __init__(self, file: TextIO) -> None:
        self._file = file

    def found(self, run_id: str) -> str | None:
        """Return the fingerprint that a run has found; None if it has not looked yet."""
        return self._all().get(run_id)

    def note(self, run_id: str, fingerprint: str) -> None:
        """Note what a run has found."""
        others = {run: found for run, found in self._all().items() if run != run_id}
        text = json.dumps({**dict(list(others.items())[1 - _MOST_RUNS :]), run_id: fingerprint})
        with suppress(OSError):  # no space
            self._file.truncate(0)
            self._file.write(digest(text.encode()) + text)
            self._file.flush()

    def _all(self) -> dict[str, str]:
        try:
            self._file.seek(0)
            content = self._file.read()
        except (OSError, ValueError):
            return {}
        seal, text = content[:_DIGEST_BYTES], content[_DIGEST_BYTES:]
        found: dict[str, str] = json.loads(text) if seal == digest(text.encode()) and text else {}
        return found


def _key(spec: DatasetSpec, fingerprint: str) -> str:
    """Return the key of a listing: of all that decides what is in it. Another version makes its own."""
    record = key_fields(spec, without=())
    return content_key({"version": version("probestore"), "record": record, "fingerprint": fingerprint})


def _digest(name: str, content: pa.Buffer | mmap.mmap) -> str:
    """Return the digest of a listing and of its name: one in the place of another one is no sound one."""
    return digest(f"{name} {digest(content)}".encode())


def _this_node() -> str:
    """Return a short text for all processes that see the same files: several machines or containers may share a folder.

    Machines may have one name, and containers that of their machine: what they mount tells them apart.
    """
    sees = [socket.gethostname()]
    with suppress(OSError):  # not Linux
        sees += [Path("/proc/sys/kernel/random/boot_id").read_text(), str(Path("/proc/self/ns/mnt").readlink())]
    return hashlib.sha256(" ".join(sees).encode()).hexdigest()[:12]


def _checked(dataset: Dataset, fingerprint: str) -> Dataset:
    if dataset.fingerprint != fingerprint:
        raise _other_files(dataset.spec)
    return dataset


def _other_files(spec: DatasetSpec) -> OtherFilesError:
    return OtherFilesError(
        f"The files of dataset {spec.name!r} have changed since the run was planned, or this node sees other files "
        "than the driver. Let every node see the same files at the same path, and run the same command again to plan "
        "with the present ones."
    )
