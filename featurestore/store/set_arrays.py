"""The parts of feature sets as arrays of all their rows: each part goes into its place at once, and is let go.

A set may have tens of thousands of parts of a few rows each. So nothing is kept of a part but its rows, no Python
object is made per row, and small parts are read by one call of Arrow. The vectors of large ones come out of Parquet's
pages (`featurestore.store.matrices`), which is several times as fast.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from threading import Lock
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from featurestore.machine import available_cpus
from featurestore.store import matrices
from featurestore.store.matrices import Arrays

_COLUMNS = ("sample_id", "index", "label")
_USUAL_LEAVES = [0, 1, 2, 5]
"""The same and the features among Parquet's columns, where labels are one per image and there may be a group."""
_LARGE_BYTES = 256 * 1024  # of a part whose pages are worth looking for
_MOST_THREADS = 16  # more would only wait for the memory
_BYTES_AT_HAND = 64 * 1024**2  # of parts on their way through a network, where there are more than CPUs
_AT_ONCE = 64  # parts that a thread takes: one by one, handing them out would take as long as reading them


class Slot(NamedTuple):
    """A part and the rows that it fills.

    Attributes
    ----------
    name : str
        File in the store.
    described : mapping of str to Any
        Row of the manifest.
    start, stop : int
    """

    name: str
    described: Mapping[str, Any]
    start: int
    stop: int


def slots(parts: Sequence[tuple[str, Mapping[str, Any]]]) -> list[Slot]:
    """Return where each part goes, one after the other."""
    ends = np.cumsum([part["rows"] for _, part in parts], dtype=np.int64).tolist()
    starts = [0, *ends][: len(ends)]
    return [Slot(*part, start, end) for part, start, end in zip(parts, starts, ends, strict=True)]


def n_threads(parts: Sequence[Slot], *, local: bool) -> int:
    """Return how many parts to read at once: as many as there are CPUs, or more where a network takes its time."""
    largest = max((slot.described["bytes"] for slot in parts), default=1)
    waiting = 1 if local else _BYTES_AT_HAND // max(1, largest)
    return min(_MOST_THREADS, max(waiting, available_cpus()))


def read_arrays(
    parts: Sequence[Slot], read: Callable[[Slot], pa.Buffer], dim: int, dtype: np.dtype[Any], *, threads: int
) -> Arrays:
    """Read all parts into arrays.

    Parameters
    ----------
    parts : sequence of Slot
    read : callable
        Function that returns the checked content of a part; it is called in several threads.
    dim : int
    dtype : dtype
        Type of the matrix: that of the parts' features, or a wider one.
    threads : int

    Returns
    -------
    mapping of str to ndarray
        ``X`` (n, dim), ``index`` (n,), ``sample_id`` (n,), and ``label`` (n,), or, when labels are many per image,
        pairs of ``row`` and ``label``.
    """
    rows = _Rows(parts[-1].stop if parts else 0, dim, dtype)
    groups = [parts[i : i + _AT_ONCE] for i in range(0, len(parts), _AT_ONCE)]
    if len(groups) < threads:
        groups = [[part] for part in parts]

    def fill(group: Sequence[Slot]) -> None:
        others = [_table(read(slot), rows.X[slot.start : slot.stop]) for slot in group]
        rows.fill(group[0].start, pa.concat_tables(others, promote_options="default"))

    with ThreadPoolExecutor(threads) as pool:
        for _ in pool.map(fill, groups):
            pass
    return rows.arrays()


