"""A Parquet file of images that anybody may have written: every claim is checked, and none costs memory."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from featurestore.errors import DatasetError
from featurestore.images.parquet_features import Features
from featurestore.plain_text import counted

_BATCH_ROWS = 16  # a value that is stored once can be meant thousands of times; only so many are in memory at once
_BUFFER_BYTES = 2**20
_ROWS_WITHOUT_BYTES = 1_000_000
_POINTER = b"version https://git-lfs"
_LONGEST_MESSAGE = 200  # characters


class ParquetImageFile:
    """An open file whose footer has been checked.

    The name of a column is that of a field of the file, or those of fields inside each other with dots between them,
    such as ``annotation.label``.

    Parameters
    ----------
    path : Path

    Raises
    ------
    DatasetError
        If it is no Parquet file, or claims numbers of rows that cannot be.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self._file = pq.ParquetFile(path, buffer_size=_BUFFER_BYTES)
            self._metadata = self._file.metadata
            self.schema: pa.Schema = self._file.schema_arrow
            self.n_rows: int = self._metadata.num_rows
            self.n_groups: int = self._metadata.num_row_groups
            self._group_rows = [self._metadata.row_group(group).num_rows for group in range(self.n_groups)]
        except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
            why = "it is a pointer of Git LFS: git lfs pull fetches it" if _is_pointer(path) else short(error)
            raise DatasetError(f"{path} is not a readable Parquet file: {why}") from error
        if min(self._group_rows, default=0) < 0 or sum(self._group_rows) != self.n_rows:
            raise DatasetError(
                f"{path} contradicts itself: {self.n_rows} rows, of which {sum(self._group_rows)} in groups."
            )
        size = path.stat().st_size
        if self.n_rows > max(_ROWS_WITHOUT_BYTES, size):
            raise DatasetError(f"{path} claims {self.n_rows:,} rows of images in {size:,} bytes, which cannot be.")

    @cached_property
    def features(self) -> Features:
        """What the library `datasets` wrote about the columns."""
        return Features(self.schema)

    @property
    def all_group_rows(self) -> npt.NDArray[np.int64]:
        """Number of rows of each row group that the footer claims."""
        return np.array(self._group_rows, np.int64)

    def has(self, name: str) -> bool:
        """Return whether there is a column, or several, of that name."""
        return name in self.schema.names or _path(self.schema, name) is not None

    def column_type(self, name: str) -> pa.DataType:
        """Return the type of a column.

        Raises
        ------
        DatasetError
            If there is none, or more than one, of that name.
        """
        path = _path(self.schema, name)
        if path is None:
            raise DatasetError(
                f"{self.path} must have one column {name!r}, as the other files of its dataset. It has "
                f"{', '.join(self.schema.names)}."
            )
        found = self.schema.field(path[0]).type
        for inner in path[1:]:
            found = found.field(inner).type
        return found

    def column(self, name: str) -> pa.ChunkedArray:
        """Read all of a short column; dictionaries and large offsets of other writers are made plain.

        Raises
        ------
        DatasetError
            If it cannot be read.
        """
        self.column_type(name)
        try:
            column = self._chosen(self._file.read(columns=[name]), name)
            column.validate(full=True)
            if len(column) == self.n_rows:
                return _plain(column)
            problem = f"it has {counted(len(column), 'row')} instead of {self.n_rows}"
        except (pa.ArrowException, OSError) as error:
            raise_if_disk_failed(error)
            problem = short(error)
        raise DatasetError(f"{self.path}: the column {name!r} cannot be read{self._first_bad_group(name)}: {problem}")

    def batches(self, group: int, name: str, fields: Sequence[str] = ()) -> Iterator[pa.Array]:
        """Read a column of a row group, a few rows at a time; of a struct, some fields only."""
        columns = [f"{name}.{field}" for field in fields] or [name]
        for batch in self._file.iter_batches(_BATCH_ROWS, row_groups=[group], columns=columns, use_threads=False):
            yield self._chosen(batch, name)

    def footer(self) -> bytes:
        """Return the metadata of the file as bytes, which change with its contents."""
        sink = pa.BufferOutputStream()
        self._metadata.write_metadata_file(sink)
        content: bytes = sink.getvalue().to_pybytes()
        return content

    def _chosen(self, table: pa.Table | pa.RecordBatch, name: str) -> Any:
        """Return a column of what was read, where a column of a name that begins alike may be, too."""
        path = _path(self.schema, name) or (name,)
        column = table.column(path[0])
        for inner in path[1:]:
            column = pc.struct_field(column, [inner])
        return column

    def _first_bad_group(self, name: str) -> str:
        for group in range(self.n_groups):
            try:
                self._file.read_row_group(group, columns=[name]).validate(full=True)
            except (pa.ArrowException, OSError):
                return f" in row group {group}"
        return ""


def raise_if_disk_failed(error: Exception) -> None:
    """Raise an error of a disk or network again; what Arrow says of the data has no error number."""
    if isinstance(error, OSError) and error.errno is not None:
        raise error


def short(error: BaseException) -> str:
    """Return the message of an error on one line of bounded length."""
    return " ".join(str(error).split())[:_LONGEST_MESSAGE]


def is_list(type_: pa.DataType) -> bool:
    """Return whether a type is one of Arrow's lists of any length."""
    return bool(pa.types.is_list(type_) or pa.types.is_large_list(type_))


def is_text(type_: pa.DataType) -> bool:
    """Return whether a type is one of Arrow's texts."""
    return bool(pa.types.is_string(type_) or pa.types.is_large_string(type_) or pa.types.is_string_view(type_))


def _path(fields: pa.Schema | pa.StructType, name: str) -> tuple[str, ...] | None:
    """Return the names of the fields that lead to a column; None if none does, or more than one."""
    here = fields.get_all_field_indices(name)
    if here:
        return (name,) if len(here) == 1 else None
    for dot in (position for position, letter in enumerate(name) if letter == "."):
        outer = fields.get_all_field_indices(name[:dot])
        if len(outer) == 1 and pa.types.is_struct(inner := fields.field(outer[0]).type):
            rest = _path(inner, name[dot + 1 :])
            if rest:
                return (name[:dot], *rest)
    return None


def _plain(column: pa.ChunkedArray) -> pa.ChunkedArray:
    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    if pa.types.is_large_list(column.type):
        column = column.cast(pa.list_(column.type.value_type))
    if pa.types.is_unsigned_integer(column.type):
        column = column.cast(pa.int64())
    if is_text(column.type):
        column = column.cast(pa.large_string())
    return column


def _is_pointer(path: Path) -> bool:
    """Return whether a file is the few lines that Git LFS leaves where a file is not fetched."""
    try:
        with path.open("rb") as file:
            return file.read(len(_POINTER)) == _POINTER
    except OSError:
        return False
