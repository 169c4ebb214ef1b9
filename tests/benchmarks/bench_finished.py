"""How often ``probestore run`` asks the file system, or S3, when a study is finished and nothing is missing.

    python tests/benchmarks/bench_finished.py --models 50 --datasets 12

The study has `--models` models on `--datasets` datasets of `--images` images in shards of `--shard-images`, and one
logistic probe per model and dataset. The script makes its store in a temporary folder, without a network: features,
image tables, classifiers, results, tuning and predictions are random, but every file has the name that a run would give
it. A first run then adds what every run records of its study. The second run is measured.

Counted are the calls of the methods of `Storage`, by kind of call and by table, separately for the run and for the
leaderboard that the command shows at the end. A method that calls another one counts once. A listing of an object store
takes one request per 1,000 names, so requests are estimated too. `third` is one more run: what the node's cache of
records saves after the first time. Seconds are CPU time of this process.

A checkout of another version is measured by the same script, because modules are looked up under their present and
their former names:

    PYTHONPATH=OTHER:OTHER/queries/door python tests/benchmarks/bench_finished.py
"""

# ruff: noqa: T201 - a script that prints a table

from __future__ import annotations

import argparse
import contextlib
import os
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

from click.testing import CliRunner

sys.path.insert(0, str(Path(__file__).parents[1] / "support"))
from finished_study import Finished, Storage, read_study, write_study

from featurestore import FeatureStore

METHODS = ("kind", "files", "list_files", "read", "read_buffer", "read_bytes", "publish", "publish_new", "delete")
LISTINGS = ("files", "list_files")
NAMES_PER_REQUEST = 1000  # of an object store's listing


class Calls:
    """The calls of one run: (part of the command, method, table) -> how many; and requests that an S3 would count."""

    def __init__(self) -> None:
        self.part = "run"
        self.counts: Counter[tuple[str, str, str]] = Counter()
        self.requests: Counter[str] = Counter()
        self._lock = threading.Lock()

    def note(self, method: str, name: str, answer: Any) -> None:
        """Note a call that came back."""
        pages = -(-len(answer) // NAMES_PER_REQUEST) if method in LISTINGS else 1
        with self._lock:
            self.counts[self.part, "list" if method in LISTINGS else method, name.split("/")[0]] += 1
            self.requests[self.part] += max(1, pages)

    def total(self, part: str) -> int:
        """Calls of a part of the command."""
        return sum(count for (own, _, _), count in self.counts.items() if own == part)


@contextlib.contextmanager
def counted() -> Iterator[Calls]:
    """Count calls of the methods of Storage, and tell the leaderboard from the run."""
    command = import_module("cluster.commands.run")
    calls, inside = Calls(), threading.local()
    originals = {method: getattr(Storage, method) for method in METHODS}
    name = next(name for name in ("show_outcome", "show_leaderboard") if hasattr(command, name))
    show = getattr(command, name)

    def wrapped(method: str, original: Callable[..., Any]) -> Callable[..., Any]:
        def call(storage: Any, name: str, *rest: Any, **options: Any) -> Any:
            if getattr(inside, "a_call", False):
                return original(storage, name, *rest, **options)
            inside.a_call = True
            try:
                answer = original(storage, name, *rest, **options)
            finally:
                inside.a_call = False
            calls.note(method, name, answer)
            return answer

        return call

    def leaderboard(store: FeatureStore, **options: Any) -> None:
        calls.part = "leaderboard"
        show(store, **options)

    for method, original in originals.items():
        setattr(Storage, method, wrapped(method, original))
    setattr(command, name, leaderboard)
    try:
        yield calls
    finally:
        setattr(command, name, show)
        for method, original in originals.items():
            setattr(Storage, method, original)


def run_command(study: Path, store: str) -> tuple[Calls, float, str]:
    """Run ``probestore run``; its calls, seconds of CPU, and what it said."""
    cli = import_module("cluster.cli").cli
    with counted() as calls:
        begun = time.process_time()
        done = CliRunner().invoke(cli, ["run", str(study), "--store", store], catch_exceptions=False)
        seconds = time.process_time() - begun
    assert done.exit_code == 0, done.stderr
    return calls, seconds, done.stderr


def report(name: str, calls: Calls, cpu_seconds: float, said: str) -> None:
    """What was counted."""
    assert "Nothing is missing" in said, said
    totals = {part: calls.total(part) for part in ("run", "leaderboard")}
    print(
        f"{name}: {totals['run']:,} calls for the run, {totals['leaderboard']:,} for the leaderboard, "
        f"{sum(totals.values()):,} in all; about {calls.requests.total():,} requests to an object store "
        f"({calls.requests['run']:,} and {calls.requests['leaderboard']:,}); {cpu_seconds:.2f} s of CPU"
    )


def detail(calls: Calls) -> None:
    """By kind of call and by table."""
    print(f"{'part':<13}{'call':<13}{'calls':>7}  tables")
    for part in ("run", "leaderboard"):
        for method in sorted({method for own, method, _ in calls.counts if own == part}):
            tables = {t: n for (p, m, t), n in sorted(calls.counts.items()) if (p, m) == (part, method)}
            listed = ", ".join(f"{table or '(all)'} {count}" for table, count in tables.items())
            print(f"{part:<13}{method:<13}{sum(tables.values()):>7}  {listed}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", type=int, default=50)
    parser.add_argument("--datasets", type=int, default=12)
    parser.add_argument("--images", type=int, default=24, help="of a dataset")
    parser.add_argument("--shard-images", type=int, default=8)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        os.environ["PROBESTORE_CACHE"] = f"{folder}/cache"
        study = write_study(
            Path(folder),
            models=options.models,
            datasets=options.datasets,
            images=options.images,
            shard_images=options.shard_images,
        )
        store = FeatureStore.create(f"{folder}/store")
        fsync, os.fsync = os.fsync, lambda _: None  # nobody minds a power failure while this store is made
        n_cells = Finished(store, read_study(study)).fill()
        os.fsync = fsync
        n_files = sum(len(files) for _, _, files in os.walk(f"{folder}/store"))
        where = Path(sys.modules["cluster"].__file__ or "").parents[1].name
        print(f"{where}: {options.models} models x {options.datasets} datasets, {n_cells} cells, {n_files:,} files")
        report("first", *run_command(study, store.uri))
        second = run_command(study, store.uri)
        report("second", *second)
        report("third", *run_command(study, store.uri))
        detail(second[0])


if __name__ == "__main__":
    main()
