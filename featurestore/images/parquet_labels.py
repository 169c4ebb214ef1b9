"""Labels of the rows of Parquet files, as indices of classes.

Numbers are indices of the class names that the metadata of their file give, or those of the other files where it gives
none. Where no file gives names, the classes are the numbers that occur, in order; the type does not matter, if all are
whole. Texts are names of classes, in the order of the metadata or of the alphabet. A list makes an image of several
classes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from featurestore.errors import DatasetError
from featurestore.images.parquet_columns import label_kind
from featurestore.images.parquet_files import ParquetImageFile, is_list, is_text
from featurestore.images.parquet_rows import Piece
from featurestore.plain_text import counted, shortly

_MOST_INDICATORS = 2**33
"""Largest number of images x classes of a multi-label split: its matrix has a byte for each."""


@dataclass(frozen=True)
class _Values:
    """The labels of some rows of a file.

    Attributes
    ----------
    file : ParquetImageFile
    flat : pa.ChunkedArray
        Numbers (int64) or texts, of all rows one after the other.
    lengths : ndarray of int64, shape (n_rows,), or None
        How many each row has; None if each has one.
    missing : ndarray of bool, shape (n_rows,)
        The rows that have no label at all: null, NaN, or a text that is empty or blank. An empty list is a label.
    """

    file: ParquetImageFile
    flat: pa.ChunkedArray
    lengths: npt.NDArray[np.int64] | None
    missing: npt.NDArray[np.bool_]


class PartLabels:
    """The labels of the splits of a source that are used.

    Parameters
    ----------
    dataset, column : str
    parts : mapping of str to sequence of Piece
        Split of the source -> its rows.
    """

    def __init__(self, dataset: str, column: str, parts: Mapping[str, Sequence[Piece]]) -> None:
        self._dataset = dataset
        self._column = column
        self._parts = parts
        self._cached: dict[str, list[_Values]] = {}

    @cached_property
    def classes(self) -> tuple[str, ...]:
        """The names of all classes, in order.

        Raises
        ------
        DatasetError
            If the files do not agree about them.
        """
        self._check_kinds()
        return max(self._names.values(), key=len) if self._names else tuple(map(str, self._occurring))

    @property
    def renumbered(self) -> list[Path]:
        """The files whose metadata give other class names than `classes`, so that their numbers are read by name."""
        return [file.path for file, own in self._names.items() if own != self.classes]

    def read(self, part: str) -> None:
        """Read the labels of a split.

        Raises
        ------
        DatasetError
            If they cannot be read, or cannot be labels.
        """
        self._check_kinds()
        self._values(part)

    def of(self, part: str) -> npt.NDArray[Any]:
        """Return class indices, int64 of shape (n,), or an indicator matrix, bool of shape (n, n_classes).

        Raises
        ------
        DatasetError
            If a row of the split has no label, or one that is no class.
        """
        n_classes = len(self.classes)
        values = self._values(part)
        self._check_missing(part, np.concatenate([one.missing for one in values]))
        indices = np.concatenate([self._indices(one) for one in values])
        rows = np.concatenate([*_rows(values)])
        self._check_known(part, values, indices, rows)
        if all(one.lengths is None for one in values):
            return indices
        n_rows = sum(len(one.missing) for one in values)
        self._check_lists(part, indices, rows, n_rows)
        matrix = np.zeros((n_rows, n_classes), dtype=bool)
        matrix[rows, indices] = True
        return matrix

    # ---- what the files hold ----------------------------------------------------------------------------------------

    @property
    def _files(self) -> list[ParquetImageFile]:
        return list({piece.file.path: piece.file for pieces in self._parts.values() for piece in pieces}.values())

    def _check_kinds(self) -> None:
        """Check that the labels of all files are of one kind: numbers, names, or lists of one of them."""
        kinds = {label_kind(file.column_type(self._column)): file for file in self._files if file.has(self._column)}
        if None in kinds:
            raise self._not_classes(f"{kinds[None].column_type(self._column)} in {kinds[None].path}")
        for nothing in ("nothing", "lists of nothing"):
            if len(kinds) > 1:
                kinds.pop(nothing, None)
        if len(kinds) > 1:
            found = ", ".join(f"{kind} in {file.path}" for kind, file in kinds.items())
            raise DatasetError(
                f"Dataset {self._dataset!r}: the column {self._column!r} must be the same in all files. Got {found}."
            )

    @cached_property
    def _names(self) -> dict[ParquetImageFile, tuple[str, ...]]:
        """The class names of each file that has some; of files with different names, one has all that others have."""
        found = {file: file.features.class_names(self._column, self._dataset) for file in self._files}
        names = {file: own for file, own in found.items() if own}
        if len(set(names.values())) < 2:
            return names
        longest = max(names, key=lambda file: len(names[file]))
        other = next((file for file in names if not set(names[file]) <= set(names[longest])), None)
        if other is not None:
            raise DatasetError(
                f"Dataset {self._dataset!r}: files must agree about the class names of {self._column!r}. "
                f"{longest.path} has {shortly(names[longest], 10)}; {other.path} has {shortly(names[other], 10)}. "
                "Write the same names into both, or write labels as texts."
            )
        without = next((file for file in self._files if file not in names and not self._has_texts(file)), None)
        if without is not None:
            raise DatasetError(
                f"Dataset {self._dataset!r}: {without.path} must have the class names of {self._column!r}, because "
                f"other files give them in different orders: {shortly(names[longest])}, and "
                f"{shortly(next(own for own in names.values() if own != names[longest]))}."
            )
        return names

    def _has_texts(self, file: ParquetImageFile) -> bool:
        return "names" in (label_kind(file.column_type(self._column)) or "")

    @cached_property
    def _occurring(self) -> list[Any]:
        """The labels that occur, in order; those below 0 say that a label is not known."""
        found: set[Any] = set()
        for part in self._parts:
            try:
                values = self._values(part)
            except DatasetError:  # `of` raises it for this part
                continue
            found.update(*(one.flat.unique().to_pylist() for one in values))
        return sorted(value for value in found - {None} if isinstance(value, str) or value >= 0)

    def _values(self, part: str) -> list[_Values]:
        if part not in self._cached:
            self._cached[part] = [self._read(piece) for piece in self._parts[part]]
        return self._cached[part]

    def _read(self, piece: Piece) -> _Values:
        if not piece.file.has(self._column):
            raise DatasetError(
                f"Dataset {self._dataset!r}: {piece.file.path} has no column {self._column!r}, which other files have. "
                f"It has {', '.join(piece.file.schema.names)}."
            )
        column = piece.of(piece.file.column(self._column))
        if not is_list(column.type):
            flat = self._flat(column, piece.file)
            return _Values(piece.file, flat, None, _array(flat.is_null()))
        lengths = _array(pc.fill_null(pc.list_value_length(column), 0)).astype(np.int64)
        flat = self._flat(pa.chunked_array([pc.list_flatten(column.combine_chunks())]), piece.file)
        if flat.null_count:
            raise self._not_classes("a list that holds nothing at one of its places")
        return _Values(piece.file, flat, lengths, _array(column.is_null()))

    def _flat(self, column: pa.ChunkedArray, file: ParquetImageFile) -> pa.ChunkedArray:
        """Return labels as int64 or as texts, with null for those that are missing."""
        if pa.types.is_dictionary(column.type):
            column = column.cast(column.type.value_type)
        if is_text(column.type):
            column = column.cast(pa.large_string())
            return pc.if_else(pc.equal(pc.utf8_trim_whitespace(column), ""), pa.scalar(None, pa.large_string()), column)
        if pa.types.is_float16(column.type):
            column = column.cast(pa.float32())
        if pa.types.is_floating(column.type):
            column = pc.if_else(pc.is_nan(column), pa.scalar(None, column.type), column)
        try:
            return column.cast(pa.int64())
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
            raise self._not_classes(f"fractions in {file.path} ({error})") from error

    def _indices(self, values: _Values) -> npt.NDArray[np.int64]:
        """Return the indices of classes; -1 for what is no class."""
        if not len(values.flat):
            return np.zeros(0, np.int64)
        if is_text(values.flat.type):
            known = pa.array(self.classes, pa.large_string())
            return _array(pc.fill_null(pc.index_in(values.flat, value_set=known), -1)).astype(np.int64)
        numbers = _array(values.flat.fill_null(-1)).astype(np.int64)
        own = self._own_numbers(values.file)
        places = np.searchsorted(own, numbers).clip(max=max(len(own) - 1, 0))
        is_known = own[places] == numbers if len(own) else np.zeros(len(numbers), dtype=bool)
        return np.where(is_known, self._own_classes(values.file)[places] if len(own) else -1, -1)

    def _own_numbers(self, file: ParquetImageFile) -> npt.NDArray[np.int64]:
        """Return the numbers that are labels in a file, ascending."""
        return np.array(self._occurring, np.int64) if not self._names else np.arange(len(self._own_names(file)))

    def _own_classes(self, file: ParquetImageFile) -> npt.NDArray[np.int64]:
        """Return the class of each of the numbers that are labels in a file."""
        index = {name: label for label, name in enumerate(self.classes)}
        names = self._own_names(file) if self._names else self.classes
        return np.array([index[name] for name in names], np.int64)

    def _own_names(self, file: ParquetImageFile) -> tuple[str, ...]:
        return self._names.get(file, self.classes)

    # ---- what is wrong with them ------------------------------------------------------------------------------------

    def _check_missing(self, part: str, missing: npt.NDArray[np.bool_]) -> None:
        if missing.all() and len(missing):
            raise DatasetError(
                f"Dataset {self._dataset!r}: every row needs a label, but none of the {counted(len(missing), 'row')} "
                f"of {part} has one in the column {self._column!r}."
            )
        n_missing = int(missing.sum())
        if n_missing:
            raise DatasetError(
                f"Dataset {self._dataset!r}: every row needs a label, but {counted(n_missing, 'row')} of {part} "
                f"{'has' if n_missing == 1 else 'have'} none in the column {self._column!r} (row "
                f"{np.flatnonzero(missing)[0]} is the first). Leave such rows out of the file."
            )

    def _check_known(
        self, part: str, values: Sequence[_Values], indices: npt.NDArray[np.int64], rows: npt.NDArray[np.int64]
    ) -> None:
        wrong = np.flatnonzero(indices < 0)
        if not wrong.size:
            return
        labels = [label for one in values for label in one.flat.to_pylist()]
        first, n_rows = labels[wrong[0]], len(np.unique(rows[wrong]))
        found = f"row {rows[wrong[0]]} of {part} has {first!r} ({n_rows} such rows)."
        if isinstance(first, int) and first < 0:
            unlabelled = " A label of -1 usually means an unlabelled split." if first == -1 else ""
            raise DatasetError(f"Dataset {self._dataset!r}: labels must not be negative, but {found}{unlabelled}")
        n_classes = len(self.classes)
        rule = f"lie in 0..{n_classes - 1} (there are {n_classes} class names)"
        if isinstance(first, str):
            rule = f"be among the {n_classes} class names of the metadata ({shortly(self.classes)})"
        raise DatasetError(f"Dataset {self._dataset!r}: labels must {rule}, but {found}")

    def _check_lists(self, part: str, indices: npt.NDArray[np.int64], rows: npt.NDArray[np.int64], n_rows: int) -> None:
        n_classes = len(self.classes)
        if n_rows * n_classes > _MOST_INDICATORS:
            raise DatasetError(
                f"Dataset {self._dataset!r}: {n_rows:,} images x {n_classes:,} classes of {part} must be at most "
                f"{_MOST_INDICATORS:,} to be held in memory. Use fewer images or classes."
            )
        if not len(indices):
            raise DatasetError(f"Dataset {self._dataset!r}: no row of {part} has a label; all of its lists are empty.")
        pairs = rows * n_classes + indices
        lengths = np.bincount(rows, minlength=n_rows)
        is_one_length = n_rows > 1 and lengths[0] > 1 and (lengths == lengths[0]).all()
        if len(np.unique(pairs)) < len(pairs) or (is_one_length and n_classes == lengths[0]):
            raise DatasetError(
                f"Dataset {self._dataset!r}: a list of labels must hold the numbers or names of an image's classes, "
                f"each once. The lists of {part} look like indicators, one place for each class. Write the numbers of "
                "the places instead."
            )

    def _not_classes(self, got: str) -> DatasetError:
        return DatasetError(
            f"Dataset {self._dataset!r}: labels must be whole numbers or class names. Got {got} in the column "
            f"{self._column!r}."
        )


def _rows(values: Sequence[_Values]) -> Iterator[npt.NDArray[np.int64]]:
    """Yield the number of the row of each label, counted over all."""
    start = 0
    for one in values:
        rows = np.arange(start, start + len(one.missing))
        yield rows if one.lengths is None else np.repeat(rows, one.lengths)
        start += len(one.missing)


def _array(column: pa.ChunkedArray) -> npt.NDArray[Any]:
    return np.asarray(column)
