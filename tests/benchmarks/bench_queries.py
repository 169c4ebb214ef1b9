"""Time and memory of every question, and of the report, on a synthetic store: 50 models x 12 datasets x 3 settings.

    python tests/benchmarks/bench_queries.py [FOLDER] [--predictions 10000]

Each of these cells has a result, 45 tuning rows and `--predictions` predictions, one per test image of its dataset: 18
million by default. Every question has something to answer:

- for each model and dataset, fixed: a second probe, a cheap score, 5 draws of 5 images per class, the same cell in bf16
- for each model and dataset, fixed: a nearest neighbour of every test image (6 million), geometry, and pairs of models
- an import of 17 models with training curves of 8 points, recipes of all models, failed cells, progress
- copies and unreadable ones among the training images
- features of 64 values of two models on one dataset, which is little: bench_neighbours.py is about many

Every question is asked in a process of its own, whose peak memory is shown. FOLDER is kept, and used again if it is
there. Exits with 1 if a limit is broken: 30 s for the report, 1 s for the leaderboard, correlation_* and transfer_*
(medians), 4 GiB for each process; or if an answer has no rows, because its time says nothing then.
"""

# ruff: noqa: T201 - a script that prints a table

from __future__ import annotations

import argparse
import multiprocessing
import os
import re
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache
from itertools import combinations, product
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import pyarrow as pa

from featurestore import FeatureSet, FeatureStore, SampleSet
from featurestore.store import schema
from featurestore.store.feature_store import rows_table
from queries import names
from queries.asking.database import Database
from queries.report import write_report

NOW = datetime(2026, 1, 1, tzinfo=UTC)
MODELS = [f"model_{i:02d}" for i in range(50)]
DATASETS = [f"dataset_{i:02d}" for i in range(12)]
SETTINGS = ("fixed", "finetuned", "scratch")
PROBE = {"tap": "penultimate", "probe": "logistic", "solver": "path", "n_per_class": None, "seed": 0}
KEYS = {"train_key": "a", "val_key": "b", "test_key": "c"}
N_CLASSES = 10
GRID = 10.0 ** np.arange(-6, 5.25, 0.25)
TRAIN_STEPS = [2**i * 50 for i in range(8)]
IMPORTED_MODELS = MODELS[::3]
MODELS_WITH_FEATURES = MODELS[:2]
DIM = 64
N_COPIES = 10  # images of each dataset that are in the training and in the test split

PARAMETERS: dict[str, dict[str, object]] = {
    "nearest_neighbours": {"model": MODELS_WITH_FEATURES[1], "dataset": DATASETS[0], "index": 7},
    "features_of_classes": {"model": MODELS_WITH_FEATURES[1], "dataset": DATASETS[0], "classes": 5},
    "predicted_transfer": {"origin": "published"},
}
"""Of the questions that are not asked with their defaults."""

REPORT = "(the report)"
REPORT_SECONDS = 30.0
QUESTION_SECONDS = 1.0
PROMPT = ("leaderboard", "correlation", "transfer_")  # how the names of the questions begin that this limit is for
MEMORY_GIB = 4.0

Row = dict[str, Any]


# ---- the store -------------------------------------------------------------------------------------------------------


def cell_of(model: str, dataset: str, setting: str, **probe: object) -> Row:
    key = "-".join([setting, model, dataset, *map(str, probe.values())])
    return {**PROBE, **probe, "cell": key, "model": model, "dataset": dataset, "setting": setting}


def cells() -> Iterator[Row]:
    for setting, model, dataset in product(SETTINGS, MODELS, DATASETS):
        yield cell_of(model, dataset, setting)


def second_probe() -> Iterator[Row]:
    for model, dataset in product(MODELS, DATASETS):
        yield cell_of(model, dataset, "fixed", probe="knn", solver="")


def cheap_scores() -> Iterator[Row]:
    for model, dataset in product(MODELS, DATASETS):
        yield cell_of(model, dataset, "fixed", probe="logme", solver="")


def few_shot() -> Iterator[Row]:
    for model, dataset, seed in product(MODELS, DATASETS, range(5)):
        yield cell_of(model, dataset, "fixed", n_per_class=5, seed=seed)


def failed_cells() -> Iterator[Row]:
    for dataset in DATASETS:
        yield cell_of(MODELS[0], dataset, "scratch", n_per_class=5)


