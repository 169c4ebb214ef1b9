"""A Parquet file of images that anybody may have written: every claim is checked, and none costs memory."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from featurestore.errors import DatasetError
from featurestore.images.image_limits import UnreadableImageError, check_bytes
from featurestore.plain_text import counted

_BATCH_ROWS = 16  # a value that is stored once can be meant thousands of times; only so many are in memory at once
_BUFFER_BYTES = 2**20
_ROWS_WITHOUT_BYTES = 1_000_000
_LONGEST_MESSAGE = 200  # characters


class ParquetImageFile:
    """An open file whose footer has been checked.

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
            raise DatasetError(f"{path} is not a readable Parquet file: {_short(error)}") from error
        if min(self._group_rows, default=0) < 0 or sum(self._group_rows) != self.n_rows:
            raise DatasetError(
                f"{path} contradicts itself: {self.n_rows} rows, of which {sum(self._group_rows)} in groups."
            )
        size = path.stat().st_size
        if self.n_rows > max(_ROWS_WITHOUT_BYTES, size):
            raise DatasetError(f"{path} claims {self.n_rows:,} rows of images in {size:,} bytes, which cannot be.")

    def group_rows(self, group: int) -> int:
        """Return the number of rows of a row group that the footer claims."""
        rows: int = self._group_rows[group]
        return rows

    def column_type(self, name: str) -> pa.DataType:
        """Return the type of a column.

        Raises
        ------
        DatasetError
            If there is none, or more than one, of that name.
        """
        indices = self.schema.get_all_field_indices(name)
        if len(indices) != 1:
            raise DatasetError(
                f"{self.path} must have one column {name!r}, as the other files of its dataset. It has "
                f"{', '.join(self.schema.names)}."
            )
        return self.schema.field(indices[0]).type

    def check_images(self, name: str) -> None:
        """Check that a column holds encoded images.

        Raises
        ------
        DatasetError
            If it is neither bytes nor a struct with bytes.
        """
        found = self.column_type(name)
        inner = found
        if pa.types.is_struct(found):
            indices = found.get_all_field_indices("bytes")
            inner = found.field(indices[0]).type if len(indices) == 1 else pa.null()
        if not _is_bytes(inner):
            raise DatasetError(
                f"{self.path}: images must be encoded files, as bytes or as a struct with a field 'bytes'. Got {found} "
                f"in the column {name!r}."
            )

    def column(self, name: str) -> pa.ChunkedArray:
        """Read all of a short column; dictionaries and large offsets of other writers are made plain.

        Raises
        ------
        DatasetError
            If it cannot be read.
        """
        try:
            column = self._file.read(columns=[name]).column(0)
            column.validate(full=True)
            if len(column) == self.n_rows:
                return _plain(column)
            problem = f"it has {counted(len(column), 'row')} instead of {self.n_rows}"
        except (pa.ArrowException, OSError) as error:
            raise_if_disk_failed(error)
            problem = _short(error)
        raise DatasetError(f"{self.path}: the column {name!r} cannot be read{self._first_bad_group(name)}: {problem}")

    def batches(self, group: int, columns: list[str]) -> Any:
        """Read the rows of a row group, a few at a time."""
        return self._file.iter_batches(_BATCH_ROWS, row_groups=[group], columns=columns, use_threads=False)

    def footer(self) -> bytes:
        """Return the metadata of the file as bytes, which change with its contents."""
        sink = pa.BufferOutputStream()
        self._metadata.write_metadata_file(sink)
        content: bytes = sink.getvalue().to_pybytes()
        return content

    def _first_bad_group(self, name: str) -> str:
        for group in range(self.n_groups):
            try:
                self._file.read_row_group(group, columns=[name]).validate(full=True)
            except (pa.ArrowException, OSError):
                return f" in row group {group}"
        return ""


class RowGroup:
    """The images of one row group, read forward.

    Whatever of it cannot be read makes the rows from there on unreadable: each is accounted for, and none is a crash.
    """

    def __init__(self, file: ParquetImageFile, group: int, column: str) -> None:
        self._file = file
        self._group = group
        self._column = column
        self._reason: str | None = None
        self._rewind()

    def image(self, row: int) -> bytes:
        """Return the encoded image in a row, counted from the group's start.

        Raises
        ------
        UnreadableImageError
            If the row has none, or cannot be read.
        DatasetError
            If there is too little memory for it.
        OSError
            If the disk or the network fails.
        """
        if row < self._start:
            self._rewind()
        while row >= self._start + len(self._rows):
            self._advance()
        return _content(self._rows[row - self._start])

    def _rewind(self) -> None:
        is_struct = pa.types.is_struct(self._file.column_type(self._column))
        columns = [f"{self._column}.bytes", f"{self._column}.path"] if is_struct else [self._column]
        self._batches = iter(self._file.batches(self._group, columns))
        self._start = 0
        self._rows: Any = ()

    def _advance(self) -> None:
        if self._reason is None:
            try:
                batch = next(self._batches).column(0)
                batch.validate(full=not pa.types.is_struct(batch.type))
                self._start, self._rows = self._start + len(self._rows), batch
                return
            except StopIteration:
                problem = "fewer rows than it claims"
            except MemoryError as error:
                raise DatasetError(f"{self._place()} needs more memory than there is: {_short(error)}") from error
            except (pa.ArrowException, OSError) as error:
                raise_if_disk_failed(error)
                problem = _short(error)
            self._reason = f"{self._place()} cannot be read: {problem}"
        raise UnreadableImageError(self._reason)

    def _place(self) -> str:
        return f"row group {self._group} of {self._file.path.name}"


def raise_if_disk_failed(error: Exception) -> None:
    """Raise an error of a disk or network again; what Arrow says of the data has no error number."""
    if isinstance(error, OSError) and error.errno is not None:
        raise error


def _content(value: Any) -> bytes:
    if isinstance(value, pa.StructScalar) and value.is_valid:
        only_path = not value["bytes"].is_valid and "path" in value and value["path"].is_valid
        if only_path:
            raise UnreadableImageError("the row has a path and no bytes; paths are not opened")
        value = value["bytes"]
    content: bytes | None = value.as_py()
    if content is None:
        raise UnreadableImageError("the row has no image")
    check_bytes(len(content))
    return content


def _is_bytes(type_: pa.DataType) -> bool:
    if pa.types.is_dictionary(type_):
        type_ = type_.value_type
    kinds = (
        pa.types.is_binary,
        pa.types.is_large_binary,
        pa.types.is_fixed_size_binary,
        pa.types.is_binary_view,
    )
    return any(kind(type_) for kind in kinds)


def _plain(column: pa.ChunkedArray) -> pa.ChunkedArray:
    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    if pa.types.is_large_list(column.type):
        column = column.cast(pa.list_(column.type.value_type))
    if pa.types.is_unsigned_integer(column.type):
        column = column.cast(pa.int64())
    return column


def _short(error: BaseException) -> str:
    return " ".join(str(error).split())[:_LONGEST_MESSAGE]
