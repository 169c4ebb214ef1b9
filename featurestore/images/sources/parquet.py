"""Parquet files as Hugging Face writes them, ``parquet:<folder>``: ``<split>-*.parquet`` with ``image.bytes`` (or plain
``bytes``) and ``label``, class names from the schema metadata."""

from __future__ import annotations

import copy
import hashlib
import os
from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from featurestore.catalogue.datasets import DatasetSpec
from featurestore.errors import DatasetError
from featurestore.given_files import given_path
from featurestore.images.dataset_files import DatasetFolder, printable
from featurestore.images.inventory import Inventory, images_of
from featurestore.images.parquet_columns import check_images, check_named, find_images, find_labels, note_columns
from featurestore.images.parquet_files import ParquetImageFile
from featurestore.images.parquet_labels import PartLabels
from featurestore.images.parquet_listing import list_parquet_files
from featurestore.images.parquet_parts import Part, missing_parts, parts_of, why_train
from featurestore.images.parquet_reader import ListedFiles, ParquetRows, status_of
from featurestore.images.parquet_rows import Piece, lacks_bytes, part_of
from featurestore.images.parquet_split_column import (
    SplitColumn,
    contradicting,
    read_split_column,
    refuse_unread_splits,
    usual_split_column,
)
from featurestore.images.sources import RawImage, raw_image
from featurestore.images.split_names import assigned, split_of, usual_name


