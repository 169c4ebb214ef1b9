"""Parquet files as Hugging Face writes them, ``parquet:<folder>``: ``<split>-*.parquet`` with ``image.bytes`` (or plain
``bytes``) and ``label``, class names from the schema metadata."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Sequence
from functools import partial
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from featurestore.catalogue.datasets import DatasetSpec
from featurestore.errors import DatasetError, did_you_mean
from featurestore.images.dataset_files import DatasetFolder
from featurestore.images.inventory import Inventory, images_of
from featurestore.images.parquet_files import ParquetImageFile, RowGroup
from featurestore.images.sources import RawImage, raw_image
from featurestore.images.split_names import usual_name
from featurestore.plain_text import counted

_SPLIT_OF_FILE = re.compile(r"(train|valid(?:ation)?|val|test)(?:[-_.].*)?\.parquet")
_MOST_INDICATORS = 2**33
"""Largest number of images x classes of a multi-label split: its matrix has a byte for each."""


class ParquetImages:
    """Images by split; rows in the order of the files' names.

    Only the bytes in a row are ever an image; a path in it is not opened. Classes are in the order of the metadata,
    else numbers as numbers, else names by alphabet. A row group that cannot be read makes its rows unreadable images;
    labels or groups that cannot be read make an unusable dataset, because no row could be used without them.
    """

    def __init__(self, spec: DatasetSpec, files: dict[str, list[Path]]) -> None:
        self._spec = spec
        self._files = {split: [ParquetImageFile(path) for path in paths] for split, paths in files.items()}
        every = [file for files in self._files.values() for file in files]
        first = every[0].schema
        self._image_column = _find_column(first, ("image", "img", "bytes"), None, spec.name, "images")
        self._label_column = _find_column(
            first, ("label", "labels", "fine_label"), spec.label_column, spec.name, "labels"
        )
        if spec.group_column:
            _find_column(first, (), spec.group_column, spec.name, "groups")
        for file in every:
            file.check_images(self._image_column)
        _check_labels(every, self._label_column, spec.name)
        self.classes = self._class_names(first)
        self._index = {name: label for label, name in enumerate(self.classes)}

    def splits(self) -> dict[str, int]:
        return {split: sum(file.n_rows for file in files) for split, files in self._files.items()}

    def labels(self, split: str) -> npt.NDArray[Any]:
        columns = self._columns(split, self._label_column)
        if pa.types.is_list(columns[0].type):
            return self._indicators(split, [value for column in columns for value in column.to_pylist()])
        missing = sum(column.null_count for column in columns)
        if missing:
            raise DatasetError(
                f"Dataset {self._spec.name!r}: every row needs a label, but {counted(missing, 'row')} of {split} "
                f"{'has' if missing == 1 else 'have'} none."
            )
        values = np.concatenate([self._class_indices(column) for column in columns])
        _check_range(values, len(self.classes), self._spec.name, split)
        return values

    def groups(self, split: str) -> Sequence[str | None] | None:
        if not self._spec.group_column:
            return None
        columns = self._columns(split, self._spec.group_column)
        return [None if value is None else str(value) for column in columns for value in column.to_pylist()]

    def read(self, split: str, rows: npt.NDArray[np.int64]) -> Iterator[RawImage]:
        """Read these rows, a few of one row group at a time; rows in ascending order are read once."""
        places = [(file, group) for file in self._files[split] for group in range(file.n_groups)]
        sizes = np.array([file.group_rows(group) for file, group in places], np.int64)
        starts = np.cumsum(sizes) - sizes
        numbers = np.searchsorted(starts, rows, side="right") - 1
        for number, positions in groupby(range(len(rows)), key=lambda position: int(numbers[position])):
            group = RowGroup(*places[number], self._image_column)
            for row in rows[list(positions)]:
                yield raw_image(partial(group.image, int(row - starts[number])), f"{usual_name(split)}[{row}]")

    def inventory(self) -> Inventory:
        found = Inventory()
        for split, files in self._files.items():
            for file in files:
                found.add("file", file.path.name, used_as=images_of(split))
                found.add("row", file.path.name, used_as=images_of(split), count=file.n_rows)
        return found

    def fingerprint(self) -> str:
        """Return SHA-256 over every file's name, size, time of change and footer."""
        digest = hashlib.sha256(f"{self._label_column}\0{self._spec.group_column}".encode())
        for split, files in sorted(self._files.items(), key=lambda item: (usual_name(item[0]), item[0])):
            for file in files:
                status = file.path.stat()
                place = f"{usual_name(split)}\0{file.path.name}\0{status.st_size}\0{status.st_mtime_ns}\0"
                digest.update(place.encode("utf-8", "surrogateescape"))
                digest.update(file.footer())
        return digest.hexdigest()

    def _columns(self, split: str, name: str) -> list[pa.ChunkedArray]:
        return [file.column(name) for file in self._files[split]]

    def _class_indices(self, column: pa.ChunkedArray) -> npt.NDArray[np.int64]:
        if pa.types.is_integer(column.type):
            return np.asarray(column, dtype=np.int64)
        return np.array([self._class_index(value) for value in column.to_pylist()], dtype=np.int64)

    def _class_index(self, value: Any) -> int:
        """Return the index of a class by its name or number; -1, which is out of range, for a name that is no class."""
        if isinstance(value, str):
            return self._index.get(value, -1)
        if not isinstance(value, int):
            raise _not_classes(self._spec.name, self._label_column, repr(value))
        return int(value)

    def _indicators(self, split: str, values: list[Any]) -> npt.NDArray[np.bool_]:
        if len(values) * len(self.classes) > _MOST_INDICATORS:
            raise DatasetError(
                f"Dataset {self._spec.name!r}: {len(values):,} images x {len(self.classes):,} classes of {split} must "
                f"be at most {_MOST_INDICATORS:,} to be held in memory. Use fewer images or classes."
            )
        lists = [[self._class_index(value) for value in labels or []] for labels in values]
        _check_range(
            np.array([v for labels in lists for v in labels], np.int64), len(self.classes), self._spec.name, split
        )
        matrix = np.zeros((len(lists), len(self.classes)), dtype=bool)
        for image, labels in enumerate(lists):
            matrix[image, labels] = True
        return matrix

    def _class_names(self, schema: pa.Schema) -> tuple[str, ...]:
        names = _names_in_metadata(schema, self._label_column, self._spec.name)
        if names:
            return names
        values: set[Any] = set()
        n_labels = 0
        for split in self._files:
            for column in self._columns(split, self._label_column):
                flat = column.combine_chunks().flatten() if pa.types.is_list(column.type) else column
                n_labels += len(flat)
                values.update(flat.unique().to_pylist())
        values.discard(None)
        if not values or not all(isinstance(value, int) for value in values):
            return tuple(sorted(str(value) for value in values))
        if max(values) >= n_labels:  # before so many names are made
            raise DatasetError(
                f"Dataset {self._spec.name!r}: labels must count from 0 and every class needs an image, but the "
                f"largest of {n_labels} labels is {max(values)}. Name the column of the labels with label_column."
            )
        return tuple(str(label) for label in range(max(values) + 1))


