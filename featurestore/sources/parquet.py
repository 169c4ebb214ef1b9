"""Parquet files as Hugging Face writes them, ``parquet:<folder>``: ``<split>-*.parquet`` with ``image.bytes`` (or plain
``bytes``) and ``label``, class names from the schema metadata."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from featurestore.datasets import DatasetSpec
from featurestore.errors import DatasetError, did_you_mean
from featurestore.sources import RawImage

_SPLIT_OF_FILE = re.compile(r"(train|valid(?:ation)?|val|test)(?:[-_.].*)?\.parquet")


class ParquetImages:
    """Images by split; rows in the order of the files' names."""

    def __init__(self, spec: DatasetSpec, files: dict[str, list[Path]]) -> None:
        self._spec = spec
        self._paths = files
        self._files = {split: [_open(path) for path in paths] for split, paths in files.items()}
        first = next(iter(self._files.values()))[0]
        self._image_column = _find_column(first.schema_arrow, ("image", "img", "bytes"), None, spec.name, "images")
        self._label_column = _find_column(
            first.schema_arrow, ("label", "labels", "fine_label"), spec.label_column, spec.name, "labels"
        )
        if spec.group_column:
            _find_column(first.schema_arrow, (), spec.group_column, spec.name, "groups")
        self.classes = self._class_names(first.schema_arrow)
        self._index = {name: label for label, name in enumerate(self.classes)}

    def splits(self) -> dict[str, int]:
        return {split: sum(file.metadata.num_rows for file in files) for split, files in self._files.items()}

    def labels(self, split: str) -> npt.NDArray[Any]:
        column = self._column(split, self._label_column)
        if pa.types.is_list(column.type):
            return self._indicators(split, column)
        if column.null_count:
            raise DatasetError(f"Dataset {self._spec.name!r}: {column.null_count} rows of {split} have no label.")
        values = self._class_indices(column)
        _check_range(values, len(self.classes), self._spec.name, split)
        return values

    def groups(self, split: str) -> Sequence[str | None] | None:
        if not self._spec.group_column:
            return None
        values = self._column(split, self._spec.group_column).to_pylist()
        return [None if value is None else str(value) for value in values]

    def read(self, split: str, rows: npt.NDArray[np.int64]) -> Iterator[RawImage]:
        """One row group is in memory at a time, so rows in ascending order are read once."""
        starts, groups = self._row_groups(split)
        loaded: tuple[int, pa.Array] | None = None
        for row in rows:
            number = int(np.searchsorted(starts, row, side="right")) - 1
            if loaded is None or loaded[0] != number:
                file, group = groups[number]
                loaded = (number, file.read_row_group(group, columns=[self._image_column]).column(0).combine_chunks())
            value = loaded[1][int(row - starts[number])].as_py()
            content = value.get("bytes") if isinstance(value, dict) else value
            yield RawImage(content or b"", f"{split}[{row}]")

    def fingerprint(self) -> str:
        """SHA-256 over every file's name, size, time of change and footer."""
        digest = hashlib.sha256(f"{self._label_column}\0{self._spec.group_column}".encode())
        for split, paths in sorted(self._paths.items()):
            for path, file in zip(paths, self._files[split], strict=True):
                sink, status = pa.BufferOutputStream(), path.stat()
                file.metadata.write_metadata_file(sink)
                digest.update(f"{split}\0{path.name}\0{status.st_size}\0{status.st_mtime_ns}\0".encode())
                digest.update(sink.getvalue().to_pybytes())
        return digest.hexdigest()

    def _column(self, split: str, name: str) -> pa.ChunkedArray:
        """A column of all files; what other writers encode as dictionary or with large offsets is plain here."""
        column = pa.concat_tables([file.read(columns=[name]) for file in self._files[split]]).column(0)
        if pa.types.is_dictionary(column.type):
            column = column.cast(column.type.value_type)
        if pa.types.is_large_list(column.type):
            column = column.cast(pa.list_(column.type.value_type))
        return column

    def _class_indices(self, column: pa.ChunkedArray) -> npt.NDArray[np.int64]:
        return np.array([self._class_index(value) for value in column.to_pylist()], dtype=np.int64)

    def _class_index(self, value: Any) -> int:
        """A class by its name or number; -1, which is out of range, for a name that is no class."""
        if isinstance(value, str):
            return self._index.get(value, -1)
        if not isinstance(value, int):
            raise DatasetError(
                f"Dataset {self._spec.name!r}: labels must be whole numbers or class names. Got {value!r} in "
                f"the column {self._label_column!r}."
            )
        return int(value)

    def _indicators(self, split: str, column: pa.ChunkedArray) -> npt.NDArray[np.bool_]:
        lists = [[self._class_index(value) for value in values or []] for values in column.to_pylist()]
        _check_range(
            np.array([v for values in lists for v in values], np.int64), len(self.classes), self._spec.name, split
        )
        matrix = np.zeros((len(lists), len(self.classes)), dtype=bool)
        for image, values in enumerate(lists):
            matrix[image, values] = True
        return matrix

    def _class_names(self, schema: pa.Schema) -> tuple[str, ...]:
        names = _names_in_metadata(schema, self._label_column)
        if names:
            return names
        columns = [self._column(split, self._label_column) for split in self._files]
        flat = [pc.list_flatten(column) if pa.types.is_list(column.type) else column for column in columns]
        values: set[Any] = {value for column in flat for value in column.unique().to_pylist()} - {None}
        if values and all(isinstance(value, int) for value in values):
            return tuple(str(label) for label in range(max(values) + 1))
        return tuple(sorted(str(value) for value in values))

    def _row_groups(self, split: str) -> tuple[npt.NDArray[np.int64], list[tuple[pq.ParquetFile, int]]]:
        groups = [(file, group) for file in self._files[split] for group in range(file.metadata.num_row_groups)]
        sizes = [file.metadata.row_group(group).num_rows for file, group in groups]
        return np.concatenate([[0], np.cumsum(sizes)[:-1]]).astype(np.int64), groups