class ParquetImages:
    """Images by split, under the names that files, folders or a column give to the splits.

    Rows are in the order of the files' paths. Only the bytes in a row are ever an image; a path in it is not opened. A
    row group that cannot be read makes its rows unreadable images; labels or groups that cannot be read make an
    unusable dataset, because no row could be used without them.

    Parameters
    ----------
    spec : DatasetSpec
    root : Path
        Folder that the paths of files begin in.
    parts : sequence of Part
        The files by split.
    listed : Inventory
        What else is in the folder.

    Raises
    ------
    DatasetError
        If a file or a column that is to be used is not there, or cannot be used.
    """

    def __init__(self, spec: DatasetSpec, root: Path, parts: Sequence[Part], listed: Inventory) -> None:
        self._spec = spec
        self._root = root
        self._parts = parts
        self._listed = listed
        self._opened = {file: ParquetImageFile(root / file) for file in sorted(f for part in parts for f in part.files)}
        self._split_column = self._find_split_column()
        self._pieces = self._split_column.pieces if self._split_column else self._pieces_by_file()
        self._use = assigned(self.splits(), spec)
        filled = {name: [piece for piece in pieces if piece.n_rows] for name, pieces in self._pieces.items()}
        self._used = {name: pieces for name, pieces in filled.items() if name in self._use and pieces}
        self._check_columns()
        self._labels = PartLabels(spec.name, self._label_column, self._used)
        for name in self._used:
            if (
                self._use[name] == "train"
            ):  # of another split, `labels` says what is wrong, and the dataset how to do without
                self._labels.read(name)
        self.classes = self._labels.classes

    def splits(self) -> dict[str, int]:
        return {name: sum(piece.n_rows for piece in pieces) for name, pieces in self._pieces.items()}

    def labels(self, split: str) -> npt.NDArray[Any]:
        return self._labels.of(split)

    def groups(self, split: str) -> Sequence[str | None] | None:
        if not self._spec.group_column:
            return None
        columns = [piece.of(piece.file.column(self._spec.group_column)) for piece in self._used[split]]
        texts = (None if value is None else str(value) for column in columns for value in column.to_pylist())
        known: dict[str | None, str | None] = {}  # a group is many images, and one text is enough
        return [known.setdefault(text, text) for text in texts]

    def read(self, split: str, rows: npt.NDArray[np.int64]) -> Iterator[RawImage]:
        """Read these rows, a few of one row group at a time; rows in ascending order are read once."""
        listed = ParquetRows(list(self._opened.values()), self._image_column, self._names)
        return _Reader(listed).read(self.places(split, rows))

    def places(self, split: str, rows: npt.NDArray[np.int64]) -> pa.StructArray:
        """Return the file of each image and the row in it, and the split and the row in that, which it is called by."""
        numbers = {file.path: number for number, file in enumerate(self._opened.values())}
        files, in_file = np.empty(len(rows), np.int32), np.empty(len(rows), np.int64)
        pieces, inside = part_of(rows, np.array([piece.n_rows for piece in self._pieces[split]], np.int64))
        for number in np.unique(pieces):
            piece, here = self._pieces[split][number], pieces == number
            files[here] = numbers[piece.file.path]
            in_file[here] = inside[here] if piece.rows is None else piece.rows[inside[here]]
        splits = np.full(len(rows), self._names.index(self._origin(split)), np.int32)
        columns = [pa.array(column) for column in (files, in_file, splits, rows)]
        return pa.StructArray.from_arrays(columns, ("file", "row_in_file", "split", "row"))

    def facts(self) -> dict[str, Any]:
        """Return the paths of the files with what they were like, the column of images, and the names of splits."""
        files = [[os.fsencode(file).hex(), *self._statuses[file]] for file in self._opened]
        return {"files": files, "column": self._image_column, "names": self._names}

    def inventory(self) -> Inventory:
        found = copy.deepcopy(self._listed)
        incomplete = missing_parts(list(self._opened))
        for name, pieces in self._pieces.items():
            for piece in pieces:
                self._note_piece(name, piece, incomplete, found)
        if self._split_column:
            self._note_split_column(self._split_column, found)
        if self._used_files:
            note_columns(self._used_files, self._columns(), found)
        return found

    def fingerprint(self) -> str:
        """Return SHA-256 over every file's name, size, time of change and footer."""
        digest = hashlib.sha256(f"{self._label_column}\0{self._spec.group_column}".encode())
        if self._split_column and self._split_column.reason:
            digest.update(f"split column\0{self._split_column.name}\0".encode())
        if self._labels.renumbered:
            digest.update(b"class names by file\0")
        for split, file in sorted((_split_in_key(part, file), file) for part in self._parts for file in part.files):
            opened = self._opened[file]
            size, modified = self._statuses[file]
            place = f"{split}\0{file.name}\0{size}\0{modified}\0"
            digest.update(place.encode("utf-8", "surrogateescape"))
            digest.update(opened.footer())
        return digest.hexdigest()

    @cached_property
    def _statuses(self) -> dict[PurePosixPath, tuple[int, int]]:
        """Bytes and time of change of each file. They are looked at once."""
        return {name: status_of(file.path) for name, file in self._opened.items()}

    @property
    def _names(self) -> list[str]:
        """What rows of each split are called."""
        return [self._origin(split) for split in self._pieces]

    # ---- what is there ----------------------------------------------------------------------------------------------

    @property
    def _used_files(self) -> list[ParquetImageFile]:
        """The files of which rows are used, by path."""
        used = {piece.file.path for pieces in self._used.values() for piece in pieces}
        return [file for file in self._opened.values() if file.path in used]

    @cached_property
    def _image_column(self) -> str:
        return find_images(self._model_file, self._spec)

    @cached_property
    def _label_column(self) -> str:
        return find_labels(self._model_file, self._spec)

    @property
    def _model_file(self) -> ParquetImageFile:
        """The file that says which columns all files have: one of train, because others may lack labels."""
        train = [piece.file for name, pieces in self._used.items() if self._use[name] == "train" for piece in pieces]
        return (train or self._used_files or list(self._opened.values()))[0]

    def _find_split_column(self) -> SplitColumn | None:
        files = list(self._opened.values())
        if self._spec.split_column:
            check_named(files[0], self._spec)
            return read_split_column(files, self._spec.split_column)
        if not any(part.reason for part in self._parts):
            return None
        found = usual_split_column(files)
        if found is None and self._spec.splits is None:
            refuse_unread_splits(files, self._spec)
        return found

    def _pieces_by_file(self) -> dict[str, list[Piece]]:
        return {part.name: [Piece(self._opened[file]) for file in part.files] for part in self._parts}

    def _check_columns(self) -> None:
        for file in self._used_files:
            check_images(file, self._image_column, self._spec.name)
            check_named(file, self._spec)
        for name, pieces in self._used.items():
            if all(lacks_bytes(piece.file, self._image_column) for piece in pieces if piece.n_rows):
                raise DatasetError(
                    f"Dataset {self._spec.name!r}: images must lie in the rows, but no row of {name} has bytes in the "
                    f"column {self._image_column!r}, and paths in rows are not opened. Write the contents of the "
                    "images into the field 'bytes', or name their folder with source = \"image_folder:...\"."
                )

    def _origin(self, split: str) -> str:
        """Return what rows of a split are called: ``val`` for validation, as long as only one split is that."""
        usual = usual_name(split)
        return usual if [usual_name(name) for name in self._pieces].count(usual) == 1 else split

    # ---- what became of it ------------------------------------------------------------------------------------------

    def _columns(self) -> dict[str, str]:
        group = {self._spec.group_column: "groups"} if self._spec.group_column else {}
        split = {self._split_column.name: "names of splits"} if self._split_column else {}
        return {self._image_column: "images", self._label_column: "labels", **group, **split}

    def _note_piece(self, name: str, piece: Piece, incomplete: dict[PurePosixPath, str], found: Inventory) -> None:
        """Note a file and its rows, or the rows of a file that are of one split."""
        file = self._name(piece.file)
        use = images_of(name)
        if self._split_column:
            found.add("row", file, used_as=use, reason=self._split_column.reason, count=piece.n_rows)
            return
        reasons = {part.name: part.reason for part in self._parts}
        relative = PurePosixPath(piece.file.path.relative_to(self._root))
        why = [reasons[name], incomplete.get(relative, ""), "" if piece.n_rows else "it has no rows"]
        if piece.file.path in self._labels.renumbered:
            why.append("other class names than in other files, so that its labels are read by name")
        found.add("file", file, used_as=use, reason="; ".join(filter(None, why)))
        others = contradicting(piece, name)
        for other, count in others.items():
            found.add("row", file, used_as=use, reason=f"though its column of splits says {other}", count=count)
        if n_rows := piece.n_rows - sum(others.values()):
            found.add("row", file, used_as=use, reason=reasons[name], count=n_rows)

    def _note_split_column(self, column: SplitColumn, found: Inventory) -> None:
        for file in self._opened.values():
            found.add("file", self._name(file), used_as="tables of images")
        for file, count in column.without.items():
            found.add("row", self._name(file), reason=f"no split in the column {column.name!r}", count=count)

    def _name(self, file: ParquetImageFile) -> str:
        return printable(file.path.relative_to(self._root).as_posix())