def open(spec: DatasetSpec) -> ParquetImages:  # noqa: A001 - the name of the one function of every source
    """Open ``parquet:<folder>`` or ``parquet:<file>``."""
    place = Path(spec.location).expanduser()
    if not place.exists():
        raise DatasetError(f"Dataset {spec.name!r}: there is no folder or file {place}.")
    if place.is_file():
        return ParquetImages(spec, {"train": [place]})
    files: dict[str, list[Path]] = {}
    for path in sorted(path for path in place.rglob("*.parquet") if path.is_file()):
        _check_link(path, DatasetFolder(place))
        match = _SPLIT_OF_FILE.fullmatch(path.name.lower())
        split = match[1] if match else path.parent.name.lower() if path.parent != place else "train"
        files.setdefault(split, []).append(path)
    if not files:
        raise DatasetError(f"Dataset {spec.name!r}: {place} holds no *.parquet file.")
    return ParquetImages(spec, files)


def _check_link(path: Path, folder: DatasetFolder) -> None:
    """Refuse links that lead out of the folder, but for those of a Hugging Face cache from snapshots/ to blobs/."""
    target = path.resolve()
    cache = target.parent.parent
    if target.parent.name == "blobs" and folder.path.resolve().is_relative_to(cache / "snapshots"):
        return
    folder.check(path)