def build(folder: Path, n_test: int) -> FeatureStore:
    rng = np.random.default_rng(0)
    store = FeatureStore.create(str(folder))
    publish_wishes(store)
    store.publish("models", "all", rows_table("models", map(model_record, MODELS)))
    for dataset in DATASETS:
        store.publish("datasets", dataset, rows_table("datasets", [dataset_record(dataset, n_test)]))
        write_samples(store, dataset, "test", n_test)
        write_samples(store, dataset, "train", n_train(dataset))
        store.publish("similarities", dataset, rows_table("similarities", similarities(dataset, rng)))
    for cell in cells():
        publish_cell(store, cell, n_test, rng)
    publish_other_results(store, n_test, rng)
    publish_import(store, n_test, rng)
    for model, dataset in product(MODELS, DATASETS):
        publish_analysis(store, model, dataset, n_test, rng)
    for model in MODELS_WITH_FEATURES:
        write_features(store, FeatureSet(model, DATASETS[0], "test", KEYS["test_key"]), n_test, rng)
        write_features(store, FeatureSet(model, DATASETS[0], "train", KEYS["train_key"]), n_train(DATASETS[0]), rng)
    return store


def publish_wishes(store: FeatureStore) -> None:
    """What a study asked for, how far it is, and what failed."""
    wanted = [*cells(), *second_probe(), *cheap_scores(), *few_shot(), *failed_cells()]
    store.publish("cells", "all", rows_table("cells", [{**c, **KEYS, "study": "s", "wanted_at": NOW} for c in wanted]))
    failed = {"study": "s", "stage": "probe", "error": "FitError", "message": "too few images", "failed_at": NOW}
    failures = [{**failed, **{name: c[name] for name in ("model", "tap", "dataset", "cell")}} for c in failed_cells()]
    store.publish("failures", "s", rows_table("failures", failures))
    made = {"study": "s", "tap": PROBE["tap"], "wanted": 8, "done": 8, "updated_at": NOW}
    features = [
        {**made, "stage": "features", "model": model, "dataset": dataset, "split": split, "images_per_second": 900.0}
        for model, dataset, split in product(MODELS, DATASETS, schema.SPLITS)
    ]
    probes = [{**made, "stage": "probes", "model": m, "dataset": d} for m, d in product(MODELS, DATASETS)]
    store.publish("progress", "s", rows_table("progress", [*features, *probes]))


def model_record(model: str) -> Row:
    """Five models per architecture, each of which departs by one choice more from the plain recipe."""
    i = MODELS.index(model)
    departures = i % 5
    sizes = {"params": 10**6 * (i + 5), "feature_dim": 512 + 64 * (i % 9), "input_size": 224 + 32 * (i % 4)}
    recipe = {"augmentation": "crop", "pretraining_data": "imagenet", "bn_scale": departures < 1}
    recipe |= {"label_smoothing": 0.1 * (departures >= 2), "dropout": 0.2 * (departures >= 3)}
    return {
        "model": model,
        "backbone": f"timm:network{i // 5}.a1_in1k",
        "weights": "pretrained",
        "imagenet_top1": 0.6 + i / 200,
        **sizes,
        **recipe,
        "auxiliary_head": departures >= 4,
        "recorded_at": NOW,
    }


def dataset_record(name: str, n_test: int) -> Row:
    made = {f"{split}_made": "synthetic" for split in schema.SPLITS}
    sizes = {"n_train": n_train(name), "n_val": 0, "n_test": n_test, "n_classes": N_CLASSES}
    classes = [f"class {i}" for i in range(N_CLASSES)]
    record = {"dataset": name, "source": "image_folder:/none", "class_names": classes, "metric": "top1"}
    return {
        **record,
        **sizes,
        **made,
        "multilabel": False,
        "fingerprint": name,
        "train_samples": "s",
        "test_samples": "s",
        "recorded_at": NOW,
    }


def n_train(dataset: str) -> int:
    return 2000 * (DATASETS.index(dataset) + 1)


@cache
def sample_ids(dataset: str, split: str, n: int) -> pa.Array:
    copies = 0 if split == "test" else N_COPIES
    return pa.array([f"{dataset}-{'test' if i < copies else split}-{i:08x}" for i in range(n)])


def labels(dataset: str, split: str, n: int) -> np.ndarray:
    return np.random.default_rng([DATASETS.index(dataset), split == "test"]).integers(0, N_CLASSES, n)


def readable(n: int) -> np.ndarray:
    return np.arange(n) % 1000 != 999