class _Reader:
    """A reader of images that are listed."""

    def __init__(self, rows: ParquetRows) -> None:
        self._rows = rows

    def read(self, places: pa.StructArray) -> Iterator[RawImage]:
        return (raw_image(read, name) for read, name in self._rows.images(places))


def reader(spec: DatasetSpec, facts: dict[str, Any]) -> _Reader:
    """Return a reader of images that are listed."""
    place = given_path(spec.location)
    files = ListedFiles(place.parent if place.is_file() else place, facts["files"])
    return _Reader(ParquetRows(files, facts["column"], facts["names"]))


def open(spec: DatasetSpec) -> ParquetImages:  # noqa: A001 - the name of the one function of every source
    """Open ``parquet:<folder>`` or ``parquet:<file>``."""
    place = given_path(spec.location)
    if not place.exists():
        raise DatasetError(f"Dataset {spec.name!r}: there is no folder or file {place}.")
    if place.is_file():
        name = PurePosixPath(place.name)
        return ParquetImages(spec, place.parent, [Part("train", (name,), why_train(name))], Inventory())
    listed = Inventory()
    paths = list_parquet_files(DatasetFolder(place, spec.link_roots), listed)
    if not paths:
        raise DatasetError(f"Dataset {spec.name!r}: {place} holds no Parquet file. {' '.join(listed.notes)}".rstrip())
    files = [PurePosixPath(path.relative_to(place)) for path in paths]
    parts = parts_of(files, spec.name, spec.location, mapped=spec.splits is not None or spec.split_column is not None)
    return ParquetImages(spec, place, parts, listed)


def _split_in_key(part: Part, file: PurePosixPath) -> str:
    """Return the split of a file as its fingerprint has it: versions before called unknown splits by their folder."""
    return split_of(part.name) or file.parent.name.lower() or part.name