@dataclass
class _Rows:
    """All rows. Threads fill different places of the arrays.

    Attributes
    ----------
    ids : ndarray of str, shape (n,), optional
        Of the width of the parts that were read first; `wider` has the ids of those that need more, by their first row.
    labels : dict of int to (lengths, labels)
        First row of some parts -> of parts that have lists of labels.
    unlabelled : dict of int to ndarray of bool
        First row of some parts -> its rows without a label.
    """

    n_rows: int
    dim: int
    dtype: np.dtype[Any]
    ids: npt.NDArray[np.str_] | None = None
    wider: dict[int, npt.NDArray[np.str_]] = field(default_factory=dict)
    labels: dict[int, tuple[npt.NDArray[Any], npt.NDArray[Any]]] = field(default_factory=dict)
    unlabelled: dict[int, npt.NDArray[np.bool_]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.X = np.empty((self.n_rows, self.dim), self.dtype)
        self.index = np.empty(self.n_rows, np.int64)
        self.label = np.empty(self.n_rows, np.int64)
        self.lock = Lock()

    def fill(self, start: int, table: pa.Table) -> None:
        """Fill in all but the features of rows from `start` on."""
        self.index[start : start + len(table)] = table.column("index").to_numpy()
        self._fill_ids(start, _fixed_width(table.column("sample_id")))
        label = table.column("label")
        self.label[start : start + len(table)] = (label.fill_null(0) if label.null_count else label).to_numpy()
        if label.null_count:
            self.unlabelled[start] = label.is_null().to_numpy()
            self._fill_labels(start, table.column("labels"))

    def _fill_ids(self, start: int, own: npt.NDArray[np.str_]) -> None:
        with self.lock:
            if self.ids is None:
                self.ids = np.empty(self.n_rows, own.dtype)
            ids = self.ids
        if own.dtype.itemsize > ids.dtype.itemsize:
            self.wider[start] = own
        else:
            ids[start : start + len(own)] = own

    def _fill_labels(self, start: int, labels: pa.ChunkedArray) -> None:
        if labels.null_count < len(labels):
            lengths = pc.list_value_length(labels).fill_null(0).to_numpy()
            self.labels[start] = lengths, pc.list_flatten(labels).to_numpy()

    def arrays(self) -> Arrays:
        return {"X": self.X, "index": self.index, "sample_id": self._all_ids(), **self._all_labels()}

    def _all_ids(self) -> npt.NDArray[np.str_]:
        ids = np.empty(0, "U1") if self.ids is None else self.ids
        if self.wider:
            ids = ids.astype(max(own.dtype for own in self.wider.values()))
        for start, own in self.wider.items():
            ids[start : start + len(own)] = own
        return ids

    def _all_labels(self) -> dict[str, npt.NDArray[Any]]:
        if self.labels:
            found = sorted(self.labels.items())
            row = [np.repeat(np.arange(start, start + len(lengths)), lengths) for start, (lengths, _) in found]
            return {"row": np.concatenate(row), "label": np.concatenate([labels for _, (_, labels) in found])}
        if not self.unlabelled:
            return {"label": self.label}
        label = self.label.astype(np.float64)
        for start, without in self.unlabelled.items():
            label[start : start + len(without)][without] = np.nan
        return {"label": label}


def _table(content: pa.Buffer, out: npt.NDArray[Any]) -> pa.Table:
    """Fill `out`, a part's rows of the matrix, and return its other columns."""
    if content.size >= _LARGE_BYTES:
        file = pq.ParquetFile(pa.BufferReader(content))
        matrices.read_vectors(file, content, "feature", out)
        return file.read(columns=[*_COLUMNS, "labels"], use_threads=False).replace_schema_metadata(None)
    reader = pq.ParquetReader()  # ParquetFile takes as long again to look at all columns
    reader.open(pa.BufferReader(content))
    table = reader.read_all(column_indices=_USUAL_LEAVES, use_threads=False)
    if table.column_names != [*_COLUMNS, "feature"] or table.column("label").null_count:
        table = reader.read_all(use_threads=False)
    matrices.copy_vectors(table.column("feature"), out)
    return table.drop_columns("feature").replace_schema_metadata(None)


def _fixed_width(column: pa.ChunkedArray) -> npt.NDArray[np.str_]:
    """Return (n,) strings, padded with zeros as NumPy does it; without a Python object per row if they are ASCII."""
    if not pc.all(pc.string_is_ascii(column)).as_py():
        return np.array(column.to_pylist(), dtype=np.str_)
    width = max(1, pc.max(pc.binary_length(column)).as_py() or 0)
    padded = pc.utf8_rpad(column, width, padding="\0").combine_chunks()
    letters = np.frombuffer(padded.buffers()[2], np.uint8, count=len(column) * width)
    return letters.astype(np.uint32).view(f"U{width}")
