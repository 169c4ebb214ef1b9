"""Time and memory of every question, and of the report, on a synthetic store: 50 models x 12 datasets x 3 settings.

    python tests/benchmarks/bench_queries.py [FOLDER] [--predictions 10000]

Each cell has one result, 45 tuning rows and `--predictions` predictions, 18 million of these by default. Every question
is asked in a process of its own, whose peak memory is shown. FOLDER is kept, and used again if it is there.
"""

# ruff: noqa: T201 - a script that prints a table

from __future__ import annotations

import argparse
import multiprocessing
import os
import re
import tempfile
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import pyarrow as pa

from featurestore import FeatureStore, SampleSet, schema
from featurestore.store import rows_table
from queries import names
from queries.database import Database
from queries.report import write_report

NOW = datetime(2026, 1, 1, tzinfo=UTC)
MODELS = [f"model_{i:02d}" for i in range(50)]
DATASETS = [f"dataset_{i:02d}" for i in range(12)]
SETTINGS = ("fixed", "finetuned", "scratch")
N_CLASSES = 10
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
    for dataset in DATASETS:
        store.publish("datasets", dataset, rows_table("datasets", [dataset_record(dataset, n_predictions)]))
        write_samples(store, dataset, n_predictions)
    for cell in cells():
        skill = MODELS.index(cell["model"]) / 50 + DATASETS.index(cell["dataset"]) / 6 + rng.normal(0, 0.2)
        publish_cell(store, cell, value=1 / (1 + np.exp(-skill)), n_predictions=n_predictions, rng=rng)
    return store


def dataset_record(name: str, n_test: int) -> Row:
    made = {f"{split}_made": "synthetic" for split in schema.SPLITS}
    sizes = {"n_train": 2000 * (DATASETS.index(name) + 1), "n_val": 0, "n_test": n_test, "n_classes": N_CLASSES}
    classes = [f"class {i}" for i in range(N_CLASSES)]
    record = {"dataset": name, "source": "image_folder:/none", "class_names": classes, "metric": "top1"}
    return {
        **record,
        **sizes,
        **made,
        "multilabel": False,
        "fingerprint": name,
        "test_samples": "s",
        "recorded_at": NOW,
    }


def write_samples(store: FeatureStore, dataset: str, n: int) -> None:
    label = np.random.default_rng(DATASETS.index(dataset)).integers(0, N_CLASSES, n)
    columns: Row = {"sample_id": [f"{dataset}-{i:08x}" for i in range(n)], "index": np.arange(n), "label": label}
    columns |= {"label_name": [f"class {i}" for i in label], "source": [f"{i}.jpg" for i in range(n)]}
    columns["readable"] = pa.repeat(True, n)
    arrays = [columns.get(field.name, pa.nulls(n, field.type)) for field in schema.SAMPLES]
    store.write_shard(SampleSet(dataset, "test", "s"), 0, 1, pa.table(arrays, schema=schema.SAMPLES))
    store.finish(SampleSet(dataset, "test", "s"), 1, {})


def publish_cell(store: FeatureStore, cell: Row, value: float, n_predictions: int, rng: np.random.Generator) -> None:
    fit = {"hyperparameter": "l2", "chosen": float(GRID[20]), "converged": True, "seconds": 1.0, "created_at": NOW}
    score = {"metric": "top1", "headline": True, "value": value, "n_train": 1, "n_val": 1, "n_test": 10_000}
    store.publish("results", cell["cell"], rows_table("results", [{**cell, **score, **fit, "versions": "{}"}]))
    tried = {**cell, "hyperparameter": "l2", "metric": "top1"}
    curve = [{**tried, "value": float(l2), "validation": value - 0.01 * abs(i - 20)} for i, l2 in enumerate(GRID)]
    store.publish("tuning", cell["cell"], rows_table("tuning", curve))
    if n_predictions:
        store.publish("predictions", cell["cell"], predictions(cell, n_predictions, value, rng))


def predictions(cell: Row, n: int, value: float, rng: np.random.Generator) -> pa.Table:
    """Right on about a share `value` of the images; what is hard for one model is mostly hard for the others."""
    of_dataset = np.random.default_rng(DATASETS.index(cell["dataset"]))
    label, difficulty = of_dataset.integers(0, N_CLASSES, n), of_dataset.random(n)
    right = 0.7 * difficulty + 0.3 * rng.random(n) < value
    predicted = np.where(right, label, rng.integers(0, N_CLASSES, n))
    columns: Row = {name: pa.repeat(value, n) for name, value in cell.items()}
    columns |= {"sample_id": [f"{cell['dataset']}-{i:08x}" for i in range(n)], "index": np.arange(n), "label": label}
    columns |= {"predicted": predicted, "probability": rng.random(n)}
    columns["top5"] = pa.FixedSizeListArray.from_arrays(pa.array(rng.integers(0, N_CLASSES, 5 * n)), 5)
    scores = pa.array(rng.random(N_CLASSES * n, dtype=np.float32))
    columns["scores"] = pa.FixedSizeListArray.from_arrays(scores, N_CLASSES)
    arrays = [columns.get(field.name, pa.nulls(n, field.type)) for field in schema.PREDICTIONS]
    return pa.table(arrays, names=schema.PREDICTIONS.names)


def ask(uri: str, name: str, repeats: int, answers: Any) -> None:
    """One question in a process of its own: seconds of each time, and gigabytes at the peak."""
    with Database(FeatureStore.open(uri)) as database:
        seconds = [seconds_of(lambda: database.query(name)) for _ in range(repeats)]
    answers.put((seconds, peak_memory()))


def open_and_close(uri: str, name: str, repeats: int, answers: Any) -> None:
    seconds = [seconds_of(lambda: Database(FeatureStore.open(uri)).close()) for _ in range(repeats)]
    answers.put((seconds, peak_memory()))


def report(uri: str, name: str, repeats: int, answers: Any) -> None:
    with tempfile.TemporaryDirectory() as folder:
        seconds = [seconds_of(lambda: write_report(uri, Path(folder) / "report.html")) for _ in range(repeats)]
    answers.put((seconds, peak_memory()))


def peak_memory() -> float:
    """Gigabytes that this process had at most; `getrusage` would count what its parent had when it was made."""
    status = Path("/proc/self/status").read_text()
    return int(re.search(r"VmHWM:\s+(\d+)", status)[1]) / 2**20


def seconds_of(action: Any) -> float:
    start = time.perf_counter()
    action()
    return time.perf_counter() - start


def measure(what: Any, uri: str, name: str, repeats: int) -> None:
    context = multiprocessing.get_context("spawn")
    answers = context.Queue()
    process = context.Process(target=what, args=(uri, name, repeats, answers))
    process.start()
    seconds, peak = answers.get()
    process.join()
    print(f"| {name} | {median(seconds):.2f} | {peak:.2f} |", flush=True)


def main() -> None:
    """Print a table: median seconds and peak memory of each question, of opening the store, and of the report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", nargs="?", type=Path)
    parser.add_argument("--predictions", type=int, default=10_000)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--only", nargs="*", choices=names())
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = given.folder or Path(temporary) / "store"
        if not folder.exists():
            build(folder, given.predictions)
        print(f"{len(list(cells()))} cells, {given.predictions} predictions each, load {os.getloadavg()[0]:.1f}")
        print("| question | seconds | peak memory, GiB |\n|---|---|---|")
        for name in given.only or names():
            measure(ask, str(folder), name, given.repeats)
        measure(open_and_close, str(folder), "(opening the store)", given.repeats)
        measure(report, str(folder), "(the report)", 1)


if __name__ == "__main__":
    main()
