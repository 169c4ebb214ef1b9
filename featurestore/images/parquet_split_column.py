"""A column of Parquet files that says which split each row belongs to."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from featurestore.catalogue.datasets import DatasetSpec
from featurestore.errors import DatasetError
from featurestore.images.parquet_files import ParquetImageFile, is_text
from featurestore.images.parquet_rows import Piece
from featurestore.images.split_names import as_toml, split_of
from featurestore.store.schema import SPLITS

_USUAL = "split"
_LIKE = {"split", "splits", "set", "subset", "partition", "part", "phase", "usage", "stage", "fold"}
_FLAG = re.compile("(is|in|for)?_?(train|training|val|valid|validation|test|testing)(_?set|_?split)?")
_MOST_SPLITS = 20


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


def refuse_unread_splits(files: Sequence[ParquetImageFile], spec: DatasetSpec) -> None:
    """Refuse files in which a column may say the split of each row, where nothing else does.

    Without it all rows would be training images, those of a test split among them. A column may say it if it is called
    like one and names a split that is not train (``set``), if it says yes and no to a split (``is_train``), or if it is
    called split and has a few values, whatever they are.

    Raises
    ------
    DatasetError
        If there is such a column; the message has the record that decides.
    """
    named = (spec.image_column, spec.label_column, spec.group_column)
    for name in dict.fromkeys(name for file in files for name in file.schema.names if name not in named):
        having = [file for file in files if file.schema.names.count(name) == 1]
        if having and (found := _maybe_splits(having, name)):
            counts = ", ".join(f"{value!r} {count:,}" for value, count in found.most_common(5))
            raise DatasetError(
                f"Dataset {spec.name!r}: the column {name!r} may say which split each row is of ({counts}), and no "
                f"name of a file or folder does. If it says so, give the dataset {_remedy(name, found)}; if all rows "
                f"are training images, `splits = {as_toml({'train': ('train',)})}`."
            )


def _maybe_splits(files: Sequence[ParquetImageFile], name: str) -> Counter[str] | None:
    """Return how many rows have each value of a column that may say splits; None if it cannot."""
    types = {file.column_type(name) for file in files}
    words = set(re.findall("[a-z]+", name.lower()))
    flag = _FLAG.fullmatch(name.lower()) and all(pa.types.is_boolean(one) or pa.types.is_integer(one) for one in types)
    if not flag and not (words & _LIKE and all(map(_is_text, types))) and name.lower() != _USUAL:
        return None
    if any(pa.types.is_nested(one) or pa.types.is_binary(one) for one in types):
        return None
    found = Counter(value for file in files for value in _texts(file, name).tolist() if value)
    few = 1 < len(found) <= _MOST_SPLITS
    if flag:
        return found if len(found) == 2 and set(found) in ({"0", "1"}, {"False", "True"}) else None
    names_others = any(split_of(value) in ("val", "test") for value in found)
    return found if names_others or (few and name.lower() == _USUAL) else None


def _remedy(name: str, found: Counter[str]) -> str:
    """Return the keys of a record that take a column for one of splits."""
    keys = f"`split_column = {json.dumps(name, ensure_ascii=False)}`"
    known = [split_of(value) for value in found]
    if "train" in known and len(set(known)) == len(known):
        return keys
    own: dict[str, list[str]] = {}
    for place, value in enumerate(_train_first(name, found)):
        own.setdefault(split_of(value) or ("train", "test")[place > 0], []).append(value)
    splits = {split: tuple(own[split]) for split in SPLITS if split in own}
    return f"{keys} and, for example, `splits = {as_toml({'train': ('...',), **splits})}`"


def _train_first(name: str, found: Counter[str]) -> list[str]:
    """Return the values of a column, that of train first, as far as one can tell."""
    values = [value for value, _ in found.most_common()]
    flag = _FLAG.fullmatch(name.lower())
    if flag is None:
        return values
    yes = next(value for value in values if value in ("1", "True"))
    others = [value for value in values if value != yes]
    return [yes, *others] if split_of(flag[2]) == "train" else [*others, yes]


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
