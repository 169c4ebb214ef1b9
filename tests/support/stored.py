"""A small store of features of one model and dataset, for tests that need no image."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from featurestore import FeatureStore, SplitSets
from featurestore.store import schema
from probes import methods
from probes.cells.results import Cell

N_CLASSES, DIM = 7, 16
PETS = SplitSets(model="net", dataset="pets", train_key="train-key", val_key="val-key", test_key="test-key")


def cell(probe: str, *, options: Any = None, **changes: Any) -> Cell:
    """A cell that `fill` has the features of."""
    method = methods.load(probe)
    fields = {
        "features": PETS,
        "model_key": "weights",
        "probe": probe,
        "solver": method.SOLVERS[0] if method.SOLVERS else "",
        "seed": 0,
        "metric": "top1",
        "options": json.dumps(asdict(options or method.Options()), sort_keys=True),
    }
    return Cell(**{**fields, **changes})


def fill(store: FeatureStore, *, multilabel: bool = False, n_images: int = 70, anew: bool = False) -> None:
    """Features of net on pets: classes that overlap, in two shards each; `anew`: in the place of those there are."""
    rng = np.random.default_rng(0)
    centres = rng.standard_normal((N_CLASSES, DIM))
    for split in schema.SPLITS:
        y = np.arange(n_images) % N_CLASSES
        X = (2 * centres[y] + 2 * rng.standard_normal((n_images, DIM))).astype(np.float16)
        labels = [sorted({k, (k + i) % 3}) for i, k in enumerate(y.tolist())] if multilabel else None
        item = PETS.set(split)
        for name in store.storage.list_files(item.folder) if anew else ():
            store.storage.delete(name)
        for shard, part in enumerate((slice(0, 30), slice(30, n_images))):
            own = labels[part] if labels else None
            store.write_shard(item, shard, 2, _rows(X[part], y[part], own, part.start, split))
        store.finish(item, 2, {})


def results_of(store: FeatureStore, asked: Cell) -> dict[str, dict[str, Any]]:
    """Rows of a cell, by metric."""
    (path,) = [path for path in store.files("results") if path.endswith(f"{asked.key}.parquet")]
    return {row["metric"]: row for row in pq.read_table(path, partitioning=None).to_pylist()}


def _rows(X: np.ndarray, y: np.ndarray, labels: list[list[int]] | None, start: int, split: str) -> pa.Table:
    kind = schema.features(pa.float16(), X.shape[1])
    positions = range(start, start + len(X))
    vectors = pa.FixedSizeListArray.from_arrays(pa.array(X.ravel()), type=kind.field("feature").type)
    columns = {
        "sample_id": pa.array([f"{split}{position}" for position in positions]),
        "index": pa.array(positions, pa.int64()),
        "label": pa.nulls(len(X), pa.int64()) if labels else pa.array(y, pa.int64()),
        "labels": pa.array(labels or [None] * len(X), pa.list_(pa.int64())),
        "group": pa.nulls(len(X), pa.string()),
        "feature": vectors,
    }
    return pa.table(columns, schema=kind)
