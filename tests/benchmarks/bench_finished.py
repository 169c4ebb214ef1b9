"""How often ``probestore run`` asks the file system, or S3, when a study is finished and nothing is missing.

    python tests/benchmarks/bench_finished.py --models 50 --datasets 12

The study has `--models` models on `--datasets` datasets of `--images` images in shards of `--shard-images`, and one
logistic probe per model and dataset. The script makes its store in a temporary folder, without a network: features,
image tables, classifiers, results, tuning and predictions are random, but every file has the name that a run would give
it. A first run then adds what every run records of its study. The second run is measured.

Counted are the calls of the methods of `Storage`, by kind of call and by table, separately for the run and for the
leaderboard that the command shows at the end. A method that calls another one counts once. A listing of an object store
takes one request per 1,000 names, so requests are estimated too. `third` is one more run: what the node's cache of
records saves after the first time. Seconds are CPU time of this process.

A checkout of another version is measured by the same script, because modules are looked up under their present and
their former names:

    PYTHONPATH=OTHER:OTHER/queries/door python tests/benchmarks/bench_finished.py
"""

# ruff: noqa: T201 - a script that prints a table

from __future__ import annotations

import argparse
import contextlib
import os
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from click.testing import CliRunner
from PIL import Image

from featurestore import FeatureStore

DIM, N_CLASSES, N_TRIALS = 32, 2, 12
NETWORK = """
import torch


def build():
    return torch.nn.Sequential(torch.nn.AdaptiveAvgPool2d(4), torch.nn.Flatten(), torch.nn.Linear(48, 32))
"""
METHODS = ("kind", "files", "list_files", "read", "read_buffer", "read_bytes", "publish", "publish_new", "delete")
LISTINGS = ("files", "list_files")
NAMES_PER_REQUEST = 1000  # of an object store's listing


def found(name: str, *modules: str) -> Any:
    """An attribute of the first of several modules that has it: modules have moved between versions."""
    for module in modules:
        with contextlib.suppress(ImportError, AttributeError):
            return getattr(import_module(module), name)
    raise ImportError(f"{name} must be in one of {', '.join(modules)}.")


Storage = found("Storage", "featurestore.store.storage", "featurestore.commit")
rows_table = found("rows_table", "featurestore.store.feature_store", "featurestore.store")
read_study = found("read_study", "cluster.study.study_file", "cluster.study")
wanted_features = found("wanted_features", "cluster.work.wanted_features", "cluster.wanted_features")
pair_of = found("pair_of", "cluster.work.kinds.features", "cluster.execute")
cells_of = found("cells_of", "cluster.work.kinds.probes", "cluster.wanted_cells")
RUN = ("cluster.runs.study_run", "cluster.execute")
SCHEMA = ("featurestore.store.schema", "featurestore.schema")


