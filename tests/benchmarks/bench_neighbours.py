"""The exact nearest neighbours of an image by SQL, against the time that it takes to read the same bytes.

    python tests/benchmarks/bench_neighbours.py --n 1000000 --dim 1024 --repeats 3

A synthetic store of one model and dataset: Gaussian features through a ReLU in float16, in parts of 4,096 images as
extraction writes them, 2 GB for a million of 1,024. Every file has been read before the first measurement, so all sides
read from the page cache; a disk would add the same to each. Sides, alternating:

- `cat`: every byte of the files, into one buffer;
- `count`: DuckDB counts the rows of the question's view, which opens all files and decodes nothing;
- `scan`: DuckDB decodes the column `feature` and sums the first value of each list;
- `query`: the question `nearest_neighbours`, k = 10, with its answer checked against NumPy.

GB are those of the files, 10^9 bytes. CPU-s, of all threads, are what other programs on the machine disturb least.
`--store` keeps the store for the next time.
"""

# ruff: noqa: T201 - a script that prints a table

from __future__ import annotations

import argparse
import resource
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from statistics import median

import numpy as np
import pyarrow as pa

from featurestore import FeatureSet, FeatureStore
from featurestore.store import schema
from queries.asking.database import Database

PART = 4096
SET = FeatureSet("net", "images", "test", "key")
ASKED = 7


def part_features(part: int, rows: int, dim: int) -> np.ndarray:
    """Features (rows, dim) of one part."""
    return np.maximum(np.random.default_rng(part).standard_normal((rows, dim), dtype=np.float32), 0).astype(np.float16)


def parts(n: int) -> Iterator[tuple[int, int]]:
    """Number and rows of each part."""
    yield from enumerate(min(PART, n - start) for start in range(0, n, PART))


def part_table(X: np.ndarray, start: int) -> pa.Table:
    """Rows as extraction writes them."""
    kinds = schema.features(pa.float16(), X.shape[1])
    index = np.arange(start, start + len(X))
    vectors = pa.FixedSizeListArray.from_arrays(pa.array(X.ravel()), type=kinds.field("feature").type)
    columns = [pa.array([f"{i:032x}" for i in index]), pa.array(index), pa.array(index % 100)]
    unknown = [pa.nulls(len(X), kinds.field(name).type) for name in ("labels", "group")]
    return pa.Table.from_arrays([*columns, *unknown, vectors], schema=kinds)


def fill(store: FeatureStore, n: int, dim: int) -> None:
    """Write what is missing of the set."""
    n_parts, there = len(list(parts(n))), store.shards(SET)
    for part, rows in parts(n):
        if part not in there:
            store.write_shard(SET, part, n_parts, part_table(part_features(part, rows, dim), PART * part))
    store.finish(SET, n_parts, {})


def expected(n: int, dim: int, k: int = 10) -> list[int]:
    """The neighbours by NumPy, one part at a time."""
    asked = part_features(0, min(PART, n), dim)[ASKED].astype(np.float32)
    found = []
    for part, rows in parts(n):
        X = part_features(part, rows, dim).astype(np.float32)
        found.append(X @ asked / np.linalg.norm(X, axis=1))
    order = np.argsort(-np.concatenate(found), kind="stable").tolist()
    return [i for i in order if i != ASKED][:k]


def read_bytes(files: list[Path]) -> None:
    """What `cat` does."""
    buffer = bytearray(2**22)
    for file in files:
        with file.open("rb", buffering=0) as stream:
            while stream.readinto(buffer):
                pass


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--n", type=int, default=1_000_000, help="images")
    parser.add_argument("--dim", type=int, default=1024, help="features")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--store", type=Path)
    options = parser.parse_args()
    with ExitStack() as stack:
        folder = options.store or Path(stack.enter_context(tempfile.TemporaryDirectory())) / "store"
        store = FeatureStore.create(str(folder))
        fill(store, options.n, options.dim)
        database = stack.enter_context(Database(store))
        files = [Path(name) for name in store.files("features")]
        answers: list[pa.Table] = []
        sides: dict[str, Callable[[], object]] = {
            "cat": lambda: read_bytes(files),
            "count": lambda: database.sql("select count(*) from features"),
            "scan": lambda: database.sql("select sum(feature[1]) from features"),
            "query": lambda: answers.append(database.query("nearest_neighbours", index=ASKED)),
        }
        seconds: dict[str, list[tuple[float, float]]] = {side: [] for side in sides}
        for repeat in range(options.repeats + 1):
            for side, work in sides.items():
                start, busy = time.perf_counter(), time.process_time()
                work()
                if repeat:  # the first round warms up
                    seconds[side].append((time.perf_counter() - start, time.process_time() - busy))
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
        same = answers[0]["index"].to_pylist() == expected(options.n, options.dim)
        size = sum(file.stat().st_size for file in files) / 1e9
    print(f"{options.n} x {options.dim} float16, {size:.3f} GB in {len(files)} files, in the page cache")
    print(f"{'side':<8}{'seconds':>9}{'CPU-s':>8}{'GB/s':>7}{'of cat':>8}{'of scan':>9}")
    medians = {side: [median(column) for column in zip(*taken, strict=True)] for side, taken in seconds.items()}
    for side, (clock, busy) in medians.items():
        ratios = [clock / medians[other][0] for other in ("cat", "scan")]
        print(f"{side:<8}{clock:>9.3f}{busy:>8.2f}{size / clock:>7.2f}{ratios[0]:>8.1f}{ratios[1]:>9.2f}")
    print(f"peak memory {peak:.2f} GiB; the neighbours are {'' if same else 'NOT '}those of NumPy")


if __name__ == "__main__":
    main()
