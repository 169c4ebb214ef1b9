"""Seconds until a run knows that nothing is missing in a store of 10,000 shards.

    python tests/benchmarks/bench_resume.py --models 24 --images 400

The store is made by this script, in a temporary folder: features of `--models` models on `--images` images in shards of
one, and their image table, so (models + 1) x images shards in 3 (models + 1) sets, complete. Measured, each after the
one before, as the median of `--repeats`:

- `listing`: FeatureStore.stock, the only look at the files of features and samples;
- `planning`: that, and what is missing of every set, shard by shard (the work `features`);
- `run`: all that ``probestore run`` does once its modules are imported: identify models, open the dataset, plan, see
  that every cell is there too, and start no Ray.

How much work a kill costs is measured by bench_chaos.py.
"""

# ruff: noqa: T201 - a script that prints a table

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from statistics import median

import numpy as np
import pyarrow as pa

sys.path.insert(0, str(Path(__file__).parents[1] / "support"))

from tiny import TINY_NETWORK, save_images

from cluster.pool.ray_pool import RayPool
from cluster.reporting.events import Reporters
from cluster.runs.study_run import find_modules, identified, opened, run_study
from cluster.study.study_file import Study, read_study
from cluster.work.contract import Run
from cluster.work.kinds.features import Features
from cluster.work.ledger import Ledger
from cluster.work.pairs import Pairs
from cluster.work.store_inventory import Inventory
from cluster.work.wanted_features import WantedFeatures, wanted_features
from featurestore import FeatureStore
from featurestore.extraction.shards import FullSet
from featurestore.store import schema

DIM = 32


def write_study(folder: Path, n_models: int, n_images: int) -> Study:
    """Random networks that are never run, and images that are never decoded."""
    (folder / "tiny_network.py").write_text(TINY_NETWORK)
    save_images(folder / "images", {"cats": n_images // 2, "dogs": n_images - n_images // 2})
    models = "".join(
        f'[[model]]\nname = "tiny_{seed}"\nbackbone = "python:tiny_network:build"\nweights = "none"\n'
        f"input_size = 16\nseed = {seed}\n"
        for seed in range(n_models)
    )
    data = '[[dataset]]\nname = "pets"\nsource = "image_folder:images"\nshard_images = 1\n'
    (folder / "study.toml").write_text(f"{models}{data}[probe]\nprobes = []\n")
    return read_study(folder / "study.toml")


def fill(store: FeatureStore, items: Sequence[WantedFeatures]) -> int:
    """Write every shard and manifest; how many shards."""
    dataset, n_shards = items[0].dataset, 0
    for split in schema.SPLITS:
        n_parts = dataset.n_shards(split)
        samples = dataset.samples(split)
        parts = [store.write_shard(samples, shard, n_parts, image_row(shard)) for shard in range(n_parts)]
        replace(FullSet.of_samples(dataset, split), parts=tuple(parts)).complete(store)
        n_shards += n_parts
        for item in items:
            target = item.sets[split]
            parts = [store.write_shard(target, shard, n_parts, feature_row(shard)) for shard in range(n_parts)]
            full = FullSet.of_features(item.model, dataset, split, item.storage, tap=item.tap)
            replace(full, parts=tuple(parts)).complete(store)
            n_shards += n_parts
    return n_shards


def image_row(index: int) -> pa.Table:
    """The row of one image."""
    row = {"sample_id": f"{index:032x}", "index": index, "label": 0, "source": str(index), "readable": True}
    return pa.Table.from_pylist([row], schema=schema.SAMPLES)


def feature_row(index: int) -> pa.Table:
    """The features of one image."""
    kind = schema.features(pa.float16(), DIM)
    row = {"sample_id": f"{index:032x}", "index": index, "label": 0, "feature": np.zeros(DIM, np.float16)}
    return pa.Table.from_pylist([row], schema=kind)


def timed(work: Callable[[], object], repeats: int) -> float:
    """Median of the seconds that it takes."""
    taken = []
    for _ in range(repeats):
        begun = time.perf_counter()
        work()
        taken.append(time.perf_counter() - begun)
    return median(taken)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", type=int, default=24)
    parser.add_argument("--images", type=int, default=400)
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        study = write_study(Path(folder), options.models, options.images)
        store = FeatureStore.create(f"{folder}/store")
        find_modules(study)
        models, datasets = identified(study, stop), opened(study, stop)
        items = wanted_features(study.extract, models.values(), datasets.values(), lambda _: ())
        begun = time.perf_counter()
        n_shards = fill(store, items)
        print(f"{n_shards} shards in {3 * (options.models + 1)} sets, made in {time.perf_counter() - begun:.0f} s")

        def plan() -> None:
            ledger = Ledger(study.name, store, Reporters())
            own = Run(store, Inventory(store), Pairs(), ledger, lambda event: None, study, models, datasets, items)
            assert list(Features(own, study).missing()) == []

        def run() -> None:
            summary = run_study(study, store, pool=RayPool(), reporter=Reporters())
            assert (summary.counts["passes"], summary.failures) == (0, [])

        for name, work in {"listing": store.stock, "planning": plan, "run": run}.items():
            print(f"{name:<10}{timed(work, options.repeats):8.2f} s")


def stop(stage: str, error: Exception, **_: str) -> None:
    """Nothing here may fail."""
    raise error


if __name__ == "__main__":
    main()
