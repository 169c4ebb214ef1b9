"""Feature vectors as NumPy matrices: out of Parquet's pages, and kept on the node for whoever reads them next.

Arrow decodes a list column value by value, at about 0.5 GB/s. What `commit` writes needs none of that: where nothing
is null and every list has the same length, the values of a page are the rows of the matrix, byte for byte, after a
few bytes that say so. :func:`read_vectors` copies them from there; any other file is left to Arrow.
"""

from __future__ import annotations

import json
import mmap
import os
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from featurestore.store import node_cache
from featurestore.store.digests import digest
from featurestore.written_whole import written_whole

Arrays = Mapping[str, npt.NDArray[Any]]

# ---- out of Parquet ------------------------------------------------------------------------------------------------


def read_vectors(file: pq.ParquetFile, content: pa.Buffer, column: str, out: npt.NDArray[Any]) -> None:
    """Decode a fixed-size-list column without nulls into `out`.

    Parameters
    ----------
    file : ParquetFile
        The file, opened over `content`.
    content : Buffer
        All of its bytes.
    column : str
    out : ndarray of shape (n_rows, dim), C-contiguous
        Array of the column's type or a wider one.
    """
    try:
        _copy_pages(file, content, column, out)
    except _OtherLayoutError:
        copy_vectors(file.read(columns=[column], use_threads=False).column(column), out)


class _OtherLayoutError(Exception):
    """Raised if a file is not laid out as `commit` lays it out."""


_PHYSICAL: dict[str, np.dtype[Any]] = {"FLOAT": np.dtype("<f4"), "FIXED_LEN_BYTE_ARRAY": np.dtype("<f2")}
_CODECS: dict[str, str | None] = {"UNCOMPRESSED": None, "LZ4": "lz4_raw", "ZSTD": "zstd"}
# Numbers in parquet.thrift: fields of PageHeader and of the DataPageHeader in it, PageType and Encoding.
_KIND, _PLAIN_SIZE, _STORED_SIZE, _DATA = 1, 2, 3, 5
_N_VALUES, _ENCODING = 1, 2
_DATA_PAGE, _PLAIN = 0, 0


def copy_vectors(column: pa.ChunkedArray, out: npt.NDArray[Any]) -> None:
    """Copy a fixed-size-list column without nulls into `out`, an array of shape (n_rows, dim)."""
    start = 0
    for chunk in column.chunks:
        out[start : start + len(chunk)] = chunk.flatten().to_numpy(zero_copy_only=True).reshape(-1, out.shape[1])
        start += len(chunk)


def _copy_pages(file: pq.ParquetFile, content: pa.Buffer, column: str, out: npt.NDArray[Any]) -> None:
    values = out.reshape(-1)  # a page may end within a row
    leaf = _leaf(file, column, values.size)
    start = 0
    for group in range(file.metadata.num_row_groups):
        for page in _pages(content, file.metadata.row_group(group).column(leaf)):
            values[start : start + len(page)] = page
            start += len(page)
    if start != values.size:
        raise _OtherLayoutError


def _leaf(file: pq.ParquetFile, column: str, n_values: int) -> int:
    """Return the position of the Parquet column that holds the values of a list column in which nothing can be null."""
    (leaf,) = (i for i, path in enumerate(_paths(file)) if path.split(".")[0] == column)
    levels = file.schema.column(leaf)
    groups = (file.metadata.row_group(group) for group in range(file.metadata.num_row_groups))
    stored = sum(group.column(leaf).num_values for group in groups)
    if (levels.max_repetition_level, levels.max_definition_level, stored) != (1, 1, n_values):
        raise _OtherLayoutError
    return leaf


def _paths(file: pq.ParquetFile) -> list[str]:
    return [file.schema.column(i).path for i in range(len(file.schema))]


def _pages(content: pa.Buffer, chunk: pq.ColumnChunkMetaData) -> Iterator[npt.NDArray[Any]]:
    """Yield the values of the pages of one column chunk, each of shape (n_values,)."""
    if chunk.has_dictionary_page or chunk.compression not in _CODECS or chunk.physical_type not in _PHYSICAL:
        raise _OtherLayoutError
    dtype, compression = _PHYSICAL[chunk.physical_type], _CODECS[chunk.compression]
    codec = pa.Codec(compression) if compression else None
    view = memoryview(content).cast("B")
    position, end = chunk.data_page_offset, chunk.data_page_offset + chunk.total_compressed_size
    while position < end:
        header, position = _page_header(view, position)
        if header[_KIND] != _DATA_PAGE or header[_DATA][_ENCODING] != _PLAIN:
            raise _OtherLayoutError
        page = content.slice(position, header[_STORED_SIZE])
        position += header[_STORED_SIZE]
        if codec:
            page = codec.decompress(page, header[_PLAIN_SIZE])
        yield _page_values(page, header[_DATA][_N_VALUES], dtype)


def _page_values(page: pa.Buffer, n_values: int, dtype: np.dtype[Any]) -> npt.NDArray[Any]:
    """Return the values of a page: they follow two runs of levels, each of which says in four bytes how long it is.

    With a null the page would be shorter than its levels and `n_values` make it.
    """
    view = memoryview(page).cast("B")
    start = 0
    for _ in ("repetition levels", "definition levels"):
        start += 4 + int.from_bytes(view[start : start + 4], "little")
    if start + n_values * dtype.itemsize != page.size:
        raise _OtherLayoutError
    return np.frombuffer(page, dtype=dtype, offset=start)