def write_samples(store: FeatureStore, dataset: str, split: str, n: int) -> None:
    label = labels(dataset, split, n)
    columns: Row = {"sample_id": sample_ids(dataset, split, n), "index": np.arange(n), "label": label}
    columns |= {"label_name": [f"class {i}" for i in label], "source": [f"{split}/{i}.jpg" for i in range(n)]}
    columns["readable"] = readable(n) if split == "train" else pa.repeat(True, n)
    columns["reason"] = [None if ok.as_py() else "truncated" for ok in pa.array(columns["readable"])]
    store.write_shard(SampleSet(dataset, split, "s"), 0, 1, table_of(schema.SAMPLES, columns, n))
    store.finish(SampleSet(dataset, split, "s"), 1, {})


def write_features(store: FeatureStore, item: FeatureSet, n: int, rng: np.random.Generator) -> None:
    """Of the readable images; a class is a direction."""
    rows = np.flatnonzero(readable(n)) if item.split == "train" else np.arange(n)
    label = labels(item.dataset, item.split, n)[rows]
    X = rng.standard_normal((len(rows), DIM)) + 2 * np.eye(N_CLASSES, DIM)[label]
    kinds = schema.features(pa.float16(), DIM)
    values = pa.array(np.maximum(X, 0).astype(np.float16).ravel())
    columns: Row = {"sample_id": sample_ids(item.dataset, item.split, n).take(pa.array(rows)), "index": rows}
    columns |= {"label": label, "feature": pa.FixedSizeListArray.from_arrays(values, type=kinds.field("feature").type)}
    store.write_shard(item, 0, 1, table_of(kinds, columns, len(rows)))
    store.finish(item, 1, {})


def table_of(kinds: pa.Schema, columns: Row, n: int) -> pa.Table:
    """Columns that are not given are null."""
    return pa.table([columns.get(kind.name, pa.nulls(n, kind.type)) for kind in kinds], schema=kinds)


def accuracy(cell: Row, rng: np.random.Generator) -> float:
    """Better models are better; finetuned networks are best, and five images per class are few."""
    shift = {"fixed": 0.0, "finetuned": 0.5, "scratch": -0.5}[cell["setting"]] - (cell["n_per_class"] is not None)
    skill = MODELS.index(cell["model"]) / 50 + DATASETS.index(cell["dataset"]) / 6 + shift + rng.normal(0, 0.2)
    return float(1 / (1 + np.exp(-skill)))


def result(cell: Row, value: float, n_test: int) -> Row:
    error = (value * (1 - value) / n_test) ** 0.5
    score = {"metric": "top1", "headline": True, "value": value, "standard_error": error, "n_test": n_test}
    made = {"compute": "fp32", "inputs_key": f"{cell['model']}-{cell['dataset']}", "versions": "{}", "created_at": NOW}
    return {**cell, **score, "n_train": n_train(cell["dataset"]), "n_val": 0, "seconds": 1.0, **made}


def publish_result(store: FeatureStore, row: Row) -> None:
    store.publish("results", row["cell"], rows_table("results", [row]))


def publish_cell(store: FeatureStore, cell: Row, n_test: int, rng: np.random.Generator) -> None:
    value = accuracy(cell, rng)
    fit = {"hyperparameter": "l2", "chosen": float(GRID[20]), "converged": True}
    publish_result(store, {**result(cell, value, n_test), **fit})
    tried = {**cell, "hyperparameter": "l2", "metric": "top1"}
    curve = [{**tried, "value": float(l2), "validation": value - 0.01 * abs(i - 20)} for i, l2 in enumerate(GRID)]
    store.publish("tuning", cell["cell"], rows_table("tuning", curve))
    store.publish("predictions", cell["cell"], predictions(cell, n_test, value, rng))


def predictions(cell: Row, n: int, value: float, rng: np.random.Generator) -> pa.Table:
    """Right on about a share `value` of the images; what is hard for one model is mostly hard for the others."""
    label = labels(cell["dataset"], "test", n)
    difficulty = np.random.default_rng(DATASETS.index(cell["dataset"])).random(n)
    right = 0.7 * difficulty + 0.3 * rng.random(n) < value
    predicted = np.where(right, label, rng.integers(0, N_CLASSES, n))
    columns: Row = {name: pa.repeat(value, n) for name, value in cell.items() if value is not None}
    columns |= {"sample_id": sample_ids(cell["dataset"], "test", n), "index": np.arange(n), "label": label}
    columns |= {"predicted": predicted, "probability": rng.random(n)}
    columns["top5"] = lists(rng.integers(0, N_CLASSES, 5 * n), 5)
    columns["scores"] = lists(rng.random(N_CLASSES * n, dtype=np.float32), N_CLASSES)
    return table_of(schema.PREDICTIONS, columns, n)


