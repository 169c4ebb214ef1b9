"""A folder of images, ``image_folder:<root>``: ``<root>/<split>/<class>/*``, or ``<root>/<class>/*`` with no splits."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from featurestore.catalogue.datasets import DatasetSpec
from featurestore.errors import DatasetError
from featurestore.images.dataset_files import DatasetFolder, printable
from featurestore.images.inventory import Inventory, images_of
from featurestore.images.sources import RawImage, raw_image
from featurestore.images.split_names import assigned, split_of, usual_name

# Files that are never meant as images; every other file is one, and is reported when it cannot be read.
_NOT_IMAGES = {".txt", ".json", ".csv", ".md", ".xml", ".yaml", ".yml", ".db", ".ini"}


class ImageFolder:
    """Images by split and class folder, in the order of their paths.

    Classes are in the order of their folders' names. Symbolic links are followed inside the root; one that leads out
    is refused when it is listed, and makes an unreadable image if it has come later. Pipes and devices are no images.
    """

    def __init__(self, root: Path, spec: DatasetSpec) -> None:
        self._spec = spec
        self._folder = DatasetFolder(root)
        folders = _split_folders(self._folder)
        names = sorted({child.name for folder in folders.values() for child in _class_folders(folder, self._folder)})
        if not names:
            raise DatasetError(f"{root} must hold <split>/<class>/<image> or <class>/<image>. It has no class folders.")
        self._index = {name: label for label, name in enumerate(names)}
        self.classes = tuple(printable(name) for name in names)
        if len(set(self.classes)) < len(names):
            raise DatasetError(f"Class folders of {root} must have names that differ when they are written as text.")
        self._files = {split: _list_images(folder, names, self._folder) for split, folder in folders.items()}

    def splits(self) -> dict[str, int]:
        return {split: len(files) for split, files in self._files.items()}

    def labels(self, split: str) -> npt.NDArray[Any]:
        return np.array([self._index[path.parent.name] for path in self._files[split]], dtype=np.int64)

    def groups(self, split: str) -> Sequence[str] | None:
        return None

    def read(self, split: str, rows: npt.NDArray[np.int64]) -> Iterator[RawImage]:
        for row in rows:
            path = self._files[split][row]
            yield raw_image(partial(self._folder.read, path), self._folder.name(path))

    def inventory(self) -> Inventory:
        found = Inventory()
        for split, files in self._files.items():
            for path in files:
                found.add("file", self._folder.name(path), used_as=images_of(split))
        return found

    def fingerprint(self) -> str:
        """Return SHA-256 over path, size and time of change of every file: rsync and make trust these too."""
        digest = hashlib.sha256()
        for split in sorted(assigned(self._files, self._spec), key=lambda name: (usual_name(name), name)):
            for path in self._files[split]:
                status = _status(path)
                name = os.fsencode(path.relative_to(self._folder.path).as_posix())
                digest.update(
                    b"%s\0%s\0%d\0%d\n" % (usual_name(split).encode(), name, status.st_size, status.st_mtime_ns)
                )
        return digest.hexdigest()


def open(spec: DatasetSpec) -> ImageFolder:  # noqa: A001 - the name of the one function of every source
    """Open ``image_folder:<root>``."""
    root = Path(spec.location).expanduser()
    if not root.is_dir():
        raise DatasetError(f"Dataset {spec.name!r}: there is no folder {root}.")
    try:
        return ImageFolder(root, spec)
    except PermissionError as error:
        raise DatasetError(f"Dataset {spec.name!r}: {error.filename} may not be read by this user.") from error


def _split_folders(root: DatasetFolder) -> dict[str, Path]:
    """Return the folders of the splits, known or not; a root without a known one is one split called train."""
    folders = {child.name: child for child in _subfolders(root.path)}
    if not any(map(split_of, folders)):
        return {"train": root.path}
    for child in folders.values():
        root.check(child)
    return folders


def _class_folders(folder: Path, root: DatasetFolder) -> list[Path]:
    children = _subfolders(folder)
    for child in children:
        if child.is_symlink():
            root.check(child)
    return children


def _subfolders(folder: Path) -> list[Path]:
    return sorted(child for child in folder.iterdir() if child.is_dir() and not child.name.startswith("."))


def _list_images(folder: Path, classes: Sequence[str], root: DatasetFolder) -> list[Path]:
    """List all files of the class folders, by path."""
    files: list[Path] = []
    for name in classes:
        if not (folder / name).is_dir():
            continue
        with os.scandir(folder / name) as entries:
            found = sorted(entry.name for entry in entries if _is_image_name(entry.name) and _is_listed(entry, root))
        files.extend(folder / name / file for file in found)
    return files


def _is_listed(entry: os.DirEntry[str], root: DatasetFolder) -> bool:
    """Return whether an entry is listed: a regular file, or a link to anything but a folder.

    A link to nothing is an image that somebody has lost.
    """
    if not entry.is_symlink():
        return entry.is_file()
    root.check(Path(entry.path))
    return not os.path.isdir(entry.path)  # noqa: PTH112 - a DirEntry's own method raises on a link to itself


def _status(path: Path) -> os.stat_result:
    """Return the status of a file; of a link that leads nowhere, that of the link."""
    try:
        return path.stat()
    except OSError:
        return path.lstat()


def _is_image_name(name: str) -> bool:
    return not name.startswith(".") and Path(name).suffix.lower() not in _NOT_IMAGES
