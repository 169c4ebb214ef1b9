"""What a set of many small parts costs to read: CPU per part, and memory beside the arrays.

    python tests/benchmarks/bench_small_parts.py --parts 10000

The parts have 8 images of 64 float16 features and a fingerprint of 128 numbers in their footers, as extraction writes
them. Each side reads the set in a process of its own, in turn. Sides:

- `store`: FeatureStore.read without a cache;
- `tables`: each part as an Arrow table of all columns, kept until the last one is read, and one matrix of them.
"""

# ruff: noqa: T201 - a script that prints a table

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from bench_loading import SET, part_table

from featurestore import FeatureStore
from featurestore.store.feature_store import MADE_WITH

N_ROWS, DIM = 8, 64
SIDES = ("tables", "store")


def fill(store: FeatureStore, n_parts: int) -> None:
    """Write the set."""
    rng = np.random.default_rng(0)
    said = {"extraction": {"versions": {"torch": "2.9"}, "device": "cpu"}, "fingerprint": rng.normal(size=128).tolist()}
    words = {MADE_WITH: json.dumps(said)}
    parts = []
    for part in range(n_parts):
        X = rng.normal(size=(N_ROWS, DIM)).astype(np.float16)
        rows = part_table(X, N_ROWS * part).replace_schema_metadata(words)
        parts.append(store.write_shard(SET, part, n_parts, rows))
    store.finish(SET, n_parts, {}, parts=parts)


def read(side: str, store: FeatureStore) -> int:
    """Read the set; return the bytes of its arrays."""
    if side == "store":
        found = store.read(SET)
        return sum(array.nbytes for array in (found.X, found.y, found.index, found.sample_id))
    names = [f"{SET.folder}/{part['name']}" for part in store.manifest(SET)["parts"]]
    table = pa.concat_tables([pq.read_table(Path(store.uri, name), partitioning=None) for name in names])
    X = table.column("feature").combine_chunks().flatten().to_numpy()
    return int(X.nbytes)


def measure(side: str, uri: str) -> None:
    """Print what reading costs in this process."""
    store = FeatureStore.open(uri)
    n_parts = len(store.manifest(SET)["parts"])
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    begun, cpu = time.monotonic(), time.process_time()
    n_bytes = read(side, store)
    cpu, seconds = time.process_time() - cpu, time.monotonic() - begun
    beside = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1e3 - n_bytes / 1e6
    print(f"{side:<8}{1e3 * cpu / n_parts:8.3f}{1e3 * seconds / n_parts:10.3f}{n_bytes / 1e6:10.1f}{beside:10.1f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--parts", type=int, default=2000)
    parser.add_argument("--repeats", type=int, default=2)
    parser.add_argument("--side", choices=SIDES, help=argparse.SUPPRESS)
    parser.add_argument("--store", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.side:
        measure(options.side, options.store)
        return
    os.environ["PROBESTORE_FSYNC"] = "0"
    with tempfile.TemporaryDirectory() as folder:
        fill(FeatureStore.create(f"{folder}/store"), options.parts)
        print(f"{options.parts:,} parts of {N_ROWS} x {DIM}: ms a part, and MB")
        print(f"{'':<8}{'CPU':>8}{'wall':>10}{'arrays':>10}{'beside':>10}", flush=True)
        for side in SIDES * options.repeats:
            subprocess.run([sys.executable, __file__, "--side", side, "--store", f"{folder}/store"], check=True)


if __name__ == "__main__":
    main()