class Calls:
    """The calls of one run: (part of the command, method, table) -> how many; and requests that an S3 would count."""

    def __init__(self) -> None:
        self.part = "run"
        self.counts: Counter[tuple[str, str, str]] = Counter()
        self.requests: Counter[str] = Counter()
        self._lock = threading.Lock()

    def note(self, method: str, name: str, answer: Any) -> None:
        """Note a call that came back."""
        pages = -(-len(answer) // NAMES_PER_REQUEST) if method in LISTINGS else 1
        with self._lock:
            self.counts[self.part, "list" if method in LISTINGS else method, name.split("/")[0]] += 1
            self.requests[self.part] += max(1, pages)

    def total(self, part: str) -> int:
        """Calls of a part of the command."""
        return sum(count for (own, _, _), count in self.counts.items() if own == part)


@contextlib.contextmanager
def counted() -> Iterator[Calls]:
    """Count calls of the methods of Storage, and tell the leaderboard from the run."""
    command = import_module("cluster.commands.run")
    calls, inside = Calls(), threading.local()
    originals = {method: getattr(Storage, method) for method in METHODS}
    name = next(name for name in ("show_outcome", "show_leaderboard") if hasattr(command, name))
    show = getattr(command, name)

    def wrapped(method: str, original: Callable[..., Any]) -> Callable[..., Any]:
        def call(storage: Any, name: str, *rest: Any, **options: Any) -> Any:
            if getattr(inside, "a_call", False):
                return original(storage, name, *rest, **options)
            inside.a_call = True
            try:
                answer = original(storage, name, *rest, **options)
            finally:
                inside.a_call = False
            calls.note(method, name, answer)
            return answer

        return call

    def leaderboard(store: FeatureStore, **options: Any) -> None:
        calls.part = "leaderboard"
        show(store, **options)

    for method, original in originals.items():
        setattr(Storage, method, wrapped(method, original))
    setattr(command, name, leaderboard)
    try:
        yield calls
    finally:
        setattr(command, name, show)
        for method, original in originals.items():
            setattr(Storage, method, original)


def write_study(folder: Path, options: argparse.Namespace) -> Path:
    """Small networks, which only have to be identified, and images, which nobody decodes."""
    (folder / "bench_network.py").write_text(NETWORK)
    rng = np.random.default_rng(0)
    for number in range(options.datasets):
        for label in range(N_CLASSES):
            (own := folder / f"images_{number}" / f"class_{label}").mkdir(parents=True)
            for image in range(options.images // N_CLASSES):
                pixels = rng.integers(0, 256, (8, 8, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(own / f"{image:04d}.png")
    models = "".join(
        f'[[model]]\nname = "net_{seed:03d}"\nbackbone = "python:bench_network:build"\nweights = "none"\n'
        f"input_size = 8\nseed = {seed}\n"
        for seed in range(options.models)
    )
    datasets = "".join(
        f'[[dataset]]\nname = "data_{number:02d}"\nsource = "image_folder:images_{number}"\n'
        f"shard_images = {options.shard_images}\n"
        for number in range(options.datasets)
    )
    (folder / "study.toml").write_text(f'{models}{datasets}[probe]\nprobes = ["logistic"]\n')
    return folder / "study.toml"


class Finished:
    """Writes all that workers would have written of a study."""

    def __init__(self, store: FeatureStore, study: Any) -> None:
        self._store = store
        self._study = study
        self._schema = import_module(next(name for name in SCHEMA if _exists(name)))

    def fill(self) -> int:
        """Write it; return how many cells there are."""
        found("find_modules", *RUN)(self._study)
        models = found("identified", *RUN)(self._study, _stop)
        datasets = found("opened", *RUN)(self._study, _stop)
        items = wanted_features(self._study.extract, models.values(), datasets.values(), lambda _: False)
        for dataset in datasets.values():
            for split in self._schema.SPLITS:
                self._set(dataset.samples(split), dataset, split, self._image_rows)
        for item in items:
            for split, target in item.sets.items():
                self._set(target, item.dataset, split, self._feature_rows)
        for model in models.values():
            self._head(model)
        cells = [(cell, item) for item in items for cell in cells_of(pair_of(item), self._study.probe)]
        for cell, item in cells:
            self._cell(cell, len(item.dataset.splits["test"].rows))
        return len(cells)

    def _set(self, target: Any, dataset: Any, split: str, rows: Callable[[str, range], pa.Table]) -> None:
        n_shards, parts = dataset.n_shards(split), []
        for shard in range(n_shards):
            part = rows(split, range(*dataset.shard_range(split, shard)))
            parts.append(self._store.write_shard(target, shard, n_shards, part))
        self._store.finish(target, n_shards, {}, parts=parts)

    def _image_rows(self, split: str, images: range) -> pa.Table:
        rows = [
            {"sample_id": f"{split}{i:028x}", "index": i, "label": i % N_CLASSES, "source": str(i), "readable": True}
            for i in images
        ]
        return pa.Table.from_pylist(rows, schema=self._schema.SAMPLES)

    def _feature_rows(self, split: str, images: range) -> pa.Table:
        rows = [
            {
                "sample_id": f"{split}{i:028x}",
                "index": i,
                "label": i % N_CLASSES,
                "feature": np.full(DIM, i % 7, np.float16),
            }
            for i in images
        ]
        return pa.Table.from_pylist(rows, schema=self._schema.features(pa.float16(), DIM))

    def _head(self, model: Any) -> None:
        own = {"model": model.name, "model_key": model.key, "weight": [0.5] * DIM, "bias": 0.0}
        rows = [{**own, "source_class": number} for number in range(N_CLASSES)]
        self._store.publish("heads", model.key, rows_table("heads", rows))

    def _cell(self, cell: Any, n_test: int) -> None:
        """Predictions, tuning, results, in this order, as workers publish them."""
        grain, value = cell.grain(), 0.5 + int(cell.key[:4], 16) / 2**18
        own = {"label": 0, "predicted": 0, "top5": [0, 1], "probability": 0.5, "scores": [0.5, 0.5]}
        images = [{**grain, **own, "sample_id": f"test{i:028x}", "index": i} for i in range(n_test)]
        trial = {**grain, "hyperparameter": "l2", "metric": cell.metric, "validation": value}
        rest = {"model_key": cell.model_key, "n_test": n_test, "n_train": n_test, "n_val": n_test, "seconds": 1.0}
        made = {"versions": "{}", "created_at": datetime.now(UTC), "options": cell.options, "probabilistic": True}
        result = {**grain, **rest, **made, "value": value, "standard_error": 0.01}
        names = list(dict.fromkeys([cell.metric, "top5", "nll", "ece"]))
        self._store.publish("predictions", cell.key, rows_table("predictions", images))
        trials = [{**trial, "value": 10.0**-i} for i in range(N_TRIALS)]
        self._store.publish("tuning", cell.key, rows_table("tuning", trials))
        rows = [{**result, "metric": name, "headline": name == cell.metric} for name in names]
        self._store.publish("results", cell.key, rows_table("results", rows))


def _exists(module: str) -> bool:
    with contextlib.suppress(ImportError):
        return bool(import_module(module))
    return False


def _stop(stage: str, error: Exception, **_: str) -> None:
    """Nothing here may fail."""
    raise error


def run_command(study: Path, store: str) -> tuple[Calls, float, str]:
    """Run ``probestore run``; its calls, seconds of CPU, and what it said."""
    cli = import_module("cluster.cli").cli
    with counted() as calls:
        begun = time.process_time()
        done = CliRunner().invoke(cli, ["run", str(study), "--store", store], catch_exceptions=False)
        seconds = time.process_time() - begun
    assert done.exit_code == 0, done.stderr
    return calls, seconds, done.stderr


def report(name: str, calls: Calls, cpu_seconds: float, said: str) -> None:
    """What was counted."""
    assert "Nothing is missing" in said, said
    totals = {part: calls.total(part) for part in ("run", "leaderboard")}
    print(
        f"{name}: {totals['run']:,} calls for the run, {totals['leaderboard']:,} for the leaderboard, "
        f"{sum(totals.values()):,} in all; about {calls.requests.total():,} requests to an object store "
        f"({calls.requests['run']:,} and {calls.requests['leaderboard']:,}); {cpu_seconds:.2f} s of CPU"
    )


def detail(calls: Calls) -> None:
    """By kind of call and by table."""
    print(f"{'part':<13}{'call':<13}{'calls':>7}  tables")
    for part in ("run", "leaderboard"):
        for method in sorted({method for own, method, _ in calls.counts if own == part}):
            tables = {t: n for (p, m, t), n in sorted(calls.counts.items()) if (p, m) == (part, method)}
            listed = ", ".join(f"{table or '(all)'} {count}" for table, count in tables.items())
            print(f"{part:<13}{method:<13}{sum(tables.values()):>7}  {listed}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", type=int, default=50)
    parser.add_argument("--datasets", type=int, default=12)
    parser.add_argument("--images", type=int, default=24, help="of a dataset")
    parser.add_argument("--shard-images", type=int, default=8)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        os.environ["PROBESTORE_CACHE"] = f"{folder}/cache"
        study = write_study(Path(folder), options)
        store = FeatureStore.create(f"{folder}/store")
        fsync, os.fsync = os.fsync, lambda _: None  # nobody minds a power failure while this store is made
        n_cells = Finished(store, read_study(study)).fill()
        os.fsync = fsync
        n_files = sum(len(files) for _, _, files in os.walk(f"{folder}/store"))
        where = Path(sys.modules["cluster"].__file__ or "").parents[1].name
        print(f"{where}: {options.models} models x {options.datasets} datasets, {n_cells} cells, {n_files:,} files")
        report("first", *run_command(study, store.uri))
        second = run_command(study, store.uri)
        report("second", *second)
        report("third", *run_command(study, store.uri))
        detail(second[0])


if __name__ == "__main__":
    main()
