"""What one driver can do: the features of a study, planned, handed out and booked for many workers that use no network.

    python tests/benchmarks/bench_scheduler.py --workers 64 --seconds 120 --store

The driver is the real one: the work `features` of `--models` models on `--datasets` datasets, `carry_out`, the dispatch
to Ray actors, the manifests of complete sets, the table `progress`, a file of events and the lines of a log. There are
`--images` images in all, of random noise, in shards of one image, for groups of `--per-group` models.

The `--workers` Ray actors hold no CPU and import no torch. Each sleeps for the time of its unit, which is drawn from a
log-normal distribution: its mean lets the run take `--seconds`, its sigma is 0.5, so that a third of the units take
less than 0.54 or more than 1.43 of the mean. With `--store` they then write a small part of every feature set and of
the image table into a real store in a temporary folder, and the manifests of the sets that are complete. Without it
they only say that they did.

Waiting is the share of the time between a worker's first and last unit in which it had none: it says so itself, with
its own clock. Overhead is that time per unit. The driver's memory is its resident set before and at the end, and the
most it was. After that, the same study runs a second time, in a new store, and no worker sleeps: how many results the
driver takes per second, R, when there is nothing but results. The workers share the CPUs with it, so a driver on a
machine of its own takes more; what it would take if only its own CPU time counted is printed too. The share of time
that N workers wait with units of T seconds follows as in a queue with one server whose service times are constant:
load = N / (R T);  wait = overhead + load / (2 R (1 - load));  share = wait / (wait + T).
"""

# ruff: noqa: T201 - a script that prints a table

from __future__ import annotations

import argparse
import logging
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, redirect_stderr
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import numpy as np
import ray
from bench_resume import feature_row, image_row
from rich.console import Console
from tiny import TINY_NETWORK, save_images

from cluster.pool.dispatch import Dispatch, Team
from cluster.pool.nodes import NodeName, this_node
from cluster.pool.placement import Request
from cluster.pool.ray_workers import RayWorkers
from cluster.pool.task_queue import TaskQueue
from cluster.pool.units import Hands, Lane
from cluster.reporting.events import EventLines, Reporters
from cluster.reporting.progress import reporter_for
from cluster.reporting.progress_table import ProgressTable
from cluster.runs.study_run import begin, find_modules
from cluster.study.study_file import Study, read_study
from cluster.work.kinds.features import Completion, Features, ShardUnit
from cluster.work.ledger import Ledger
from cluster.work.rounds import carry_out
from featurestore import FeatureStore
from featurestore.extraction.shards import Outcome, ShardReport
from featurestore.images.splits import Dataset
from featurestore.store.feature_store import Part

SIGMA = 0.5
PARAMETERS_GB = 4 * 100_000_000 / 1024**3  # what a network takes whose size nobody says
NOTHING = Part("part-00000-of-00001.parquet", 1, 1000, "0" * 64)


@dataclass
class Account:
    """A worker's own account of its time."""

    first: float | None = None
    last: float = 0.0
    busy: float = 0.0
    units: int = 0


@dataclass(frozen=True)
class Warm:
    """A unit that takes a second, and is in no account."""

    amount: int = 0


@ray.remote(num_cpus=0)
class Worker:
    """Sleeps where others compute, and writes what they would write, or says that it did."""

    def __init__(self, writes: bool) -> None:
        self._writes = writes
        self._hands = Hands("cpu", 1)
        self._rng = np.random.default_rng(os.getpid())
        self._seconds = 0.0
        self._account = Account()

    def ready(self) -> NodeName:
        return this_node()

    def begin(self, seconds: float) -> None:
        """Begin a new account; units take so long, in the mean."""
        self._seconds, self._account = seconds, Account()

    def account(self) -> Account:
        return self._account

    def run(self, unit: ShardUnit | Completion | Warm) -> Any:
        if isinstance(unit, Warm):
            time.sleep(1.0)
            return os.getpid()
        begun = time.perf_counter()
        report = self._complete(unit) if isinstance(unit, Completion) else self._shard(unit, begun)
        account = self._account
        account.first = begun if account.first is None else account.first
        account.last = time.perf_counter()
        account.busy += account.last - begun
        account.units += 1
        return report

    def _complete(self, unit: Completion) -> None:
        if self._writes:
            unit.run(self._hands)

    def _shard(self, unit: ShardUnit, begun: float) -> ShardReport:
        time.sleep(self._seconds * self._rng.lognormal(-(SIGMA**2) / 2, SIGMA))
        samples, parts = self._parts(unit) if self._writes else (NOTHING, [NOTHING] * len(unit.targets))
        outcomes = [Outcome(target, part) for target, part in zip(unit.targets, parts, strict=True)]
        seconds = time.perf_counter() - begun
        networks = {job.model.name: seconds / len(unit.jobs) for job in unit.jobs}
        return ShardReport(unit.n_images, {}, seconds, samples, outcomes, networks)

    def _parts(self, unit: ShardUnit) -> tuple[Part, list[Part]]:
        """Write the shard of the image table and of every target."""
        dataset = self._hands.held(unit.dataset, lambda: Dataset(unit.dataset))
        store, n_shards = unit.store.open(self._hands), dataset.n_shards(unit.split)
        samples = store.write_shard(dataset.samples(unit.split), unit.shard, n_shards, image_row(unit.shard))
        rows = feature_row(unit.shard)
        return samples, [store.write_shard(target, unit.shard, n_shards, rows) for target in unit.targets]


