"""A column of Parquet files that says which split each row belongs to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from featurestore.errors import DatasetError
from featurestore.images.parquet_files import ParquetImageFile, is_text
from featurestore.images.parquet_rows import Piece
from featurestore.images.split_names import split_of

_USUAL = "split"


@dataclass(frozen=True)
class SplitColumn:
    """The rows of some files by the split that a column names.

    Attributes
    ----------
    name : str
        The column.
    pieces : dict of str to list of Piece
        Split of the source -> its rows.
    without : dict of ParquetImageFile to int
        File -> number of its rows that name no split.
    reason : str
        Why the column is used, where no record names it.
    """

    name: str
    pieces: dict[str, list[Piece]]
    without: dict[ParquetImageFile, int]
    reason: str = ""


def read_split_column(files: Sequence[ParquetImageFile], name: str, reason: str = "") -> SplitColumn:
    """Read which split each row of the files belongs to.

    Raises
    ------
    DatasetError
        If a file has no such column.
    """
    pieces: dict[str, list[Piece]] = {}
    without: dict[ParquetImageFile, int] = {}
    for file in files:
        values = _texts(file, name)
        for split in dict.fromkeys(values.tolist()):
            rows = np.flatnonzero(values == split)
            if split:
                pieces.setdefault(split, []).append(Piece(file, rows))
            else:
                without[file] = len(rows)
    return SplitColumn(name, pieces, without, reason)


def usual_split_column(files: Sequence[ParquetImageFile]) -> SplitColumn | None:
    """Return what a column called split says, if all files have one and rows of train are among its rows.

    It is asked where neither names of files nor names of folders say a split: all rows would else be training images,
    those of a test split among them.
    """
    name = _usual(files)
    if name is None:
        return None
    found = read_split_column(files, name, f"the column {name!r} says so")
    return found if any(split_of(split) == "train" for split in found.pieces) else None


def contradicting(piece: Piece, split: str) -> dict[str, int]:
    """Return how many rows of a piece are of another split by a column called split: name of that split -> rows."""
    name = _usual([piece.file])
    own = split_of(split)
    if name is None or own is None or piece.rows is not None:
        return {}
    found, counts = np.unique(_texts(piece.file, name).astype(str), return_counts=True)
    known = {str(other): int(count) for other, count in zip(found, counts, strict=True)}
    return {other: count for other, count in known.items() if split_of(other) not in (None, own)}


def _usual(files: Sequence[ParquetImageFile]) -> str | None:
    names = [name for name in files[0].schema.names if name.lower() == _USUAL] if files else []
    if len(names) != 1 or not all(file.schema.names.count(names[0]) == 1 for file in files):
        return None
    return names[0] if all(_is_text(file.column_type(names[0])) for file in files) else None


def _is_text(type_: pa.DataType) -> bool:
    return is_text(type_.value_type if pa.types.is_dictionary(type_) else type_)


def _texts(file: ParquetImageFile, name: str) -> npt.NDArray[np.object_]:
    """Return the values of a column as texts; of what is null, an empty one."""
    if pa.types.is_nested(file.column_type(name)):
        raise DatasetError(
            f"{file.path}: the column {name!r} must hold the names of splits. Got {file.column_type(name)}."
        )
    return np.array(["" if value is None else str(value).strip() for value in file.column(name).to_pylist()], object)
