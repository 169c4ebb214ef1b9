"""What a study of 25,000 pairs costs when there is nothing to do: every cost at four sizes, its law, and on paper.

    python tests/benchmarks/bench_growth.py
    python tests/benchmarks/bench_growth.py --only commands s3 --sizes 3

Stores are made: every file has the name and the rows that a run would give it, and no network runs; a first run records
what every run records, and packs what it packs, models too, as in a large study. Every measurement is a process of its
own. Commands are measured in seconds of CPU, in memory, and in calls of `Storage` on a local store; on an S3 server on
loopback, in requests, which a proxy counts. Beside four sizes in cells, one with many shards is measured, so that a
cost is

    constant + each cell x cells + each shard x shards

fitted by least squares of relative errors; all have six datasets, so that a model counts as six cells. The exponent is
that of the growth above the smallest size, by the two largest. On paper are 500 models x 50 datasets: 25,000 cells, 1.5
million parts of 75,000 feature sets; 50 ms a request, 16 at a time. The other costs (failures, a folder, models, a set)
have their own sizes, in which they are proportional. What is bounded is no line: a run that has computed nothing opens
image tables of at most 200 files, which the many shards of one size show.
"""

# ruff: noqa: T201 - a script that prints a table

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from unittest import mock

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1] / "support"))

import bench_datasets
from growth import Cost, Line, counting_s3, exponent, finished_store, measured, put_in_bucket
from shard_rows import feature_rows

from featurestore import FeatureSet, FeatureStore

CELLS, SHARDS = 25_000, 1_500_000
REQUEST_SECONDS, AT_ONCE = 0.05, 16
COLD = {"run, on a new node", "plan, on a new node"}
SQL = {
    "opening SQL": "select 1",
    "SQL over results": "select count(*), max(value) from results",
    "SQL over predictions": "select count(*), sum(predicted) from predictions",
}
GOALS = {
    "run, nothing to do": "1,000 requests, 60 s, 1 GB",
    "run, on a new node": "+ 20 s",
    "plan, on a new node": "as run",
    "opening SQL": "2 s, 300 MB, independent of shards",
    "SQL over predictions": "twice the bytes at 1 GB/s",
    "gc": "7,500 requests, 3 minutes",
    "verify": "each file once",
}


@dataclass(frozen=True)
class Size:
    """A study and its finished store."""

    folder: Path
    study: Path
    cells: int
    shards: int

    @property
    def store(self) -> Path:
        return self.folder / "store"


def commands(study: Path, store: str) -> dict[str, list[str]]:
    """Name of a row -> the command."""
    run, there = ["run", str(study)], ["--store", store]
    return {
        "run, nothing to do": [*run, *there],
        "run, on a new node": [*run, *there],
        "plan, on a new node": ["plan", str(study), *there],
        **{name: ["sql", text, *there] for name, text in SQL.items()},
        "gc": ["gc", *there],
        "verify": ["verify", *there],
    }


@contextmanager
def sizes(count: int) -> Iterator[list[Size]]:
    """Make stores of growing numbers of cells, and one more of many shards."""
    with tempfile.TemporaryDirectory() as folder:
        found = []
        for number, (models, datasets) in enumerate([(40, 6), (60, 6), (80, 6), (120, 6)][:count]):
            found.append(made(Path(folder) / str(number), models, datasets, images=24, shard_images=8))
        found.append(made(Path(folder) / "shards", 40, 6, images=24, shard_images=1))
        yield found


def made(folder: Path, models: int, datasets: int, *, images: int, shard_images: int) -> Size:
    folder.mkdir()
    begun = time.monotonic()
    study, n_cells = finished_store(folder, models=models, datasets=datasets, images=images, shard_images=shard_images)
    shards = sum(1 for _ in (folder / "store" / "features").rglob("part-*"))
    print(f"made {n_cells:,} cells, {shards:,} shards of features in {time.monotonic() - begun:.0f} s", flush=True)
    return Size(folder, study, n_cells, shards)


