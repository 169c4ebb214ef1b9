"""MB/s of publishing and of reading a feature set against plain numpy.save and numpy.load of the same values.

    python tests/benchmarks/bench_store.py --n 50000 --dim 1280 --parts 32 --repeats 5

The features are synthetic (see bench_loading.py), with 40% zeros, as a ReLU leaves them, and with none. All sides take
turns in one process. MB are those of the matrix, 10^6 bytes. Both sides write as many files, each flushed to the disk
(fsync); the store flushes the folder too, keeps ids, labels and checksums beside the features, and compresses.
Everything is read from the page cache. Sides:

- `numpy`: numpy.save of each part to a file of its own, fsync; numpy.load of all parts into one matrix;
- `store`: FeatureStore.write_shard of each part, then finish; FeatureStore.read.

Then the time that a run needs to find out that a store of `--shards` shards has all that it wants: `stock` lists the
store once, `asked` asks of each set whether it is there, `verify` is everything that `probestore verify` checks.
"""

# ruff: noqa: T201 - a script that prints a table

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from statistics import median

import numpy as np
import pyarrow as pa
from bench_loading import part_table, synthetic

from featurestore import FeatureSet, FeatureStore
from featurestore.care.verify import verify
from featurestore.store import layout

Parts = list[tuple[np.ndarray, pa.Table]]


def parts_of(options: argparse.Namespace, zeros: float) -> Parts:
    """The rows of each part, as a matrix and as extraction writes them."""
    bounds = np.linspace(0, options.n, options.parts + 1).astype(int).tolist()
    matrices = [
        synthetic(stop - start, options.dim, zeros, options.dtype, seed=part)
        for part, (start, stop) in enumerate(pairwise(bounds))
    ]
    return [(X, part_table(X, start)) for X, start in zip(matrices, bounds, strict=False)]


def write_numpy(folder: Path, parts: Parts) -> None:
    folder.mkdir()
    for number, (X, _) in enumerate(parts):
        with (folder / f"{number}.npy").open("wb") as file:
            np.save(file, X)
            file.flush()
            os.fsync(file.fileno())


def read_numpy(folder: Path, n_parts: int) -> np.ndarray:
    return np.concatenate([np.load(folder / f"{number}.npy") for number in range(n_parts)])


def write_store(store: FeatureStore, item: FeatureSet, parts: Parts) -> None:
    written = [store.write_shard(item, shard, len(parts), table) for shard, (_, table) in enumerate(parts)]
    store.finish(item, len(parts), {}, parts=written)


def seconds_of(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def compare(options: argparse.Namespace, zeros: float, root: Path) -> None:
    """Write and read on both sides, in turns."""
    parts = parts_of(options, zeros)
    megabytes = sum(X.nbytes for X, _ in parts) / 1e6
    store = FeatureStore.create(str(root / "store"))
    taken: dict[tuple[str, str], list[float]] = {}
    items = [FeatureSet("net", "images", "train", f"key{repeat}") for repeat in range(options.repeats + 1)]
    for repeat, item in enumerate(items):
        folder = root / f"numpy{repeat}"
        turns = {
            ("numpy", "write"): lambda folder=folder: write_numpy(folder, parts),
            ("store", "write"): lambda item=item: write_store(store, item, parts),
            ("numpy", "read"): lambda folder=folder: read_numpy(folder, len(parts)),
            ("store", "read"): lambda item=item: store.read(item),
        }
        for side, work in turns.items():
            seconds = seconds_of(work)
            if repeat:  # the first round warms up
                taken.setdefault(side, []).append(seconds)
    np.testing.assert_array_equal(store.read(items[0]).X, read_numpy(root / "numpy0", len(parts)))
    stored = sum(part["bytes"] for part in store.manifest(items[0])["parts"])
    size = f"{options.n} x {options.dim} {options.dtype} = {megabytes:.0f} MB"
    print(f"\n{size} in {options.parts} parts, {zeros:.0%} zeros")
    print(f"  median (least to most) of {options.repeats}")
    for (side, what), seconds in sorted(taken.items(), key=lambda pair: pair[0][1], reverse=True):
        rates = sorted(megabytes / each for each in seconds)
        ratio = median(taken["numpy", what]) / median(seconds)
        print(f"  {what:<6}{side:<7}{median(rates):>7.0f} MB/s ({rates[0]:.0f} to {rates[-1]:.0f}), ratio {ratio:.2f}")
    per_image = stored / options.n
    plain = megabytes * 1e6 / options.n
    print(f"  {per_image / options.dim:.2f} bytes per feature; {per_image:.0f} per image, {plain:.0f} plain")


def store_of_many_shards(root: Path, n_shards: int, per_set: int = 50) -> tuple[FeatureStore, list[FeatureSet]]:
    """Complete sets of `n_shards` shards together. Every part is the same file under another name: only names count."""
    store = FeatureStore.create(str(root / "many"))
    items = [
        FeatureSet(f"net{number % 20}", f"data{number // 20}", "train", "key") for number in range(n_shards // per_set)
    ]
    table = part_table(synthetic(4, 8, 0.4, "float16", seed=0), 0)
    part = store.write_shard(items[0], 0, per_set, table)
    first = Path(store.uri, items[0].folder, part.name)
    for item in items:
        folder = Path(store.uri, item.folder)
        folder.mkdir(parents=True, exist_ok=True)
        names = [layout.part_name(shard, per_set) for shard in range(per_set)]
        for name in names:
            if not (folder / name).exists():
                os.link(first, folder / name)
        described = [type(part)(name, part.rows, part.bytes, part.sha256) for name in names]
        store.finish(item, per_set, {"model": item.model, "dataset": item.dataset}, parts=described)
    return store, items


def all_there(store: FeatureStore, items: list[FeatureSet]) -> bool:
    """What a run does to find out that nothing is missing."""
    stock = store.stock()
    return all(stock.has(item) for item in items)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--n", type=int, default=50_000, help="images")
    parser.add_argument("--dim", type=int, default=1280, help="features")
    parser.add_argument("--dtype", choices=("float16", "float32"), default="float16")
    parser.add_argument("--parts", type=int, default=32)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--shards", type=int, default=10_000)
    options = parser.parse_args()
    for zeros in (0.4, 0.0):
        with tempfile.TemporaryDirectory() as folder:
            compare(options, zeros, Path(folder))
    with tempfile.TemporaryDirectory() as folder:
        store, items = store_of_many_shards(Path(folder), options.shards)
        stock = median(seconds_of(lambda: all_there(store, items)) for _ in range(options.repeats))
        asked = median(seconds_of(lambda: [store.has(item) for item in items]) for _ in range(options.repeats))
        checked = seconds_of(lambda: verify(store))
    print(f"\n{options.shards} shards in {len(items)} sets, all there: stock {stock:.3f} s, asked {asked:.3f} s")
    print(f"verify {checked:.1f} s")


if __name__ == "__main__":
    main()
