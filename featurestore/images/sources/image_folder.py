"""A folder of images, ``image_folder:<root>``: ``<root>/<split>/<class>/*``, or ``<root>/<class>/*`` with no splits;
images in folders below a class folder belong to the class."""

from __future__ import annotations

import hashlib
import heapq
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from featurestore.catalogue.datasets import DatasetSpec
from featurestore.errors import DatasetError
from featurestore.given_files import given_path
from featurestore.images.dataset_files import DatasetFolder, printable
from featurestore.images.folder_layout import SplitFolder, said_of_masks, split_folders, twice_the_same
from featurestore.images.folder_tree import READABLE, FolderTree, ending, joined
from featurestore.images.image_paths import ImagePaths
from featurestore.images.inventory import MOST_EXAMPLES, Inventory, images_of
from featurestore.images.sources import RawImage, raw_image, refuse_columns
from featurestore.images.split_names import assigned, split_of, usual_name
from featurestore.plain_text import counted, shortly

_PLACE = ("path", "bytes", "modified")


class ImageFolder:
    """Images by split and class folder, in the order of their paths.

    Classes are in the order of their folders' names. Symbolic links are followed inside the root and the `link_roots`
    of the record; one that leads out is refused when it is listed, and makes an unreadable image if it has come later.
    Pipes and devices are no images.
    """

    def __init__(self, root: Path, spec: DatasetSpec) -> None:
        self._spec = spec
        self._folder = DatasetFolder(root, spec.link_roots)
        self._inventory = Inventory()
        tree = FolderTree(self._folder, self._inventory)
        try:
            splits = split_folders(tree, spec)
        except DatasetError:
            if tree.leading_out:  # what lies behind the links may be all that is missing
                raise self._folder.leads_out([root / link for link in tree.leading_out]) from None
            raise
        names = sorted({name for split in splits for name in split.classes})
        self._index = {name: label for label, name in enumerate(names)}
        self.classes = tuple(printable(name) for name in names)
        if len(set(self.classes)) < len(names):
            raise DatasetError(f"Class folders of {root} must have names that differ when they are written as text.")
        self._files: dict[str, ImagePaths] = {}
        self._labels: dict[str, npt.NDArray[np.int64] | None] = {}
        self._looked_at: dict[str, tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]] = {}
        for split in splits:
            self._add(split, tree)
        self._take_stock(tree, splits)

    def splits(self) -> dict[str, int]:
        return {split: len(files) for split, files in self._files.items()}

    def labels(self, split: str) -> npt.NDArray[Any]:
        labels = self._labels[split]
        if labels is None:
            images = counted(len(self._files[split]), "image")
            raise DatasetError(
                f"Dataset {self._spec.name!r}: images need labels, but {split!r} has {images} in no class folder."
            )
        return labels

    def groups(self, split: str) -> Sequence[str] | None:
        return None

    def read(self, split: str, rows: npt.NDArray[np.int64]) -> Iterator[RawImage]:
        if split in self._looked_at:
            return _Reader(self._folder).read(self.places(split, rows))
        paths = self._files[split].take(rows).as_column()
        unknown = pa.nulls(len(rows), pa.int64())
        return _Reader(self._folder).read(pa.StructArray.from_arrays([paths, unknown, unknown], _PLACE))

    def places(self, split: str, rows: npt.NDArray[np.int64]) -> pa.StructArray:
        """Return the paths of images inside the root, with bytes and time of change of the files."""
        sizes, times = self._statuses(split)
        paths = self._files[split].take(rows).as_column()
        return pa.StructArray.from_arrays([paths, pa.array(sizes[rows]), pa.array(times[rows])], _PLACE)

    def facts(self) -> dict[str, Any]:
        return {}

    def inventory(self) -> Inventory:
        return self._inventory

    def fingerprint(self) -> str:
        """Return SHA-256 over path, size and time of change of every file: rsync and make trust these too."""
        digest = hashlib.sha256()
        for split in sorted(assigned(self._files, self._spec), key=lambda name: (usual_name(name), name)):
            files, name = self._files[split], usual_name(split).encode()
            for line in zip(files.raw(), *self._statuses(split), strict=True):
                digest.update(b"%s\0%s\0%d\0%d\n" % (name, *line))
        return digest.hexdigest()

    def _statuses(self, split: str) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """Return bytes and times of change of the files of a split. They are looked at once."""
        if split not in self._looked_at:
            self._looked_at[split] = self._files[split].statuses(str(self._folder.path))
        return self._looked_at[split]

    def _add(self, split: SplitFolder, tree: FolderTree) -> None:
        """List the images of a split, class by class; without class folders they have no labels."""
        name = printable(split.name)
        if name in self._files:
            raise DatasetError(
                f"Folders of {self._folder.path} must have names that differ when they are written as text."
            )
        if not split.classes:
            names = list(tree.images[split.path])
            self._files[name] = ImagePaths.of([((split.path,), np.zeros(len(names), np.int32), names)])
            self._labels[name] = None
            return
        classes = [tree.all_images(joined(split.path, own)) for own in split.classes]
        labels = [self._index[own] for own in split.classes]
        self._files[name] = ImagePaths.of(classes)
        self._labels[name] = np.repeat(np.array(labels, np.int64), [len(names) for _, _, names in classes])

    def _take_stock(self, tree: FolderTree, splits: Sequence[SplitFolder]) -> None:
        """Count what the tree has not: images in their splits, and those that lie beside class or split folders."""
        found = self._inventory
        for split, (name, files) in zip(splits, self._files.items(), strict=True):
            depth = split.path.count("/") + bool(split.path) + bool(split.classes)
            is_deep = np.array([bool(folder) + folder.count("/") > depth for folder in files.folders] or [False])
            deeper = is_deep[files.folder]
            direct = np.flatnonzero(~deeper)
            some = [printable(file) for file in files.at(direct[:MOST_EXAMPLES])]
            found.add_all("file", some, used_as=images_of(name), count=len(direct))
            some = heapq.nsmallest(MOST_EXAMPLES, map(printable, files.at(np.flatnonzero(deeper))))
            reason, n_deeper = "in folders below class folders", int(deeper.sum())
            found.add_all("file", some, used_as=images_of(name), reason=reason, count=n_deeper)
            if split.classes:
                tree.note_images(split.path, reason="it lies beside the class folders")
        if not any(split.path == "" for split in splits):
            tree.note_images("", reason="it lies beside the folders of the splits")
        self._check_links(tree, splits)
        tree.note_empty_folders()
        remarks = (
            twice_the_same(tree, splits),
            said_of_masks(dict(count for files in self._files.values() for count in files.per_folder().items())),
            self._said_of_other_kinds(),
            _said_of_links(self._folder, tree.linked, self._files),
        )
        for remark in filter(None, remarks):
            found.remark(remark)

    def _said_of_other_kinds(self) -> str | None:
        """Say which classes have no file that is called like an image that can be read."""
        readable, kinds = set[int](), dict[int, Counter[str]]()
        for split, labels in self._labels.items():
            if labels is None or not len(labels):
                continue
            starts = [0, *(np.flatnonzero(np.diff(labels)) + 1).tolist(), len(labels)]
            for start, stop in pairwise(starts):
                label = int(labels[start])
                if label in readable:
                    continue
                for kind in map(ending, self._files[split].texts(start, stop)):
                    kinds.setdefault(label, Counter())[kind] += 1
                    if kind in READABLE:
                        readable.add(label)
                        break
        lost = sorted(kinds.keys() - readable)
        if not lost:
            return None
        few = [f"{self.classes[one]} ({', '.join(f'{n:,} {kind}' for kind, n in kinds[one].items())})" for one in lost]
        many = counted(len(lost), "class", "classes")
        return f"no file of {many} is called like an image that can be read: {shortly(few)}"

    def _check_links(self, tree: FolderTree, splits: Sequence[SplitFolder]) -> None:
        """Refuse links that lead out of what is used, and count those beside the splits."""
        own = self._spec.splits or {}
        named = {name for names in own.values() for name in names}
        use = {split.path for split in splits if split.name in assigned(self._files, self._spec)} | named
        refused = []
        for link in tree.leading_out:
            top = link.split("/")[0]
            if "" in use or top in use or (not own and split_of(top)):
                refused.append(self._folder.path / link)
            else:
                reason = "a link that leads out of the dataset's folder, beside the splits"
                self._inventory.add("file", printable(link), reason=reason)
        if refused:
            raise self._folder.leads_out(refused)