def open(spec: DatasetSpec) -> ParquetImages:  # noqa: A001 - the name of the one function of every source
    """Open ``parquet:<folder>`` or ``parquet:<file>``."""
    place = Path(spec.location).expanduser()
    if not place.exists():
        raise DatasetError(f"Dataset {spec.name!r}: there is no folder or file {place}.")
    if place.is_file():
        return ParquetImages(spec, {"train": [place]})
    files: dict[str, list[Path]] = {}
    for path in sorted(place.rglob("*.parquet")):
        match = _SPLIT_OF_FILE.fullmatch(path.name.lower())
        split = match[1] if match else path.parent.name.lower() if path.parent != place else "train"
        files.setdefault("val" if split.startswith("val") else split, []).append(path)
    if not files:
        raise DatasetError(f"Dataset {spec.name!r}: {place} holds no *.parquet file.")
    return ParquetImages(spec, files)


def _open(path: Path) -> pq.ParquetFile:
    try:
        return pq.ParquetFile(path)
    except (pa.ArrowInvalid, OSError) as error:
        raise DatasetError(f"{path} is not a readable Parquet file: {error}") from error


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


def _names_in_metadata(schema: pa.Schema, column: str) -> tuple[str, ...]:
    """Class names as Hugging Face datasets write them: ``info.features.<column>[.feature].names``."""
    try:
        feature = json.loads((schema.metadata or {})[b"huggingface"])["info"]["features"][column]
        return tuple(feature.get("feature", feature)["names"])
    except (KeyError, TypeError, ValueError, AttributeError):
        return ()


def _check_range(values: npt.NDArray[np.int64], n_classes: int, dataset: str, split: str) -> None:
    wrong = np.flatnonzero((values < 0) | (values >= n_classes))
    if wrong.size:
        unlabelled = " A label of -1 usually means an unlabelled split: leave it out." if values[wrong[0]] == -1 else ""
        raise DatasetError(
            f"Dataset {dataset!r}: labels must lie in 0..{n_classes - 1} (there are {n_classes} class names), but row "
            f"{wrong[0]} of {split} has {values[wrong[0]]} ({wrong.size} such rows).{unlabelled}"
        )
