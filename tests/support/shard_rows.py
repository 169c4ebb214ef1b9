"""A feature set, and rows that a test writes into its shards."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from featurestore import FeatureSet
from featurestore.store import schema

SET = FeatureSet("net", "pets", "train", "key")


def feature_rows(start: int, X: np.ndarray, labels: list[list[int]] | None = None) -> pa.Table:
    """Rows of a shard: images `start`, `start + 1`, ... of features X (n, d); without `labels`, two classes."""
    n, dim = X.shape
    table_schema = schema.features(pa.from_numpy_dtype(X.dtype), dim)
    vectors = pa.FixedSizeListArray.from_arrays(pa.array(X.ravel()), type=table_schema.field("feature").type)
    label = pa.array([None if labels else i % 2 for i in range(n)], pa.int64())
    columns = [
        pa.array([f"id{start + i}" for i in range(n)]),
        pa.array(range(start, start + n), pa.int64()),
        label,
        pa.array(labels or [None] * n, pa.list_(pa.int64())),
        pa.nulls(n, pa.string()),
        vectors,
    ]
    return pa.Table.from_arrays(columns, schema=table_schema)