def of_commands(found: Sequence[Size]) -> None:
    """Costs on a local store."""
    costs: dict[str, list[Cost]] = {}
    for size in found:
        cache = size.folder / "cache"
        measured(["run", str(size.study), "--store", str(size.store)], cache=cache)
        for name, command in commands(size.study, str(size.store)).items():
            own = size.folder / f"new for {name}" if name in COLD else cache
            costs.setdefault(name, []).append(measured(command, cache=own))
    print("\nA local store: seconds of CPU, memory in MB, calls of Storage")
    for name, own in costs.items():
        tell(name, "s", found, [cost.cpu for cost in own])
        tell("", "MB", found, [cost.memory / 1e6 for cost in own])
        tell("", "calls", found, [cost.calls for cost in own])


def on_s3(found: Sequence[Size]) -> None:
    """Requests of commands on an S3 server."""
    requests: dict[str, list[int]] = {}
    with counting_s3() as (proxy, variables):
        for size in found:
            uri, cache = put_in_bucket(size.store), size.folder / "cache of s3"
            measured(["run", str(size.study), "--store", uri], cache=cache, variables=variables)
            for name, command in commands(size.study, uri).items():
                own = size.folder / f"s3, new for {name}" if name in COLD else cache
                before = len(proxy.requests)
                measured(command, cache=own, variables=variables)
                requests.setdefault(name, []).append(len(proxy.requests) - before)
    print(f"\nS3: requests; on paper with {1000 * REQUEST_SECONDS:.0f} ms each, {AT_ONCE} at a time")
    for name, own in requests.items():
        tell(name, "requests", found, own)


def tell(name: str, unit: str, found: Sequence[Size], costs: Sequence[float]) -> None:
    """Print a cost at all sizes, its exponent, and what it is on paper."""
    line = Line.through([(size.cells, size.shards) for size in found], costs)
    grows = exponent([size.cells for size in found[:-1]], costs[:-1])
    paper = line.at(CELLS, SHARDS)
    seconds = f" = {paper * REQUEST_SECONDS / AT_ONCE:,.0f} s" if unit == "requests" else ""
    cells = "  ".join(f"{cost:>9,.{2 if cost < 100 else 0}f}" for cost in costs)
    goal = f"   goal: {GOALS[name]}" if name in GOALS else ""
    print(
        f"{name:<22}{unit:<9}{cells}  exponent {'  -  ' if grows is None else f'{grows:5.2f}'}"
        f"  {line.each[0]:.3g} a cell, {line.each[1]:.2g} a shard  on paper {paper:,.0f}{seconds}{goal}",
        flush=True,
    )


def tell_law(name: str, unit: str, counts: Sequence[int], costs: Sequence[float], at: int, goal: str) -> None:
    """Print a cost of another kind of size."""
    costs = [max(cost, 1e-3) for cost in costs]  # less cannot be measured
    line, grows = Line.through([(count,) for count in counts], costs), exponent(counts, costs)
    cells = "  ".join(f"{count:,}: {cost:,.3g}" for count, cost in zip(counts, costs, strict=True))
    grown = "-" if grows is None else f"{grows:.2f}"
    print(f"{name:<34}{unit:<6}{cells}  exponent {grown}  at {at:,}: {line.at(at):,.3g}   goal: {goal}", flush=True)


# ---- costs that have other sizes ----------------------------------------------------------------------------------


def of_failures() -> None:
    """Rows of the failures table that are written while failures come, one a second."""
    counts = (125, 500, 2000, 8000)
    written = [rows_written(count) for count in counts]
    print("\nFailures, one a second: rows written")
    tell_law("failures", "rows", counts, written, 100_000, "constant per failure")


def rows_written(count: int) -> int:
    from cluster.reporting.events import Reporters
    from cluster.work import ledger

    with tempfile.TemporaryDirectory() as folder:
        store, now, rows = FeatureStore.create(f"{folder}/store"), [0.0], [0]
        publish = store.publish

        def counted(table: str, name: str, content: object) -> str:
            rows[0] += len(content)  # type: ignore[arg-type]
            return publish(table, name, content)  # type: ignore[arg-type]

        clock = SimpleNamespace(monotonic=lambda: now[0])
        with mock.patch.object(store, "publish", counted), mock.patch.object(ledger, "time", clock):
            books = ledger.Ledger("study", store, Reporters())
            for number in range(count):
                now[0] += 1.0
                books.fail("probe", ValueError("it failed"), model="m", dataset="d", cell=f"{number:024d}")
            books.close()
    return rows[0]