def lists(values: np.ndarray, length: int) -> pa.ListArray:
    return pa.ListArray.from_arrays(np.arange(0, len(values) + 1, length, dtype=np.int32), pa.array(values))


def publish_other_results(store: FeatureStore, n_test: int, rng: np.random.Generator) -> None:
    """Results whose predictions no question reads."""
    for cell in [*second_probe(), *few_shot()]:
        publish_result(store, result(cell, accuracy(cell, rng), n_test))
    for cell in cheap_scores():
        score = {"metric": "logme", "headline": False, "standard_error": None, "n_test": 0}
        publish_result(store, {**result(cell, accuracy(cell, rng), n_test), **score})
    earlier = {"compute": "bf16", "created_at": NOW - timedelta(days=1)}  # so that the cells in fp32 are current
    for model, dataset in product(MODELS, DATASETS):
        cell = cell_of(model, dataset, "fixed")
        row = {**result(cell, accuracy(cell, rng), n_test), **earlier}
        publish_result(store, {**row, "cell": f"{cell['cell']}-bf16"})


def publish_import(store: FeatureStore, n_test: int, rng: np.random.Generator) -> None:
    """Scores of some of the models, and training curves of these."""
    imported = {"origin": "published", "compute": None, "inputs_key": None, "seconds": None}
    rows = []
    for setting, model, dataset in product(SETTINGS, IMPORTED_MODELS, DATASETS):
        cell = cell_of(model, dataset, setting, solver="")
        row = {**result(cell, accuracy(cell, rng), n_test), **imported, "cell": f"{cell['cell']}-published"}
        rows.append(row)
        if setting != "fixed":
            rows += [
                {**row, "cell": f"{row['cell']}-{steps}", "train_steps": steps, "value": row["value"] * (i + 2) / 9}
                for i, steps in enumerate(TRAIN_STEPS)
            ]
    store.publish_import("results", "published", rows_table("results", rows))


def publish_analysis(store: FeatureStore, model: str, dataset: str, n_test: int, rng: np.random.Generator) -> None:
    grain = analysed(model, dataset)
    numbers = {"effective_rank": 100.0, "participation_ratio": 20.0, "class_separation": 0.3, "within_between": 2.0}
    made = {"n_images": n_train(dataset), "dim": 512, "seconds": 1.0, "created_at": NOW}
    row = {**grain, **KEYS, **made, **{name: value * rng.uniform(0.5, 1) for name, value in numbers.items()}}
    store.publish("neighbours", grain["analysis"], neighbours(grain, n_test, rng))
    store.publish("representations", grain["analysis"], rows_table("representations", [row]))


def analysed(model: str, dataset: str) -> Row:
    grain = {"dataset": dataset, "setting": "fixed", "tap": PROBE["tap"], "model": model}
    return {**grain, "analysis": f"{dataset}-{model}"}


