"""Sets of many small parts as arrays: all rows in their places, whatever the parts are like."""

import numpy as np
import pyarrow as pa
import pytest
from shard_rows import SET, feature_rows

from featurestore.store import set_arrays

N_PARTS = 3 * set_arrays._AT_ONCE  # several groups


def with_ids(table: pa.Table, ids: list[str]) -> pa.Table:
    return table.set_column(0, table.schema.field(0), pa.array(ids))


def write(store, tables: list[pa.Table]) -> None:
    for shard, table in enumerate(tables):
        store.write_shard(SET, shard, len(tables), table)
    store.finish(SET, len(tables), {})


@pytest.fixture
def vectors() -> np.ndarray:
    return np.random.default_rng(0).normal(size=(2 * N_PARTS, 3)).astype(np.float16)


def parts_of(X: np.ndarray) -> list[pa.Table]:
    return [feature_rows(start, X[start : start + 2]) for start in range(0, len(X), 2)]


def test_every_row_of_many_small_parts_has_its_place_with_ids_of_any_width(store, vectors):
    X = vectors
    ids = [["a", "b"], *([f"{i}", f"é{i}" if i == 70 else f"{i}x" * (i % 5 + 1)] for i in range(1, N_PARTS))]
    write(store, [with_ids(table, own) for table, own in zip(parts_of(X), ids, strict=True)])
    found = store.read(SET)
    assert np.array_equal(found.X, X)
    assert found.index.tolist() == list(range(len(X)))
    assert found.y.tolist() == [0, 1] * N_PARTS
    assert found.sample_id.tolist() == [one for own in ids for one in own]
    assert found.sample_id.dtype == np.array([one for own in ids for one in own]).dtype


def test_lists_of_labels_stay_with_their_rows_over_many_parts(store, vectors):
    labels = [[[shard % 3], [0, 2] if shard % 2 else []] for shard in range(N_PARTS)]
    parts = zip(range(0, len(vectors), 2), labels, strict=True)
    write(store, [feature_rows(start, vectors[start : start + 2], own) for start, own in parts])
    found = store.read(SET, n_classes=3)
    assert [np.flatnonzero(row).tolist() for row in found.y] == [one for own in labels for one in own]


def test_parts_that_come_over_a_network_are_read_at_once_within_a_bound():
    small, large = ([set_arrays.Slot("part", {"bytes": size}, 0, 1)] for size in (1000, 10**9))
    assert set_arrays.n_threads(small, local=False) == set_arrays._MOST_THREADS
    assert set_arrays.n_threads(large, local=False) == set_arrays.n_threads(large, local=True)
