"""A study that is finished, made without a network: every file has the name that a run would give it.

Modules are looked up under their present and their former names: benchmarks make the stores of other versions, too.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from datetime import UTC, datetime
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from PIL import Image

from featurestore import FeatureStore

DIM, N_CLASSES, N_TRIALS = 32, 2, 12
NETWORK = """
import torch


def build():
    return torch.nn.Sequential(torch.nn.AdaptiveAvgPool2d(4), torch.nn.Flatten(), torch.nn.Linear(48, 32))
"""


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


def write_study(folder: Path, *, models: int, datasets: int, images: int = 24, shard_images: int = 8) -> Path:
    """Small networks, which only have to be identified, and images, which nobody decodes."""
    (folder / "bench_network.py").write_text(NETWORK)
    rng = np.random.default_rng(0)
    for number in range(datasets):
        for label in range(N_CLASSES):
            (own := folder / f"images_{number}" / f"class_{label}").mkdir(parents=True)
            for image in range(images // N_CLASSES):
                pixels = rng.integers(0, 256, (8, 8, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(own / f"{image:04d}.png")
    models = "".join(
        f'[[model]]\nname = "net_{seed:03d}"\nbackbone = "python:bench_network:build"\nweights = "none"\n'
        f"input_size = 8\nseed = {seed}\n"
        for seed in range(models)
    )
    datasets = "".join(
        f'[[dataset]]\nname = "data_{number:02d}"\nsource = "image_folder:images_{number}"\n'
        f"shard_images = {shard_images}\n"
        for number in range(datasets)
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
        items = wanted_features(self._study.extract, models.values(), datasets.values(), lambda _: ())
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