def neighbours(grain: Row, n: int, rng: np.random.Generator) -> pa.Table:
    """All models find the same copies, of 1% of the test images; of the others, each finds another image."""
    dataset, index = grain["dataset"], np.arange(n)
    alike = index < max(N_COPIES, n // 100)
    near = np.where(alike, index, rng.integers(0, n_train(dataset), n))
    columns: Row = {name: pa.repeat(value, n) for name, value in {**grain, **KEYS, "near_split": "train"}.items()}
    columns |= {"sample_id": sample_ids(dataset, "test", n), "index": index, "near_index": near}
    columns["near_sample_id"] = sample_ids(dataset, "train", n_train(dataset)).take(pa.array(near))
    columns["similarity"] = np.where(alike, rng.uniform(0.92, 1, n), rng.uniform(0.3, 0.8, n))
    columns["same_label"] = labels(dataset, "test", n) == labels(dataset, "train", n_train(dataset))[near]
    columns["created_at"] = pa.repeat(pa.scalar(NOW, schema.NEIGHBOURS.field("created_at").type), n)
    return table_of(schema.NEIGHBOURS, columns, n)


def similarities(dataset: str, rng: np.random.Generator) -> Iterator[Row]:
    key = KEYS["test_key"]
    made = {"analysis": dataset, "test_key": key, "other_test_key": key, "n_images": 2000, "created_at": NOW}
    for model, other in combinations(MODELS, 2):
        yield {**analysed(model, dataset), **made, "other": other, "cka": rng.random()}


# ---- what is measured ------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Measured:
    """Seconds (median) and GiB at the peak of one question; `rows` is None of what gives no rows."""

    name: str
    seconds: float
    peak: float
    rows: int | None


def ask(uri: str, name: str, repeats: int) -> Measured:
    """One question, in a process of its own."""
    with Database(FeatureStore.open(uri)) as database:
        taken = [timed(lambda: database.query(name, **PARAMETERS.get(name, {})).num_rows) for _ in range(repeats)]
    return Measured(name, median(seconds for seconds, _ in taken), peak_memory(), taken[-1][1])


def open_and_close(uri: str, name: str, repeats: int) -> Measured:
    taken = [timed(lambda: Database(FeatureStore.open(uri)).close()) for _ in range(repeats)]
    return Measured(name, median(seconds for seconds, _ in taken), peak_memory(), None)


def report(uri: str, name: str, repeats: int) -> Measured:
    with tempfile.TemporaryDirectory() as folder:
        taken = [timed(lambda: write_report(uri, Path(folder) / "report.html")) for _ in range(repeats)]
    return Measured(name, median(seconds for seconds, _ in taken), peak_memory(), None)


def peak_memory() -> float:
    """Gigabytes that this process had at most; `getrusage` would count what its parent had when it was made."""
    status = Path("/proc/self/status").read_text()
    return int(re.search(r"VmHWM:\s+(\d+)", status)[1]) / 2**20


def timed(action: Callable[[], Any]) -> tuple[float, Any]:
    """Seconds, and what came back."""
    start = time.perf_counter()
    came = action()
    return time.perf_counter() - start, came


def measure(what: Callable[[str, str, int], Measured], uri: str, name: str, repeats: int) -> Measured:
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as process:
        found = process.submit(what, uri, name, repeats).result()
    rows = "" if found.rows is None else found.rows
    print(f"| {name} | {rows} | {found.seconds:.2f} | {found.peak:.2f} |", flush=True)
    return found


def broken_limits(measured: Iterable[Measured]) -> Iterator[str]:
    for one in measured:
        if one.name == REPORT and one.seconds > REPORT_SECONDS:
            yield f"{one.name} took {one.seconds:.2f} s, and may take {REPORT_SECONDS:g} s"
        if one.name.startswith(PROMPT) and one.seconds > QUESTION_SECONDS:
            yield f"{one.name} took {one.seconds:.2f} s, and may take {QUESTION_SECONDS:g} s"
        if one.peak > MEMORY_GIB:
            yield f"{one.name} needed {one.peak:.2f} GiB, and may need {MEMORY_GIB:g} GiB"
        if one.rows == 0:
            yield f"{one.name} has no rows, so its time says nothing: add some to this script's store"


def main() -> None:
    """Print a table: rows, median seconds and peak memory of each question, of opening the store, and of the report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", nargs="?", type=Path)
    parser.add_argument("--predictions", type=int, default=10_000, help="per cell: test images per dataset, 10 or more")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--only", nargs="*", choices=names())
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = given.folder or Path(temporary) / "store"
        if not folder.exists():
            seconds, _ = timed(lambda: build(folder, given.predictions))
            print(f"built in {seconds:.0f} s")
        print(f"{len(list(cells()))} cells, {given.predictions} predictions each, load {os.getloadavg()[0]:.1f}")
        print("| question | rows | seconds | peak memory, GiB |\n|---|---|---|---|")
        measured = [measure(ask, str(folder), name, given.repeats) for name in given.only or names()]
        measured.append(measure(open_and_close, str(folder), "(opening the store)", given.repeats))
        measured.append(measure(report, str(folder), REPORT, 1))
    prompt = " ".join(f"{name.removesuffix('_')}*" for name in PROMPT)
    print(f"\nLimits: the report {REPORT_SECONDS:g} s; {prompt} {QUESTION_SECONDS:g} s; each {MEMORY_GIB:g} GiB.")
    broken = list(broken_limits(measured))
    if broken:
        sys.exit("Broken:\n" + "\n".join(broken))
    print("All are kept.")


if __name__ == "__main__":
    main()