def of_folder(largest: int) -> None:
    """Opening a folder of images, as `bench_datasets.py` measures it: for a run, which keeps a listing; in a worker."""
    counts = [largest // 64, largest // 16, largest // 4, largest]
    listed, worker = [], []
    for count in counts:
        with tempfile.TemporaryDirectory() as folder:
            bench_datasets.make_images(Path(folder) / "images", count)
            listed.append(bench_datasets.in_process("listed", Path(folder)))
            worker.append(bench_datasets.in_process("worker", Path(folder)))
    print("\nA folder of images: the process that lists it, and a worker of the same node")
    for name, costs, goal in (("listing", listed, "once a node"), ("worker", worker, "2 s, 150 MB")):
        tell_law(f"{name}: seconds of CPU", "s", counts, [cost["busy"] for cost in costs], 1_280_000, goal)
        tell_law(f"{name}: memory", "MB", counts, [cost["bytes"] / 1e6 for cost in costs], 1_280_000, goal)


def of_models() -> None:
    """Identifying timm models that are not loaded, on a new node and on one that knows them."""
    counts, cold, warm = (5, 10, 20, 40), [], []
    with tempfile.TemporaryDirectory() as folder:
        for count in counts:
            cache = Path(folder) / str(count)
            cold.append(measured(["call", "growth_laws:identify_models", str(count)], cache=cache).cpu)
            warm.append(measured(["call", "growth_laws:identify_models", str(count)], cache=cache).cpu)
    print("\nIdentifying timm models (seconds of CPU, imports left out)")
    tell_law("on a new node", "s", counts, cold, 500, "once")
    tell_law("known", "s", counts, warm, 500, "10 s")


def of_set(largest: int) -> None:
    """Reading a set of many shards of 8 images x 64 values."""
    counts = [largest // 64, largest // 16, largest // 4, largest]
    costs = []
    with tempfile.TemporaryDirectory() as folder:
        for count in counts:
            set_of_shards(f"{folder}/{count}", count)
            costs.append(measured(["call", "growth_laws:read_set", f"{folder}/{count}"], cache=Path(folder) / "none"))
    print("\nReading a set of shards of 8 x 64 float16 (1 kB)")
    tell_law("seconds of CPU", "s", counts, [cost.cpu for cost in costs], 10_000, "1 s")
    tell_law("memory", "MB", counts, [cost.memory / 1e6 for cost in costs], 10_000, "matrix (10 MB) + 64 MB")


def set_of_shards(uri: str, count: int) -> None:
    store, item = FeatureStore.create(uri), FeatureSet("net", "data", "train", "key")
    X = np.random.default_rng(0).normal(size=(8, 64)).astype(np.float16)
    with mock.patch.object(os, "fsync", return_value=None):
        parts = [store.write_shard(item, shard, count, feature_rows(8 * shard, X)) for shard in range(count)]
        store.finish(item, count, {}, parts=parts)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    laws: dict[str, Callable[[], None]] = {
        "failures": of_failures,
        "folder": lambda: of_folder(options.folder),
        "models": of_models,
        "set": lambda: of_set(options.shards),
    }
    parser.add_argument("--only", nargs="+", choices=["commands", "s3", *laws], help="some of the costs")
    parser.add_argument("--sizes", type=int, default=4, choices=(3, 4), help="numbers of cells")
    parser.add_argument("--folder", type=int, default=256_000, help="images of the largest folder")
    parser.add_argument("--shards", type=int, default=6400, help="of the largest set")
    options = parser.parse_args()
    wanted = options.only or ["commands", "s3", *laws]
    for name, law in laws.items():
        if name in wanted:
            law()
    if {"commands", "s3"}.intersection(wanted):
        with sizes(options.sizes) as found:
            print("sizes: " + ", ".join(f"{size.cells:,} cells with {size.shards:,} shards" for size in found))
            if "commands" in wanted:
                of_commands(found)
            if "s3" in wanted:
                on_s3(found)


if __name__ == "__main__":
    main()
