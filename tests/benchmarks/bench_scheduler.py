"""What dispatch costs: a grid of models and datasets on many workers that only sleep.

    python tests/benchmarks/bench_scheduler.py --workers 64 --seconds 120

`--models` x `--datasets`, of `--images` images in all, are planned as for a run: every shard of `--shard-images` once
for each group of `--per-group` models, split 70/10/20 into train, val and test. A unit goes to one of `--workers` Ray
actors (processes that hold no CPU and import no torch), which sleeps a time drawn from a log-normal distribution whose
mean lets the run take `--seconds` and whose sigma is 0.5: a third of the units take less than 0.54 or more than 1.43 of
the mean. They go through the pool that runs real studies; tasks and reports are as large as real ones.

Waiting is the share of the time between a worker's first and last unit in which it had none: it says so itself, with
its own clock. Overhead is that time per unit. The driver's memory is its resident set before and at the end, and the
most it was. At the end a burst of `--burst` units that sleep not at all shows how many results the driver can take per
second, R; the workers share the CPUs with it, so a driver on a machine of its own takes more. The share of time that N
workers wait with units of T seconds follows as in a queue with one server whose service times are constant:
load = N / (R T);  wait = overhead + load / (2 R (1 - load));  share = wait / (wait + T).
"""

# ruff: noqa: T201 - a script that prints a table

from __future__ import annotations

import argparse
import logging
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import repeat
from pathlib import Path

import numpy as np
import ray
from cluster.pool.worker_pool import WorkerPool

from cluster.pool.nodes import NodeName, this_node
from cluster.pool.ray_workers import Size
from cluster.work.missing_shards import ModelTap, ShardUnit, Wanted, missing_shards

SPLITS = {"train": 0.7, "val": 0.1, "test": 0.2}
SIGMA = 0.5


@dataclass(frozen=True)
class Task:
    """One shard for a few models; about as large as a real task."""

    unit: ShardUnit
    seconds: float
    records: bytes = field(repr=False)


@dataclass
class Sleeper:
    """A worker's own account of its time."""

    first: float | None = None
    last: float = 0.0
    busy: float = 0.0
    units: int = 0


@ray.remote(num_cpus=0)
class Worker:
    """Sleeps instead of working."""

    def __init__(self) -> None:
        self._account = Sleeper()

    def ready(self) -> NodeName:
        return this_node()

    def run(self, task: Task) -> tuple[str, Sleeper, bytes]:
        begun = time.perf_counter()
        time.sleep(task.seconds)
        account = self._account if task.unit.parts else Sleeper()  # those that only wait for others do not count
        account.first = begun if account.first is None else account.first
        account.last = time.perf_counter()
        account.busy += account.last - begun
        account.units += 1
        return ray.get_runtime_context().get_actor_id(), account, b"r" * 300 * len(task.unit.parts)


