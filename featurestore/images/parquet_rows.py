"""The images in the rows of a Parquet file: bytes, a struct with bytes, or a list of one of them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from featurestore.errors import DatasetError
from featurestore.images.image_limits import UnreadableImageError, check_bytes
from featurestore.images.parquet_files import ParquetImageFile, is_list, raise_if_disk_failed, short


def holds_images(type_: pa.DataType) -> bool:
    """Return whether a column of this type can hold encoded images, one in each row."""
    if is_list(type_) or pa.types.is_fixed_size_list(type_):
        type_ = type_.value_type
    if pa.types.is_struct(type_):
        indices = type_.get_all_field_indices("bytes")
        type_ = type_.field(indices[0]).type if len(indices) == 1 else pa.null()
    return _is_bytes(type_)


@dataclass(frozen=True)
class Piece:
    """Rows of a file that belong to one split.

    Attributes
    ----------
    file : ParquetImageFile
    rows : ndarray of int64, optional
        Ascending numbers of the rows; None if all rows do.
    """

    file: ParquetImageFile
    rows: npt.NDArray[np.int64] | None = None

    @property
    def n_rows(self) -> int:
        """Number of its rows."""
        return self.file.n_rows if self.rows is None else len(self.rows)

    def of(self, column: pa.ChunkedArray) -> pa.ChunkedArray:
        """Return the values of a column of the file in its rows."""
        return column if self.rows is None else column.take(self.rows)


def part_of(
    rows: npt.NDArray[np.int64], sizes: npt.NDArray[np.int64]
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Return in which of the parts of these sizes rows lie, and their numbers in it."""
    starts = np.cumsum(sizes) - sizes
    numbers = np.searchsorted(starts, rows, side="right") - 1
    return numbers, rows - starts[numbers]


def lacks_bytes(file: ParquetImageFile, column: str) -> bool:
    """Return whether no row of a file has bytes. Of most files that takes reading their first rows.

    The statistics in the footer would say so too, but Arrow ends the process over those of a broken one. What cannot be
    read counts as there: whoever reads the rows says what is wrong with them.
    """
    if not file.n_rows or not pa.types.is_struct(file.column_type(column)):
        return False
    try:
        for group in range(file.n_groups):
            for batch in file.batches(group, column, ("bytes",)):
                if any(row.is_valid and row["bytes"].is_valid for row in batch):
                    return False
    except (pa.ArrowException, OSError) as error:
        raise_if_disk_failed(error)
        return False
    return True


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
            If the row has none, or several, or cannot be read.
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
        fields = ("bytes", "path") if is_struct else ()
        self._batches: Iterator[pa.Array] = self._file.batches(self._group, self._column, fields)
        self._start = 0
        self._rows: Any = ()

    def _advance(self) -> None:
        if self._reason is None:
            try:
                batch = next(self._batches)
                batch.validate(full=not pa.types.is_nested(batch.type))
                self._start, self._rows = self._start + len(self._rows), batch
                return
            except StopIteration:
                problem = "fewer rows than it claims"
            except MemoryError as error:
                raise DatasetError(f"{self._place()} needs more memory than there is: {short(error)}") from error
            except (pa.ArrowException, OSError) as error:
                raise_if_disk_failed(error)
                problem = short(error)
            self._reason = f"{self._place()} cannot be read: {problem}"
        raise UnreadableImageError(self._reason)

    def _place(self) -> str:
        return f"row group {self._group} of {self._file.path.name}"


def _content(value: Any) -> bytes:
    if isinstance(value, pa.ListScalar):
        value = _only(value)
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


def _only(images: Any) -> Any:
    """Return the one image of a list."""
    if not images.is_valid or not len(images):
        raise UnreadableImageError("the row has no image")
    if len(images) > 1:
        raise UnreadableImageError(f"the row has {len(images)} images instead of one")
    return images[0]


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
