"""Time and memory of every question, and of the report, on a synthetic store: 50 models x 12 datasets x 3 settings.

    python tests/benchmarks/bench_queries.py [FOLDER] [--predictions 10000]

Each cell has one result, 45 tuning rows and `--predictions` predictions, 18 million of these by default.
"""

from __future__ import annotations

import argparse
import resource
import tempfile
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from featurestore import FeatureStore, schema
from featurestore.store import rows_table
from queries import names
from queries.database import Database
from queries.report import write_report

NOW = datetime(2026, 1, 1, tzinfo=UTC)
MODELS = [f"model_{i:02d}" for i in range(50)]
DATASETS = [f"dataset_{i:02d}" for i in range(12)]
SETTINGS = ("fixed", "finetuned", "scratch")
GRID = 10.0 ** np.arange(-6, 5.25, 0.25)

Row = dict[str, Any]


def cells() -> Iterator[Row]:
    grain = {"tap": "penultimate", "probe": "logistic", "solver": "path", "seed": 0}
    for setting in SETTINGS:
        for model in MODELS:
            for dataset in DATASETS:
                key = f"{setting}-{model}-{dataset}"
                yield {"cell": key, "model": model, "dataset": dataset, "setting": setting, **grain}


def build(folder: Path, n_predictions: int) -> FeatureStore:
    rng = np.random.default_rng(0)
    store = FeatureStore.create(str(folder))
    keys = {"train_key": "a", "val_key": "b", "test_key": "c"}
    store.publish("cells", "all", rows_table("cells", [{**c, "study": "s", **keys, "wanted_at": NOW} for c in cells()]))
    records = [
        {"model": name, "backbone": "x", "weights": "pretrained", "imagenet_top1": 0.6 + i / 200, "recorded_at": NOW}
        for i, name in enumerate(MODELS)
    ]
    store.publish("models", "all", rows_table("models", records))
    for cell in cells():
        skill = MODELS.index(cell["model"]) / 50 + DATASETS.index(cell["dataset"]) / 6 + rng.normal(0, 0.2)
        publish_cell(store, cell, value=1 / (1 + np.exp(-skill)), n_predictions=n_predictions, rng=rng)
    return store


def publish_cell(store: FeatureStore, cell: Row, value: float, n_predictions: int, rng: np.random.Generator) -> None:
    fit = {"hyperparameter": "l2", "chosen": float(GRID[20]), "converged": True, "seconds": 1.0, "created_at": NOW}
    score = {"metric": "top1", "headline": True, "value": value, "n_train": 1, "n_val": 1, "n_test": 10_000}
    store.publish("results", cell["cell"], rows_table("results", [{**cell, **score, **fit, "versions": "{}"}]))
    tried = {**cell, "hyperparameter": "l2", "metric": "top1"}
    curve = [{**tried, "value": float(l2), "validation": value - 0.01 * abs(i - 20)} for i, l2 in enumerate(GRID)]
    store.publish("tuning", cell["cell"], rows_table("tuning", curve))
    if n_predictions:
        store.publish("predictions", cell["cell"], predictions(cell, n_predictions, rng))


def predictions(cell: Row, n: int, rng: np.random.Generator) -> pa.Table:
    label, predicted = rng.integers(0, 10, n), rng.integers(0, 10, n)
    columns: Row = {name: pa.repeat(value, n) for name, value in cell.items()}
    columns |= {"sample_id": [f"{i:016x}" for i in range(n)], "index": np.arange(n), "label": label}
    columns |= {"predicted": predicted, "probability": rng.random(n)}
    columns["top5"] = pa.FixedSizeListArray.from_arrays(pa.array(rng.integers(0, 10, 5 * n)), 5)
    columns["scores"] = pa.FixedSizeListArray.from_arrays(pa.array(rng.random(10 * n, dtype=np.float32)), 10)
    arrays = [columns.get(field.name, pa.nulls(n, field.type)) for field in schema.PREDICTIONS]
    return pa.table(arrays, names=schema.PREDICTIONS.names)


def seconds_of(action: Any) -> float:
    start = time.perf_counter()
    action()
    return time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", nargs="?", type=Path)
    parser.add_argument("--predictions", type=int, default=10_000)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        store = build(given.folder or Path(temporary) / "store", given.predictions)
        with Database(store) as database:
            for name in names():
                print(f"{name:24} {seconds_of(lambda name=name: database.query(name)):7.2f} s")  # noqa: T201
            accuracy = "select model, avg((label = predicted)::int) from predictions group by model"
            print(f"{'(all predictions)':24} {seconds_of(lambda: database.sql(accuracy)):7.2f} s")  # noqa: T201
        report = Path(temporary) / "report.html"
        print(f"{'(connect)':24} {seconds_of(lambda: Database(store).close()):7.2f} s")  # noqa: T201
        print(f"{'(report)':24} {seconds_of(lambda: write_report(store.uri, report)):7.2f} s")  # noqa: T201
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(f"peak memory {peak:.2f} GiB")  # noqa: T201


if __name__ == "__main__":
    main()
