"""Seconds of CPU that the checks of digests cost when features are read: with them, and with them switched off.

    python tests/benchmarks/bench_digests.py --n 50000 --dim 1280 --parts 16 --repeats 7

The features are synthetic (see bench_loading.py), float16 with 40% zeros. Sides take turns in one process; everything
is read from the page cache. `first` decodes the parts, `later` maps the entry of the node's cache and checks its files.
"""

# ruff: noqa: T201 - a script that prints a table

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from statistics import median
from unittest.mock import patch

import numpy as np
from bench_loading import part_table, synthetic

from featurestore import FeatureSet, FeatureStore
from featurestore.store.matrices import MatrixCache

ITEM = FeatureSet("net", "pets", "train", "key")


def written(options: argparse.Namespace, root: Path) -> FeatureStore:
    store = FeatureStore.create(str(root / "store"))
    bounds = np.linspace(0, options.n, options.parts + 1).astype(int).tolist()
    for shard, (start, stop) in enumerate(pairwise(bounds)):
        X = synthetic(stop - start, options.dim, 0.4, "float16", seed=shard)
        store.write_shard(ITEM, shard, options.parts, part_table(X, start))
    store.finish(ITEM, options.parts, {})
    return store


def cpu_seconds(work: Callable[[], object]) -> float:
    start = time.process_time()
    work()
    return time.process_time() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--n", type=int, default=50_000)
    parser.add_argument("--dim", type=int, default=1280)
    parser.add_argument("--parts", type=int, default=16)
    parser.add_argument("--repeats", type=int, default=7)
    options = parser.parse_args()
    taken: dict[str, list[float]] = {"first, checked": [], "first, unchecked": [], "later, checked": []}
    with tempfile.TemporaryDirectory() as folder:
        store, cache = written(options, Path(folder)), MatrixCache(Path(folder, "cache"), 10**11)
        gigabytes = store.read(ITEM, cache=cache).X.nbytes / 1e9
        for _ in range(options.repeats):
            taken["first, checked"].append(cpu_seconds(lambda: store.read(ITEM)))
            with patch("featurestore.store.feature_store.is_part", lambda *_: True):
                taken["first, unchecked"].append(cpu_seconds(lambda: store.read(ITEM)))
            taken["later, checked"].append(cpu_seconds(lambda: store.read(ITEM, cache=cache)))
    print(
        f"{options.n} x {options.dim} float16, {options.parts} parts, {gigabytes:.3f} GB; median of {options.repeats}"
    )
    for side, seconds in taken.items():
        print(f"{side:17} {median(seconds):.3f} s of CPU, {gigabytes / median(seconds):.2f} GB per CPU-second")
    ratio = median(taken["first, checked"]) / median(taken["first, unchecked"])
    print(f"first reads: {ratio:.3f} times unchecked ones")


if __name__ == "__main__":
    main()
