"""Columns of numbers as arrays, without pandas, which `to_numpy` of Arrow loads: 25 MB in each worker."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa


def numbers(column: pa.Array) -> npt.NDArray[Any]:
    """Return a column of numbers, none of which is null, as an array over the same memory."""
    dtype = np.dtype(column.type.to_pandas_dtype())
    if not len(column):
        return np.zeros(0, dtype)
    return np.frombuffer(column.buffers()[1], dtype, len(column), column.offset * dtype.itemsize)