def tasks(options: argparse.Namespace) -> Iterator[Task]:
    """The plan; the datasets differ in size as real ones do."""
    rng = np.random.default_rng(options.seed)
    sizes = np.geomspace(1, 30, options.datasets)
    models = [f"model_{number}" for number in range(options.models)]
    committed = {ModelTap(model, "penultimate"): set() for model in models}
    wanted = [
        Wanted(
            f"dataset_{number}",
            split,
            n_images,
            -(-n_images // options.shard_images),
            options.shard_images,
            committed,
            set(),
        )
        for number, size in enumerate(options.images * sizes / sizes.sum())
        for split, n_images in ((split, round(size * share)) for split, share in SPLITS.items())
    ]
    groups = [models[start : start + options.per_group] for start in range(0, len(models), options.per_group)]
    units = missing_shards(wanted, groups)
    mean = options.seconds * options.workers / len(units)
    for unit in units:
        yield Task(unit, mean * rng.lognormal(-(SIGMA**2) / 2, SIGMA), b"m" * 600 * len(unit.parts))


def memory_mb() -> tuple[float, float]:
    """Resident set of this process, and the most it ever was."""
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return int(status["VmRSS"].split()[0]) / 1024, int(status["VmHWM"].split()[0]) / 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workers", type=int, default=64)
    parser.add_argument("--models", type=int, default=20)
    parser.add_argument("--datasets", type=int, default=12)
    parser.add_argument("--images", type=int, default=1_000_000)
    parser.add_argument("--shard-images", type=int, default=2048)
    parser.add_argument("--per-group", type=int, default=5, help="models per decode")
    parser.add_argument("--seconds", type=float, default=120.0, help="what the run should take")
    parser.add_argument("--burst", type=int, default=5000)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    ray.init(
        address="local",
        include_dashboard=False,
        log_to_driver=False,
        logging_level=logging.ERROR,
        object_store_memory=128 * 1024**2,
    )
    pool = WorkerPool(Worker.remote, lambda nodes: Size(options.workers))
    accounts: dict[str, Sleeper] = {}
    spent = Spent()
    start_workers(pool, options.workers)
    before, _ = memory_mb()
    spent.begin()

    def note(task: Task, result: tuple[str, Sleeper, bytes], node: str) -> None:
        accounts[result[0]] = result[1]

    pool.run(tasks(options), on_result=note, on_retry=lambda *_: None)
    spent.end()
    report(options, accounts, spent, before, burst(pool, options))
    pool.close()
    ray.shutdown()


@dataclass
class Spent:
    """Seconds of the driver, by the clock and on a CPU."""

    clock: float = 0.0
    cpu: float = 0.0

    def begin(self) -> None:
        self.clock, self.cpu = time.perf_counter(), time.process_time()

    def end(self) -> None:
        self.clock, self.cpu = time.perf_counter() - self.clock, time.process_time() - self.cpu


def start_workers(pool: WorkerPool, n_workers: int) -> None:
    """Have them all up before anything is measured: they are kept busy until the last one is there."""
    begun, up = time.perf_counter(), set()

    def tasks() -> Iterator[Task]:
        while len(up) < n_workers:
            yield Task(ShardUnit("warm", "train", 0, 0, ()), 1.0, b"")

    pool.run(tasks(), on_result=lambda task, result, node: up.add(result[0]), on_retry=lambda *_: None)
    print(f"{n_workers} workers were up after {time.perf_counter() - begun:.0f} s")


def burst(pool: WorkerPool, options: argparse.Namespace) -> float:
    """Results per second when there is nothing but results."""
    parts = tuple(ModelTap(f"model_{number}", "penultimate") for number in range(options.per_group))
    task = Task(ShardUnit("burst", "train", 0, 0, parts), 0.0, b"m" * 600 * len(parts))
    begun = time.perf_counter()
    pool.run(repeat(task, options.burst), on_result=lambda *_: None, on_retry=lambda *_: None)
    return options.burst / (time.perf_counter() - begun)


def report(options: argparse.Namespace, accounts: dict[str, Sleeper], spent: Spent, before: float, rate: float) -> None:
    """The figures, and what follows from them for a thousand GPUs."""
    n_units = sum(account.units for account in accounts.values())
    waited = sum(account.last - account.first - account.busy for account in accounts.values())
    busy = sum(account.busy for account in accounts.values())
    overhead = waited / n_units
    now, most = memory_mb()
    print(f"{options.models} models x {options.datasets} datasets, {options.images:,} images: {n_units} units")
    print(f"{len(accounts)} workers, {busy / n_units:.2f} s per unit, {spent.clock:.0f} s in all")
    print(f"waiting {waited / (waited + busy):.2%} of the workers' time; {overhead * 1e3:.2f} ms per unit")
    print(f"driver: {spent.cpu / n_units * 1e3:.1f} ms of CPU per unit")
    print(f"driver: memory {before:.0f} MB before, {now:.0f} MB at the end, {most:.0f} MB at most")
    print(f"model: a driver takes R = {rate:,.0f} results/s; N workers wait, with units of T seconds,")
    print(f"{'N':>6}" + "".join(f"{f'T = {seconds:g} s':>12}" for seconds in (0.5, 2, 10, 30)))
    for n_workers in (64, 250, 1000, 4000):
        print(f"{n_workers:>6}" + "".join(f"{share(n_workers, t, rate, overhead):>12}" for t in (0.5, 2, 10, 30)))


def share(n_workers: int, seconds: float, rate: float, overhead: float) -> str:
    """Of the workers' time that they wait for the driver."""
    load = n_workers / (rate * seconds)
    if load >= 1:
        return "too many"
    wait = overhead + load / (2 * rate * (1 - load))
    return f"{wait / (wait + seconds):.3%}"


if __name__ == "__main__":
    main()