class SleepersPool:
    """The dispatch of real runs, to as many of these workers as one likes: they hold no CPU."""

    def __init__(self, n_workers: int, *, writes: bool) -> None:
        self._answers: SimpleQueue[Any] = SimpleQueue()
        workers = RayWorkers(partial(Worker.remote, writes), self._answers)
        self._n_workers = n_workers
        self._team = Team(Request(0), workers, grows=False)

    def run(self, lanes: Sequence[Lane], *, note: Callable[[str], None] = print) -> None:
        self._team.lanes = list(lanes)
        for lane in lanes:
            lane.max_running = self._n_workers
        Dispatch([self._team], self._answers, note).run(lanes)

    def ask(self, method: str, *arguments: Any) -> list[Any]:
        """Call a method of all workers, of which none is busy."""
        workers = self._team.workers.idle
        return ray.get([getattr(worker.actor, method).remote(*arguments) for worker in workers])

    def close(self) -> None:
        self._team.workers.close()


def write_study(folder: Path, options: argparse.Namespace) -> Study:
    """Random networks that are never run, images that are never decoded; datasets differ in size as real ones do."""
    (folder / "tiny_network.py").write_text(TINY_NETWORK)
    sizes = np.geomspace(1, 30, options.datasets)
    for number, size in enumerate(options.images * sizes / sizes.sum()):
        half = max(4, round(size / 2))
        save_images(folder / f"images_{number}", {"cats": half, "dogs": half})
    models = "".join(
        f'[[model]]\nname = "tiny_{seed}"\nbackbone = "python:tiny_network:build"\nweights = "none"\n'
        f"input_size = 16\nseed = {seed}\n"
        for seed in range(options.models)
    )
    datasets = "".join(
        f'[[dataset]]\nname = "data_{number}"\nsource = "image_folder:images_{number}"\nshard_images = 1\n'
        for number in range(options.datasets)
    )
    (folder / "study.toml").write_text(f"{models}{datasets}[probe]\nprobes = []\n")
    study = read_study(folder / "study.toml")
    memory = PARAMETERS_GB * (options.per_group + 0.5)
    return replace(study, extract=replace(study.extract, model_memory_gb=memory))


@dataclass
class Spent:
    """Seconds of the driver, by the clock and on a CPU; and for how many shards."""

    n_units: int = 0
    clock: float = 0.0
    cpu: float = 0.0

    @contextmanager
    def taken(self) -> Iterator[None]:
        clock, cpu = time.perf_counter(), time.process_time()
        yield
        self.clock, self.cpu = time.perf_counter() - clock, time.process_time() - cpu


class Driver:
    """Runs the study of a folder, in a new store."""

    def __init__(self, study: Study, store: FeatureStore, events: Path) -> None:
        self._store = store
        self._events = events.open("w", encoding="utf-8")
        screen = reporter_for(Console(stderr=True))
        reporter = Reporters(screen, EventLines(self._events), ProgressTable(study.name, store))
        self._reporter, self._ledger = reporter, Ledger(study.name, store, reporter)
        begun = time.perf_counter()
        self._run = begin(study, store, self._ledger, reporter)
        self._work = Features(self._run, study)
        self.planned_in = time.perf_counter() - begun

    @property
    def n_sets(self) -> int:
        """Sets of features and of images that there are to be."""
        return len(self._run.datasets) * 3 * (len(self._run.models) + 1)

    def run(self, pool: SleepersPool) -> Spent:
        """Carry it out; return what that took."""
        spent = Spent()
        with Path(os.devnull).open("w") as nowhere, redirect_stderr(nowhere), spent.taken():
            carry_out([self._work], pool, self._ledger, self._reporter)
        self._events.close()
        assert not self._ledger.summary.failures, self._ledger.summary.failures[0]
        spent.n_units = Path(self._events.name).read_text().count('"shard_done"')
        return spent


