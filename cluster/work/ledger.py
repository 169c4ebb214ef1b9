"""The books of a run: its summary, and the rows of the tables `cells` and `failures`."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
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

_EVERY_SECONDS = 10.0


@dataclass(frozen=True)
class FailedWork:
    """A row of the failure table.

    Attributes
    ----------
    key : str, optional
        Hash of what was tried; None for what is always worth another try.
    before : bool
        Whether it failed in an earlier run, and was not tried in this one.
    kind : str, optional
        The kind of work that it belongs to; None for a model or a dataset that cannot be used at all.
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
    kind: str | None = None

    def row(self, study: str) -> dict[str, Any]:
        """As a row of the `failures` table."""
        place = {name: getattr(self, name) for name in _PLACE}
        return {
            "study": study,
            **place,
            "error": self.failure.error,
            "message": self.failure.message,
            "failed_at": self.failed_at,
            "key": self.key,
        }

    @classmethod
    def from_row(cls, row: Mapping[str, Any]) -> FailedWork:
        """A row that an earlier run left."""
        failure = Failure(row["error"], row["message"])
        rest = {"failed_at": row["failed_at"], "key": row["key"], "before": True}
        return cls(failure=failure, **{name: row[name] for name in _PLACE}, **rest)

    def event(self) -> Failed:
        """As an event."""
        place = {name: getattr(self, name) for name in _PLACE}
        return Failed(
            **place, error=self.failure.error, message=self.failure.message, before=self.before, kind=self.kind
        )


@dataclass
class Summary:
    """What a run did.

    Attributes
    ----------
    counts : Counter of str
        By the names that the kinds of work give: ``passes`` (images x models that went through a network), ``cells``
        (that were fitted), ``cells_wanted`` (computed now or before), ``unreadable`` (images), ...
    failures : list of FailedWork
        Those of this run, and those of earlier ones that were not tried again.
    """

    counts: Counter[str] = field(default_factory=Counter)
    failures: list[FailedWork] = field(default_factory=list)

    @property
    def n_failed_before(self) -> int:
        """How many of the failures were not tried again."""
        return sum(work.before for work in self.failures)


class Ledger:
    """The books of one run.

    Parameters
    ----------
    study : str
        Name under which its cells and failures are kept.
    store : FeatureStore, optional
        None for a plan: nothing is recorded.
    reporter : Reporter
    before : mapping of str to FailedWork
        What failed in earlier runs and would again, by its key; see `failures_of`.
    """

    def __init__(
        self, study: str, store: FeatureStore | None, reporter: Reporter, before: Mapping[str, FailedWork] | None = None
    ) -> None:
        self.summary = Summary()
        self._begun = time.monotonic()
        self._study = study
        self._store = store
        self._reporter = reporter
        self._before = dict(before or {})
        self._published: Sequence[Mapping[str, Any]] | None = None
        self._published_at = -_EVERY_SECONDS
        if self._before and store:
            text = (
                f"{len(self._before)} failed before and are not tried again while nothing that they depend on changes; "
            )
            reporter.tell(Note(f"{text}--retry-failed tries them."))

    def want(self, cells: Sequence[Cell]) -> None:
        """Record what is wanted before it is there, so that `coverage` can tell what is missing.

        What an earlier run of the study wanted of a model or dataset that cannot be had now is still wanted: a disk
        that is not mounted today makes nothing garbage.
        """
        self.summary.counts["cells_wanted"] = len(cells)
        if self._store:
            now = datetime.now(UTC)
            rows = [cell.wanted_row(self._study, now) for cell in cells]
            table = rows_table("cells", [*rows, *self._out_of_reach(self._store)])
            self._store.publish("cells", self._study, table)

    def _out_of_reach(self, store: FeatureStore) -> list[dict[str, Any]]:
        """Rows of `cells`, of before, of the models and datasets that could not be identified or opened."""
        failed = [work for work in self.summary.failures if work.stage in ("model", "dataset") and not work.key]
        models, datasets = ({getattr(work, kind) for work in failed} - {None} for kind in ("model", "dataset"))
        if not failed or not store.has_record("cells", self._study):
            return []
        rows = store.read_record("cells", self._study).to_pylist()
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
        kind: str | None = None,
    ) -> None:
        """Record a piece of work that failed; None for a model, tap or dataset means every one.

        Parameters
        ----------
        stage : str
            As it stands in the table `failures`.
        key : str, optional
            Of `attempt_key`. With it, the work is not tried again by the next run, unless the machine is to blame.
        kind : str, optional
            The kind of work that it belongs to.
        """
        failure = error if isinstance(error, Failure) else Failure.of(error)
        known_by = None if failure.passing else key
        work = FailedWork(stage, model, tap, dataset, cell, failure, datetime.now(UTC), known_by, kind=kind)
        self.summary.failures.append(work)
        self._reporter.tell(work.event())
        if time.monotonic() - self._published_at >= _EVERY_SECONDS:
            self.publish()

    def remembers(self, key: str) -> FailedWork | None:
        """Return what failed in an earlier run and would again, if it has this key."""
        return self._before.get(key)

    def leave_alone(self, key: str, *, kind: str) -> None:
        """Do not try what `remembers` knows, and count it among the failures."""
        if work := self._before.pop(key, None):
            known = replace(work, kind=kind)
            self.summary.failures.append(known)
            self._reporter.tell(known.event())

    def publish(self) -> None:
        """Bring the table `failures` up to date: one file per study, of its last run and what that has not come to."""
        rows = [work.row(self._study) for work in [*self.summary.failures, *self._before.values()]]
        if self._store and rows != (self._published if self._published is not None else self._stored(self._store)):
            self._store.publish(_TABLE, self._study, rows_table(_TABLE, rows))
        self._published, self._published_at = rows, time.monotonic()

    def close(self) -> Summary:
        """End the run: what failed once and is not wanted any more is forgotten."""
        self._before.clear()
        self.publish()
        done = self.summary
        self._reporter.tell(RunEnded(dict(done.counts), len(done.failures), time.monotonic() - self._begun))
        return done

    def _stored(self, store: FeatureStore) -> Sequence[Mapping[str, Any]]:
        if not store.has_record(_TABLE, self._study):
            return []
        rows: list[dict[str, Any]] = store.read_record(_TABLE, self._study).to_pylist()
        return rows


def failures_of(study: str, store: FeatureStore) -> dict[str, FailedWork]:
    """By their keys, the failures of a study's last run that are not worth another try."""
    if not store.has_record(_TABLE, study):
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