def _find_column(schema: pa.Schema, usual: tuple[str, ...], wanted: str | None, dataset: str, what: str) -> str:
    found = (
        wanted
        if wanted in schema.names
        else next((name for name in usual if name in schema.names and not wanted), None)
    )
    if found is None:
        expected = repr(wanted) if wanted else " or ".join(repr(name) for name in usual)
        hint = did_you_mean(wanted, schema.names) if wanted else " Name it with label_column."
        raise DatasetError(
            f"Dataset {dataset!r}: no column {expected} for {what}; there are {', '.join(schema.names)}.{hint}"
        )
    return found


def _check_labels(files: Sequence[ParquetImageFile], column: str, dataset: str) -> None:
    """Check that the labels of all files are of one kind: numbers, names, or lists of one of them."""
    kinds = {_label_kind(file.column_type(column)): file for file in files}
    if None in kinds:
        raise _not_classes(dataset, column, f"{kinds[None].column_type(column)} in {kinds[None].path}")
    kinds.pop("nothing", None)
    if len(kinds) > 1:
        found = ", ".join(f"{kind} in {file.path}" for kind, file in kinds.items())
        raise DatasetError(f"Dataset {dataset!r}: the column {column!r} must be the same in all files. Got {found}.")


def _label_kind(type_: pa.DataType) -> str | None:
    """Return what a column of this type labels images with; None if it cannot label any."""
    if pa.types.is_dictionary(type_):
        type_ = type_.value_type
    if pa.types.is_list(type_) or pa.types.is_large_list(type_):
        inner = _label_kind(type_.value_type)
        return f"lists of {inner}" if inner in ("numbers", "names", "nothing") else None
    if pa.types.is_integer(type_) or pa.types.is_boolean(type_):
        return "numbers"
    if pa.types.is_string(type_) or pa.types.is_large_string(type_) or pa.types.is_string_view(type_):
        return "names"
    return "nothing" if pa.types.is_null(type_) else None


def _not_classes(dataset: str, column: str, got: str) -> DatasetError:
    return DatasetError(
        f"Dataset {dataset!r}: labels must be whole numbers or class names. Got {got} in the column {column!r}."
    )


def _names_in_metadata(schema: pa.Schema, column: str, dataset: str) -> tuple[str, ...]:
    """Return class names as Hugging Face datasets write them: ``info.features.<column>[.feature].names``."""
    try:
        feature = json.loads((schema.metadata or {})[b"huggingface"])["info"]["features"][column]
        names = feature.get("feature", feature)["names"]
    except (KeyError, TypeError, ValueError, AttributeError, RecursionError):  # metadata of another kind
        return ()
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names) or len(set(names)) < len(names):
        raise DatasetError(
            f"Dataset {dataset!r}: the class names of {column!r} in the metadata must be a list of different texts. "
            f"Got {str(names)[:200]}."
        )
    return tuple(names)


def _check_range(values: npt.NDArray[np.int64], n_classes: int, dataset: str, split: str) -> None:
    wrong = np.flatnonzero((values < 0) | (values >= n_classes))
    if wrong.size:
        unlabelled = " A label of -1 usually means an unlabelled split: leave it out." if values[wrong[0]] == -1 else ""
        raise DatasetError(
            f"Dataset {dataset!r}: labels must lie in 0..{n_classes - 1} (there are {n_classes} class names), but row "
            f"{wrong[0]} of {split} has {values[wrong[0]]} ({wrong.size} such rows).{unlabelled}"
        )
