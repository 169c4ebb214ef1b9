"""Which columns of Parquet files hold the images, labels, groups and names of splits."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import pyarrow as pa

from featurestore.catalogue.datasets import DatasetSpec
from featurestore.errors import DatasetError, did_you_mean
from featurestore.images.inventory import Inventory
from featurestore.images.parquet_files import ParquetImageFile, is_list, is_text
from featurestore.images.parquet_rows import holds_images
from featurestore.plain_text import shortly

_USUAL_IMAGES = ("image", "img", "bytes", "images")
_USUAL_LABELS = ("label", "labels", "fine_label")


@dataclass(frozen=True)
class _Kind:
    """A kind of column: what it holds, the key of a record that names it, its usual names and types."""

    what: str
    key: str
    usual: tuple[str, ...]
    feature: str
    can_be: Callable[[pa.DataType], bool]


def label_kind(type_: pa.DataType) -> str | None:
    """Return what a column of this type labels images with; None if it cannot label any."""
    if pa.types.is_dictionary(type_):
        type_ = type_.value_type
    if is_list(type_):
        inner = label_kind(type_.value_type)
        return f"lists of {inner}" if inner in ("numbers", "names", "nothing") else None
    if any(is_(type_) for is_ in (pa.types.is_integer, pa.types.is_boolean, pa.types.is_floating, pa.types.is_decimal)):
        return "numbers"
    if is_text(type_):
        return "names"
    return "nothing" if pa.types.is_null(type_) else None


_IMAGES = _Kind("images", "image_column", _USUAL_IMAGES, "Image", holds_images)
_LABELS = _Kind("labels", "label_column", _USUAL_LABELS, "ClassLabel", lambda type_: label_kind(type_) is not None)
_GROUPS = _Kind("groups", "group_column", (), "", lambda type_: not pa.types.is_nested(type_))
_SPLITS = _Kind("splits", "split_column", (), "", lambda type_: not pa.types.is_nested(type_))


def find_images(file: ParquetImageFile, spec: DatasetSpec) -> str:
    """Return the column of the images: the one that the record names, one of a usual name, or the only one of images.

    Raises
    ------
    DatasetError
        If there is none; the message offers those that can hold images.
    """
    return _find(file, spec.image_column, _IMAGES, spec.name)


def find_labels(file: ParquetImageFile, spec: DatasetSpec) -> str:
    """Return the column of the labels: the one that the record names, one of a usual name, or the only one of classes.

    Raises
    ------
    DatasetError
        If there is none; the message offers those that can hold labels.
    """
    return _find(file, spec.label_column, _LABELS, spec.name)


def check_named(file: ParquetImageFile, spec: DatasetSpec) -> None:
    """Check that the columns of groups and splits are there if the record names them.

    Raises
    ------
    DatasetError
        If one is not.
    """
    for name, kind in ((spec.group_column, _GROUPS), (spec.split_column, _SPLITS)):
        if name:
            _find(file, name, kind, spec.name)


def check_images(file: ParquetImageFile, column: str, dataset: str) -> None:
    """Check that a column holds encoded images.

    Raises
    ------
    DatasetError
        If it is neither bytes, nor a struct with bytes, nor a list of them.
    """
    found = file.column_type(column)
    if holds_images(found):
        return
    has_path = pa.types.is_struct(found) and found.get_field_index("path") >= 0
    text = " Texts, such as paths, are not opened." if is_text(found) or has_path else ""
    raise DatasetError(
        f"Dataset {dataset!r}: {file.path}: images must be encoded files, as bytes or as a struct with a field "
        f"'bytes'. Got {found} in the column {column!r}.{text}{_offer(file, _IMAGES)}"
    )


def note_columns(files: Sequence[ParquetImageFile], used: dict[str, str], inventory: Inventory) -> None:
    """Note what becomes of each column of the files.

    Parameters
    ----------
    files : sequence of ParquetImageFile
    used : dict of str to str
        Column -> use that is made of it.
    inventory : Inventory
    """
    for column, use in used.items():
        inventory.add("column", column, used_as=use)
    outer = {*used, *(column.split(".")[0] for column in used)}
    for name in dict.fromkeys(name for file in files for name in file.schema.names):
        if name not in outer:
            inventory.add("column", name, reason="no key of the dataset's record names it")


def _find(file: ParquetImageFile, wanted: str | None, kind: _Kind, dataset: str) -> str:
    if wanted:
        if file.has(wanted):
            return wanted
        hint = did_you_mean(wanted, file.schema.names) or _offer(file, kind)
        raise _no_column(file, repr(wanted), kind, dataset, hint)
    usual = next((name for name in kind.usual if name in file.schema.names), None)
    if usual:
        return usual
    said = [name for name in file.features.of_type(kind.feature) if name in file.schema.names]
    if len(said) == 1:
        return said[0]
    names = [repr(name) for name in kind.usual]
    raise _no_column(file, f"{', '.join(names[:-1])} or {names[-1]}", kind, dataset, _offer(file, kind))


def _no_column(file: ParquetImageFile, expected: str, kind: _Kind, dataset: str, hint: str) -> DatasetError:
    return DatasetError(
        f"Dataset {dataset!r}: no column {expected} for {kind.what}; there are {', '.join(file.schema.names)}.{hint}"
    )


def _offer(file: ParquetImageFile, kind: _Kind) -> str:
    """Return the columns that can be of a kind, and how to name one."""
    columns = [repr(name) for name in _columns(file.schema, kind)]
    if not columns:
        return f" None of them can hold {kind.what}."
    return f" {shortly(columns)} can hold {kind.what}: name {'one' if len(columns) > 1 else 'it'} with {kind.key}."


def _columns(fields: Sequence[pa.Field], kind: _Kind, outer: str = "") -> Iterator[str]:
    """Yield the names of columns, also inside of structs, that can be of a kind."""
    for one in fields:
        name = f"{outer}{one.name}"
        if kind.can_be(one.type):
            yield name
        elif pa.types.is_struct(one.type) and not holds_images(one.type):
            yield from _columns(list(one.type), kind, f"{name}.")