class _Reader:
    """A reader of files, each of which must be what it was when it was listed."""

    def __init__(self, folder: DatasetFolder) -> None:
        self._folder = folder

    def read(self, places: pa.StructArray) -> Iterator[RawImage]:
        for path, *listed in zip(*(column.to_pylist() for column in places.flatten()), strict=True):
            file, known = os.fsdecode(path), None if None in listed else tuple(listed)
            yield raw_image(partial(self._folder.read, self._folder.path / file, known), printable(file))


def reader(spec: DatasetSpec, facts: dict[str, Any]) -> _Reader:
    """Return a reader of images that are listed."""
    return _Reader(DatasetFolder(given_path(spec.location), spec.link_roots))


def open(spec: DatasetSpec) -> ImageFolder:  # noqa: A001 - the name of the one function of every source
    """Open ``image_folder:<root>``."""
    refuse_columns(spec)
    root = given_path(spec.location)
    if not root.is_dir():
        raise DatasetError(f"Dataset {spec.name!r}: there is no folder {root}.")
    try:
        return ImageFolder(root, spec)
    except PermissionError as error:
        raise DatasetError(f"Dataset {spec.name!r}: {error.filename} may not be read by this user.") from error


def _said_of_links(folder: DatasetFolder, linked: Sequence[str], files: dict[str, ImagePaths]) -> str | None:
    """Say how many images are others by another path, and how many of them lie in two splits."""
    if not linked:
        return None
    splits_of: dict[str, list[str]] = {}
    for split, own in files.items():
        for file in own.texts():
            splits_of.setdefault(os.path.realpath(folder.path / file), []).append(split)
    again = sum(len(found) - 1 for found in splits_of.values())
    shared = sum(len(set(found)) > 1 for found in splits_of.values())
    if not again:
        return None
    across = f"; {counted(shared, 'image')} are in several splits that way" if shared else ""
    return f"{counted(again, 'image')} are the same files as others, by links{across}"
