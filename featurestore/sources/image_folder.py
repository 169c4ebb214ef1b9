"""A folder of images, ``image_folder:<root>``: ``<root>/<split>/<class>/*``, or ``<root>/<class>/*`` with no splits."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from featurestore.datasets import DatasetSpec
from featurestore.errors import DatasetError
from featurestore.sources import RawImage

_SPLIT_NAMES = {"train": "train", "val": "val", "valid": "val", "validation": "val", "test": "test"}
# Files that are never meant as images; every other file is one, and is reported when it cannot be read.
_NOT_IMAGES = {".txt", ".json", ".csv", ".md", ".xml", ".yaml", ".yml", ".db", ".ini"}


class ImageFolder:
    """Images by split and class folder, in the order of their paths."""

    def __init__(self, root: Path) -> None:
        self._root = root
        folders = _split_folders(root)
        names = sorted({child.name for folder in folders.values() for child in _subfolders(folder)})
        if not names:
            raise DatasetError(f"{root} must hold <split>/<class>/<image> or <class>/<image>. It has no class folders.")
        self.classes = tuple(names)
        self._files = {split: _list_images(folder, self.classes, root) for split, folder in folders.items()}

    def splits(self) -> dict[str, int]:
        return {split: len(files) for split, files in self._files.items()}

    def labels(self, split: str) -> npt.NDArray[Any]:
        index = {name: label for label, name in enumerate(self.classes)}
        return np.array([index[path.parent.name] for path in self._files[split]], dtype=np.int64)

    def groups(self, split: str) -> Sequence[str] | None:
        return None

    def read(self, split: str, rows: npt.NDArray[np.int64]) -> Iterator[RawImage]:
        for row in rows:
            path = self._files[split][row]
            yield RawImage(path.read_bytes(), path.relative_to(self._root).as_posix())

    def fingerprint(self) -> str:
        """SHA-256 over path, size and time of change of every file: as sure as what rsync and make go by."""
        digest = hashlib.sha256()
        for split, files in sorted(self._files.items()):
            for path in files:
                status = path.stat()
                name = path.relative_to(self._root).as_posix()
                digest.update(f"{split}\0{name}\0{status.st_size}\0{status.st_mtime_ns}\n".encode())
        return digest.hexdigest()


def open(spec: DatasetSpec) -> ImageFolder:  # noqa: A001 - the name of the one function of every source
    """Open ``image_folder:<root>``."""
    root = Path(spec.location).expanduser()
    if not root.is_dir():
        raise DatasetError(f"Dataset {spec.name!r}: there is no folder {root}.")
    return ImageFolder(root)


def _split_folders(root: Path) -> dict[str, Path]:
    """Folders of the splits; a root without any is one split called train."""
    folders = {
        _SPLIT_NAMES[child.name.lower()]: child for child in _subfolders(root) if child.name.lower() in _SPLIT_NAMES
    }
    return folders or {"train": root}


def _subfolders(folder: Path) -> list[Path]:
    return sorted(child for child in folder.iterdir() if child.is_dir() and not child.name.startswith("."))


def _list_images(folder: Path, classes: tuple[str, ...], root: Path) -> list[Path]:
    """All files of the class folders, by path. Links that lead out of the root are refused."""
    inside = root.resolve()
    files: list[Path] = []
    for name in classes:
        if not (folder / name).is_dir():
            continue
        with os.scandir(folder / name) as entries:
            found = sorted(entry.name for entry in entries if entry.is_file() and _is_image_name(entry.name))
        files.extend(folder / name / file for file in found)
    for path in files:
        if path.is_symlink() and not path.resolve().is_relative_to(inside):
            raise DatasetError(
                f"{path} links to {path.resolve()}, outside the dataset's folder {inside}; copy it there."
            )
    return files


def _is_image_name(name: str) -> bool:
    return not name.startswith(".") and Path(name).suffix.lower() not in _NOT_IMAGES
