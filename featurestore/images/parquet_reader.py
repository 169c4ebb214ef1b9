"""Images in the rows of Parquet files, read from where they are listed."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import groupby
from pathlib import Path

import numpy as np
import pyarrow as pa

from featurestore.errors import DatasetError
from featurestore.images.parquet_files import ParquetImageFile
from featurestore.images.parquet_rows import RowGroup, part_of
from featurestore.images.plain_columns import numbers


class ParquetRows:
    """Rows of files that hold images, read a few of one row group at a time; rows in ascending order are read once.

    Parameters
    ----------
    files : sequence of ParquetImageFile
    column : str
        Column of the images.
    names : sequence of str
        What rows of each split are called.
    """

    def __init__(self, files: Sequence[ParquetImageFile], column: str, names: Sequence[str]) -> None:
        self._files = files
        self._column = column
        self._names = names

    def images(self, places: pa.StructArray) -> Iterator[tuple[Callable[[], bytes], str]]:
        """Yield what reads the image at each of these places, in this order, and what the image is called."""
        files, in_file, splits, rows = map(numbers, places.flatten())
        groups, in_group = np.zeros_like(in_file), np.zeros_like(in_file)
        for number in np.unique(files):
            here = files == number
            groups[here], in_group[here] = part_of(in_file[here], self._files[number].all_group_rows)
        for (file, number), positions in groupby(range(len(rows)), key=lambda place: (files[place], groups[place])):
            group = RowGroup(self._files[file], int(number), self._column)
            for place in positions:
                name = f"{self._names[splits[place]]}[{rows[place]}]"
                yield partial(group.image, int(in_group[place])), name


class ListedFiles(Sequence[ParquetImageFile]):
    """Files that are opened when a row of them is read. Each must be what it was when it was listed.

    Parameters
    ----------
    root : Path
    files : sequence of (str, int, int)
        Path of each inside the root, as hexadecimal digits of its bytes, with the status that it had.
    """

    def __init__(self, root: Path, files: Sequence[tuple[str, int, int]]) -> None:
        self._root = root
        self._listed = files
        self._opened: dict[int, ParquetImageFile] = {}

    def __len__(self) -> int:
        return len(self._listed)

    def __getitem__(self, number):  # type: ignore[no-untyped-def]
        if number not in self._opened:
            name, *listed = self._listed[number]
            path = self._root / os.fsdecode(bytes.fromhex(name))
            file = ParquetImageFile(path)
            if status_of(path) != tuple(listed):
                raise DatasetError(f"{path} has changed since the dataset was listed. Run the command again.")
            self._opened[number] = file
        return self._opened[number]


def status_of(path: Path) -> tuple[int, int]:
    """Return the bytes of a file and the time of its last change, in ns."""
    status = path.stat()
    return status.st_size, status.st_mtime_ns