def memory_mb() -> tuple[float, float]:
    """Resident set of this process, and the most it ever was."""
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return int(status["VmRSS"].split()[0]) / 1024, int(status["VmHWM"].split()[0]) / 1024


def start_workers(pool: SleepersPool, n_workers: int) -> None:
    """Have them all up before anything is measured: they are kept busy until the last one is there."""
    begun, up = time.perf_counter(), set()

    def units() -> Iterator[Warm]:
        while len(up) < n_workers:
            yield Warm()

    def outcome(unit: Warm, result: int, node: str) -> None:
        up.add(result)

    pool.run([Lane("warm", TaskQueue(units), outcome, lambda *_: None)])
    print(f"{n_workers} workers were up after {time.perf_counter() - begun:.0f} s")


def report(accounts: Sequence[Account], spent: Spent, burst: Spent, before: float) -> None:
    """The figures, and what follows from them for a thousand GPUs."""
    worked = [account for account in accounts if account.first is not None]
    n_units = sum(account.units for account in worked)
    waited = sum(account.last - (account.first or 0.0) - account.busy for account in worked)
    busy = sum(account.busy for account in worked)
    overhead, (now, most) = waited / n_units, memory_mb()
    print(f"{len(worked)} workers, {busy / n_units:.2f} s per unit, {spent.clock:.0f} s in all")
    print(f"waiting {waited / (waited + busy):.2%} of the workers' time; {overhead * 1e3:.2f} ms per unit")
    print(f"driver: {spent.cpu / spent.n_units * 1e3:.1f} ms of CPU per shard", end="; ")
    print(f"{burst.cpu / burst.n_units * 1e3:.1f} ms when there is nothing but results")
    print(f"driver: memory {before:.0f} MB before, {now:.0f} MB at the end, {most:.0f} MB at most")
    rates = {
        f"measured here, where workers share the CPUs (load {os.getloadavg()[0]:.1f})": burst.n_units / burst.clock,
        "by the driver's CPU time alone": burst.n_units / burst.cpu,
    }
    for how, rate in rates.items():
        print(f"model: a driver takes R = {rate:,.0f} results/s, {how}; N workers wait, with units of T seconds,")
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


def measure(options: argparse.Namespace, folder: Path) -> None:
    """Run it twice: at the pace of real workers, and as fast as the driver can."""
    study = write_study(folder, options)
    find_modules(study)
    pool = SleepersPool(options.workers, writes=options.store)
    start_workers(pool, options.workers)
    paced, burst = (
        Driver(study, FeatureStore.create(str(folder / name)), folder / f"{name}.jsonl") for name in ("paced", "burst")
    )
    n_images = sum(len(split.rows) for spec in study.datasets for split in Dataset(spec).splits.values())
    n_units = n_images * -(-options.models // options.per_group)
    what = f"{options.models} models x {options.datasets} datasets"
    print(f"{what}: {n_units} units, planned in {paced.planned_in:.1f} s", flush=True)
    before, _ = memory_mb()
    pool.ask("begin", options.seconds * options.workers / n_units)
    spent = paced.run(pool)
    accounts = pool.ask("account")
    pool.ask("begin", 0.0)
    fast = burst.run(pool)
    assert spent.n_units == fast.n_units == n_units, (spent.n_units, fast.n_units, n_units)
    if options.store:
        stored = FeatureStore.open(str(folder / "burst")).sets()
        assert len(stored) == burst.n_sets, "every set must be complete"
        print(f"{len(stored)} sets are complete, with their manifests")
    report(accounts, spent, fast, before)
    pool.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workers", type=int, default=64)
    parser.add_argument("--models", type=int, default=20)
    parser.add_argument("--datasets", type=int, default=12)
    parser.add_argument("--images", type=int, default=1200, help="of all datasets; a shard is one image")
    parser.add_argument("--per-group", type=int, default=5, help="models per decode")
    parser.add_argument("--seconds", type=float, default=120.0, help="what the run should take")
    parser.add_argument("--store", action="store_true", help="workers write into a real store")
    options = parser.parse_args()
    ray.init(
        address="local",
        include_dashboard=False,
        log_to_driver=False,
        logging_level=logging.ERROR,
        object_store_memory=128 * 1024**2,
    )
    with tempfile.TemporaryDirectory() as folder:
        measure(options, Path(folder))
    ray.shutdown()


if __name__ == "__main__":
    sys.exit(main())
