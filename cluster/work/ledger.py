"""What a run wants, does and fails at: as its summary, and as rows of the `cells` and `failures` tables."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from functools import cache
from importlib.metadata import version
from typing import Any

from cluster.reporting.events import Failed, Note, Reporter, RunEnded
from featurestore import FeatureStore
from featurestore.errors import Failure
from featurestore.store.feature_store import rows_table
from featurestore.store.layout import content_key
from probes.cells.results import Cell

_TABLE = "failures"
_PLACE = ("stage", "model", "tap", "dataset", "cell")

# What the machine, the network or the installation is to blame for; it may be otherwise next time.
_PASSING = {
    "ConnectionError",
    "FileNotFoundError",
    "ImportError",
    "MemoryError",
    "MissingFeaturesError",
    "ModuleNotFoundError",
    "OSError",
    "OutOfMemoryError",
    "PermissionError",
    "StoreError",
    "TimeoutError",
    "WorkerDied",
}
_PASSING_WORDS = ("out of memory", "can't allocate memory", "CUDA error")


@dataclass(frozen=True)
class FailedWork:
    """A row of the failure table.

    Attributes
    ----------
    key : str, optional
        Hash of what was tried; None for what is always worth another try.
    before : bool
        Whether it failed in an earlier run, and was not tried in this one.
    """

    stage: str
    model: str | None
    tap: str | None
    dataset: str | None
    cell: str | None
    failure: Failure
    failed_at: datetime
    key: str | None = None
    before: bool = False

    def row(self, study: str) -> dict[str, Any]:
        """As a row of the `failures` table."""
        place = {name: getattr(self, name) for name in _PLACE}
        return {"study": study, **place, **asdict(self.failure), "failed_at": self.failed_at, "key": self.key}

    @classmethod
    def from_row(cls, row: Mapping[str, Any]) -> FailedWork:
        """A row that an earlier run left."""
        failure = Failure(row["error"], row["message"])
        rest = {"failed_at": row["failed_at"], "key": row["key"], "before": True}
        return cls(failure=failure, **{name: row[name] for name in _PLACE}, **rest)

    def event(self) -> Failed:
        """As an event."""
        place = {name: getattr(self, name) for name in _PLACE}
        return Failed(**place, error=self.failure.error, message=self.failure.message, before=self.before)


@dataclass
class Summary:
    """What a run did.

    Attributes
    ----------
    passes : int
        Images x models that went through a network.
    cells : int
        Cells that were fitted.
    cells_wanted : int
        Cells that are asked for, computed now or before.
    failures : list of FailedWork
        Those of this run, and those of earlier ones that were not tried again.
    """

    passes: int = 0
    cells: int = 0
    cells_wanted: int = 0
    unreadable: int = 0
    failures: list[FailedWork] = field(default_factory=list)

    @property
    def n_failed_before(self) -> int:
        """How many of the failures were not tried again."""
        return sum(work.before for work in self.failures)


class Ledger:
    """The books of one run of a study.

    Parameters
    ----------
    study : str
        Name under which its cells and failures are kept.
    store : FeatureStore
    reporter : Reporter
    retry_failed : bool
        Forget what failed in its last run, so that all of it is tried again. Otherwise only that is tried which may end
        otherwise now.
    """

    def __init__(self, study: str, store: FeatureStore, reporter: Reporter, *, retry_failed: bool = False) -> None:
        self.summary = Summary()
        self._begun = time.monotonic()
        self._study = study
        self._store = store
        self._reporter = reporter
        self._before = {} if retry_failed else failures_of(study, store)
        if self._before:
            text = (
                f"{len(self._before)} failed before and are not tried again while nothing that they depend on changes; "
            )
            reporter.tell(Note(f"{text}--retry-failed tries them."))
        self._publish_failures()

    def want(self, cells: Sequence[Cell]) -> None:
        """Say what is wanted before it is there, so that `coverage` can tell what is missing.

        What an earlier run of the study wanted of a model or dataset that cannot be had now is still wanted: a disk
        that is not mounted today makes nothing garbage.
        """
        now = datetime.now(UTC)
        rows = [cell.wanted_row(self._study, now) for cell in cells]
        self._store.publish("cells", self._study, rows_table("cells", [*rows, *self._out_of_reach()]))
        self.summary.cells_wanted = len(rows)

    def _out_of_reach(self) -> list[dict[str, Any]]:
        """Rows of `cells`, of before, of the models and datasets that could not be identified or opened."""
        failed = [work for work in self.summary.failures if work.stage in ("model", "dataset") and not work.key]
        models, datasets = ({getattr(work, kind) for work in failed} - {None} for kind in ("model", "dataset"))
        if not failed or self._study not in self._store.names("cells"):
            return []
        rows = self._store.read_record("cells", self._study).to_pylist()
        return [row for row in rows if row["model"] in models or row["dataset"] in datasets]

    def fail(
        self,
        stage: str,
        error: BaseException | Failure,
        *,
        model: str | None = None,
        tap: str | None = None,
        dataset: str | None = None,
        cell: str | None = None,
        key: str | None = None,
    ) -> None:
        """Record a piece of work that failed; None for a model, tap or dataset means every one.

        Parameters
        ----------
        key : str, optional
            Of `attempt_key`. With it, the work is not tried again by the next run, unless the machine is to blame.
        """
        failure = error if isinstance(error, Failure) else Failure.of(error)
        known_by = None if may_pass(failure) else key
        work = FailedWork(stage, model, tap, dataset, cell, failure, datetime.now(UTC), known_by)
        self.summary.failures.append(work)
        self._publish_failures()
        self._reporter.tell(work.event())

    def remembers(self, key: str) -> bool:
        """Whether what has this key failed in an earlier run, and would again."""
        return key in self._before

    def leave_alone(self, key: str) -> None:
        """Do not try what `remembers` knows, and count it among the failures."""
        work = self._before.pop(key)
        self.summary.failures.append(work)
        self._reporter.tell(work.event())

    def close(self) -> Summary:
        """The run is over: what failed once and is not wanted any more is forgotten."""
        self._before.clear()
        self._publish_failures()
        done = self.summary
        counts = (done.passes, done.cells, done.cells_wanted, done.unreadable, len(done.failures))
        self._reporter.tell(RunEnded(*counts, time.monotonic() - self._begun))
        return done

    def _publish_failures(self) -> None:
        """One file per study: what failed in its last run, and what it has not come to yet."""
        rows = [work.row(self._study) for work in [*self.summary.failures, *self._before.values()]]
        self._store.publish(_TABLE, self._study, rows_table(_TABLE, rows))


def failures_of(study: str, store: FeatureStore) -> dict[str, FailedWork]:
    """By their keys, the failures of a study's last run that are not worth another try."""
    if study not in store.names(_TABLE):
        return {}
    rows = store.read_record(_TABLE, study).to_pylist()
    return {row["key"]: FailedWork.from_row(row) for row in rows if row["key"]}


def attempt_key(*keys: str) -> str:
    """What is tried, by the keys of what it reads or makes, and the code that does it."""
    return content_key({"table": _TABLE, "keys": keys, "code": _versions()})


@cache
def _versions() -> dict[str, str]:
    """Of the code that may have raised: another version may do better."""
    return {name: version(name) for name in ("probestore", "torch", "timm", "torchvision", "scikit-learn")}


def may_pass(failure: Failure) -> bool:
    """Whether the same may go well next time."""
    return failure.error in _PASSING or any(words in failure.message for words in _PASSING_WORDS)
