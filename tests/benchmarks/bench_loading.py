"""GB/s of a feature set as one NumPy matrix: the store against numpy.load, in one process, alternating.

    python tests/benchmarks/bench_loading.py --n 100000 --dim 1280 --parts 64 --repeats 5

The features are synthetic: 128 latent Gaussian dimensions, mixed, plus noise, through a ReLU. `--zeros` is the share of
them that it cuts off; zeros are what costs LZ4 its time, and what it takes little space for. They are written by
probestore, to a store in a temporary folder. Every file has been read before the first measurement: all sides read from
the page cache. GB are those of the matrix, 10^9 bytes; GB/CPU-s are those per second that the process was on a CPU, all
threads together, which other programs on the machine disturb less. Sides:

- `numpy`: numpy.load of the matrix in a .npy file;
- `naive`: pyarrow.parquet.read_table of all columns and parts, with Arrow's threads, and a reshape;
- `first-1`: FeatureStore.read on one CPU;
- `first`: the same on all CPUs of the process;
- `kept`: the same, with an empty cache: the matrix is also written to it and mapped;
- `later`: FeatureStore.read of the kept matrix, mapped anew each time, and numpy.copyto of it into memory that has
  been written before, so that every byte is touched.
"""

# ruff: noqa: T201 - a script that prints a table

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from statistics import median

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from featurestore import FeatureSet, FeatureStore
from featurestore.machine import available_cpus
from featurestore.store import schema
from featurestore.store.matrices import MatrixCache

SET = FeatureSet("net", "images", "train", "key")


def synthetic(n: int, dim: int, zeros: float, dtype: str, seed: int) -> np.ndarray:
    """Features (n, dim)."""
    rng = np.random.default_rng(seed)
    mixing = np.random.default_rng(0).standard_normal((128, dim), dtype=np.float32) / np.sqrt(128)
    X = rng.standard_normal((n, 128), dtype=np.float32) @ mixing
    X += 0.3 * rng.standard_normal((n, dim), dtype=np.float32)
    return np.maximum(X - np.quantile(X[:100], zeros), 0).astype(dtype)


def part_table(X: np.ndarray, start: int) -> pa.Table:
    """Rows as extraction writes them."""
    kinds = schema.features(pa.from_numpy_dtype(X.dtype), X.shape[1])
    index = np.arange(start, start + len(X))
    ids = [os.urandom(16).hex() for _ in index]
    vectors = pa.FixedSizeListArray.from_arrays(pa.array(X.ravel()), type=kinds.field("feature").type)
    own = [pa.array(ids), pa.array(index), pa.array(index % 100)]
    unknown = [pa.nulls(len(X), kinds.field(name).type) for name in ("labels", "group")]
    return pa.Table.from_arrays([*own, *unknown, vectors], schema=kinds)


def fill(store: FeatureStore, options: argparse.Namespace) -> float:
    """Write the set; its size on disk over that of the matrix."""
    bounds = np.linspace(0, options.n, options.parts + 1).astype(int).tolist()
    for part, (start, stop) in enumerate(pairwise(bounds)):
        X = synthetic(stop - start, options.dim, options.zeros, options.dtype, seed=part)
        store.write_shard(SET, part, options.parts, part_table(X, start))
    store.finish(SET, options.parts, {})
    stored = sum(part["bytes"] for part in store.manifest(SET)["parts"])
    return float(stored / (options.n * options.dim * np.dtype(options.dtype).itemsize))


def naive(store: FeatureStore) -> np.ndarray:
    """What one would write without a second thought."""
    parts = store.files("features")[1:]  # the first has no rows
    column = pq.read_table(parts, partitioning=None)["feature"].combine_chunks()
    return column.flatten().to_numpy().reshape(len(column), -1)


@contextmanager
def one_cpu() -> Iterator[None]:
    """This thread, and those that it starts, on one CPU."""
    allowed = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(allowed)})
    try:
        yield
    finally:
        os.sched_setaffinity(0, allowed)


def sides(store: FeatureStore, folder: Path) -> dict[str, tuple[Callable[[], object], str]]:
    """Name -> what is timed, and its settings."""
    cpus = available_cpus()
    X = store.read(SET).X
    np.save(folder / "X.npy", X)
    kept = MatrixCache(folder / "kept", 10 * X.nbytes)
    store.read(SET, cache=kept)
    fresh = (MatrixCache(folder / f"fresh-{i}", 10 * X.nbytes) for i in range(1_000_000))

    def first_1() -> object:
        with one_cpu():
            return store.read(SET)

    return {
        "numpy": (lambda: np.load(folder / "X.npy"), "1 thread"),
        "naive": (lambda: naive(store), f"{pa.cpu_count()} threads"),
        "first-1": (first_1, "1 CPU"),
        "first": (lambda: store.read(SET), f"{cpus} CPUs"),
        "kept": (lambda: store.read(SET, cache=next(fresh)), f"{cpus} CPUs, and one file written"),
        "later": (lambda: np.copyto(X, store.read(SET, cache=kept).X), "1 thread, with a copy"),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--n", type=int, default=100_000, help="images")
    parser.add_argument("--dim", type=int, default=1280, help="features")
    parser.add_argument("--dtype", choices=("float16", "float32"), default="float16")
    parser.add_argument("--zeros", type=float, default=0.4, help="share of the features that are zero")
    parser.add_argument("--parts", type=int, default=64)
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        store = FeatureStore.create(f"{folder}/store")
        stored = fill(store, options)
        timed = sides(store, Path(folder))
        seconds: dict[str, list[tuple[float, float]]] = {side: [] for side in timed}  # by the clock, on a CPU
        for repeat in range(options.repeats + 1):
            for side, (work, _) in timed.items():
                start, busy = time.perf_counter(), time.process_time()
                work()
                if repeat:  # the first round warms up
                    seconds[side].append((time.perf_counter() - start, time.process_time() - busy))
        print_table(options, stored, seconds, {side: settings for side, (_, settings) in timed.items()})


def print_table(
    options: argparse.Namespace, stored: float, seconds: dict[str, list[tuple[float, float]]], settings: dict[str, str]
) -> None:
    """Medians and their ratio to the first side's."""
    size = options.n * options.dim * np.dtype(options.dtype).itemsize / 1e9
    print(f"{options.n} x {options.dim} {options.dtype} = {size:.3f} GB in {options.parts} parts, in the page cache")
    print(f"{options.zeros:.0%} zeros, {stored:.2f} of that on disk; median of {options.repeats}")
    print(f"{'side':<9}{'seconds':>9}{'GB/s':>7}{'ratio':>7}{'GB/CPU-s':>10}  settings")
    medians = {side: [median(column) for column in zip(*taken, strict=True)] for side, taken in seconds.items()}
    first, _ = next(iter(medians.values()))
    for side, (clock, busy) in medians.items():
        print(f"{side:<9}{clock:>9.3f}{size / clock:>7.2f}{first / clock:>7.2f}{size / busy:>10.2f}  {settings[side]}")


if __name__ == "__main__":
    main()