def _page_header(view: memoryview, position: int) -> tuple[dict[int, Any], int]:
    """Return field number -> value of the PageHeader at `position`, and the position after it."""
    reader = _CompactReader(view, position)
    try:
        return reader.struct(), reader.position
    except IndexError as error:  # it goes on behind the end of the file
        raise _OtherLayoutError from error


class _CompactReader:
    """A reader of Thrift's compact protocol, as far as page headers go: pyarrow shows no metadata of pages."""

    def __init__(self, view: memoryview, position: int) -> None:
        self._view = view
        self.position = position

    def struct(self) -> dict[int, Any]:
        """Read field number -> value; what only describes the page (statistics) comes as it is or as None."""
        fields: dict[int, Any] = {}
        number = 0
        while head := self._byte():  # the distance to the last field's number, then four bits of type
            number = number + (head >> 4) if head >> 4 else self._integer()
            fields[number] = self._value(head & 15)
        return fields

    def _value(self, kind: int) -> Any:
        match kind:
            case 1 | 2:
                return kind == 1  # a boolean is its own type
            case 4 | 5 | 6:
                return self._integer()
            case 8:
                length = self._varint()
                self.position += length
                return None
            case 12:
                return self.struct()
        raise _OtherLayoutError

    def _integer(self) -> int:
        zigzag = self._varint()
        return (zigzag >> 1) ^ -(zigzag & 1)

    def _varint(self) -> int:
        value = shift = 0
        while (byte := self._byte()) > 127:
            value |= (byte & 127) << shift
            shift += 7
        return value | byte << shift

    def _byte(self) -> int:
        self.position += 1
        return int(self._view[self.position - 1])


# ---- kept on the node ----------------------------------------------------------------------------------------------


class MatrixCache(node_cache.NodeCache):
    """Named arrays in files on a disk of this node, mapped into memory by all its processes.

    An entry is a folder ``features-KEY`` of ``.npy`` files and of ``digests.json``. It appears and disappears by one
    rename. Its key says what is in it, so an entry is right for ever or not used again; what has not been used for
    longest makes room for the next. A process that has mapped a removed entry keeps it.

    Every file is checked against its digest when a process opens the entry, so that nothing has to be flushed to the
    disk when it is written: what a power failure leaves is noticed, and made again.

    Whatever is wrong with the folder, nothing is raised: the cache then holds nothing.

    Parameters
    ----------
    folder : Path
        Made when it is needed. Other things in it are left alone.
    limit_bytes : int
        Space that all entries together may take, with listings of datasets; arrays that are larger alone are not kept.
    """

    def load(self, key: str) -> Arrays | None:
        """Return the arrays of an entry, read-only and mapped; None if there is no sound one.

        An unsound one is removed.
        """
        entry = self._entry(key)
        try:
            arrays = _map(entry, key)
        except (OSError, ValueError, RecursionError):
            node_cache.remove(entry)
            return None
        with suppress(OSError):  # in somebody else's folder
            os.utime(entry)  # the time of the last use
        return arrays

    def save(self, key: str, arrays: Arrays) -> Arrays:
        """Keep arrays and return them mapped, or `arrays` themselves if they cannot be kept."""
        needed = sum(array.nbytes for array in arrays.values())
        if needed > self._limit_bytes:
            return arrays
        with suppress(OSError):  # no space, no permission, or another process was first: its entry is as good
            node_cache.make_room(self._folder, needed, self._limit_bytes)
            with written_whole(self._entry(key)) as staged:
                staged.mkdir()
                _write(staged, key, arrays)
        mapped = self.load(key)
        return arrays if mapped is None else mapped

    def _entry(self, key: str) -> Path:
        return self._folder / f"features-{key}"


_DIGESTS = "digests.json"


def _write(folder: Path, key: str, arrays: Arrays) -> None:
    for name, array in arrays.items():
        np.save(folder / f"{name}.npy", array, allow_pickle=False)
    digests = {name: _digest(folder / f"{name}.npy") for name in arrays}
    (folder / _DIGESTS).write_text(json.dumps({"files": digests, "entry": _digest_of_all(key, digests)}))


def _map(folder: Path, key: str) -> Arrays:
    """Map an entry; raise OSError or ValueError unless it is that of `key`, and every file is as it was written."""
    content = json.loads((folder / _DIGESTS).read_bytes())
    digests = content.get("files") if isinstance(content, dict) else None
    if not isinstance(digests, dict) or content.get("entry") != _digest_of_all(key, digests):
        raise ValueError(f"{folder} is not as it was written.")
    for name, expected in digests.items():
        if _digest(folder / f"{name}.npy") != expected:
            raise ValueError(f"{name} is not as it was written.")
    return {name: np.load(folder / f"{name}.npy", mmap_mode="r", allow_pickle=False) for name in digests}


def _digest(path: Path) -> str:
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        return digest(content)


def _digest_of_all(key: str, digests: Mapping[str, Any]) -> str:
    return digest(json.dumps([key, digests], sort_keys=True).encode())
