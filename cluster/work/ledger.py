"""The books of a run: its summary, and the rows of the tables `cells` and `failures`."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import cache
from importlib.metadata import version
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from cluster.reporting.events import Failed, Note, Reporter, RunEnded
from featurestore import FeatureStore
from featurestore.errors import Failure
from featurestore.plain_text import counted
from featurestore.store import schema
from featurestore.store.feature_store import rows_table
from featurestore.store.layout import content_key
from featurestore.store.wishes import put_wishes, wishes_of, without
from probes.cells.results import Cell, wanted_rows

_TABLE = "failures"
_PLACE = ("stage", "model", "tap", "dataset", "cell")

_EVERY_SECONDS = 10.0
_GROWN_BY = 1.25  # so that a failure costs the same when thousands have gone before: each row is written five times
_AT_THE_LATEST_SECONDS = 300.0  # or a quarter of the time that the run has taken, which is more from 20 minutes on


@dataclass(frozen=True)
class FailedWork:
    """A row of the failure table.

    Attributes
    ----------
    key : str, optional
        Hash of what was tried; None for work that is always worth another try.
    before : bool
        Whether the work failed in an earlier run, and was not tried in this one.
    kind : str, optional
        Kind of work that it belongs to; None for a model or a dataset that cannot be used at all.
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
        """Return the row of the table `failures`."""
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
        """Return the failure that a row of an earlier run describes."""
        failure = Failure(row["error"], row["message"])
        rest = {"failed_at": row["failed_at"], "key": row["key"], "before": True}
        return cls(failure=failure, **{name: row[name] for name in _PLACE}, **rest)

    def event(self) -> Failed:
        """Return the event of the failure."""
        place = {name: getattr(self, name) for name in _PLACE}
        return Failed(
            **place, error=self.failure.error, message=self.failure.message, before=self.before, kind=self.kind
        )


@dataclass
class Summary:
    """The summary of a run.

    Attributes
    ----------
    counts : Counter of str
        Counts by the names that kinds of work give: ``passes`` (images x models that went through a network), ``cells``
        (that were fitted), ``cells_wanted`` (there or missing), ``unreadable`` (images), ...
    failures : list of FailedWork
        Failures of this run, and of earlier runs if the work was not tried again.
    nothing_usable : bool
        Whether no model or no dataset could be used, so that nothing could be computed at all.
    """

    counts: Counter[str] = field(default_factory=Counter)
    failures: list[FailedWork] = field(default_factory=list)
    nothing_usable: bool = False

    @property
    def n_failed_before(self) -> int:
        """Number of failures of earlier runs whose work was not tried again."""
        return sum(work.before for work in self.failures)

    @property
    def exit_code(self) -> int:
        """0 if everything is done, 1 if something failed and the rest is stored, 2 if nothing could be computed."""
        if self.nothing_usable:
            return 2
        return 1 if self.failures else 0


class Ledger:
    """The books of one run.

    Parameters
    ----------
    study : str
        Name under which its cells and failures are kept.
    store : FeatureStore, optional
        Store in which they are recorded; None for a plan, which records nothing.
    reporter : Reporter
        Receiver of the events.
    before : mapping of str to FailedWork
        Work that failed in earlier runs and would fail again, by its key, as `failures_of` returns it.
    study_file : str, optional
        What its cells are wanted by, as `Study.file` has it.
    wishes : Table, optional
        What earlier runs of the study wanted, as `wishes_of` returns it; by default it is read when it is needed.

    Attributes
    ----------
    wanted : Table
        Rows of `cells` that this run wants as far as it knows, without those that are out of reach.
    """

    def __init__(
        self,
        study: str,
        store: FeatureStore | None,
        reporter: Reporter,
        before: Mapping[str, FailedWork] | None = None,
        *,
        study_file: str | None = None,
        wishes: pa.Table | None = None,
    ) -> None:
        self.summary = Summary()
        self._begun = time.monotonic()
        self._study = study
        self._store = store
        self._reporter = reporter
        self._before = dict(before or {})
        self._study_file = study_file
        self._wishes = wishes
        self.wanted = rows_table("cells", [])
        self._published: pa.Table | None = None
        self._published_at = -_AT_THE_LATEST_SECONDS
        if self._before and store:
            known = counted(len(self._before), "failure")
            text = (
                f"{known} of an earlier run: such work is tried again only where something that it depends on changed."
            )
            reporter.tell(Note(f"{text} --retry-failed tries it in any case."))

    def check_store(self) -> None:
        """Try, before there is work, what the run will need of its store, and tell what was found out about it.

        Raises
        ------
        StoreError
            If something does not work.
        """
        if self._store:
            self._store.storage.check_usable()
            for remark in self._store.storage.remarks:
                self._reporter.tell(Note(remark))

    @property
    def made(self) -> set[str]:
        """Keys of the cells that had results when an earlier run of the study ended, as far as it is known here."""
        rows = schema.CELLS.empty_table() if self._wishes is None else self._wishes
        return set(rows.filter(pc.fill_null(rows["made"], False))["cell"].to_pylist())

    def want(self, cells: Sequence[Cell], *, there: Collection[str] = (), ended: bool = False) -> None:
        """Record the wanted cells before they are there, so that `coverage` can tell what is missing.

        Cells that an earlier run of the study wanted stay wanted if their model or dataset cannot be used now: a disk
        that is not mounted today makes nothing garbage.

        Parameters
        ----------
        cells : sequence of Cell
        there : collection of str
            Keys of cells that have results: from now on these are missed if they are gone.
        ended : bool
            Whether all has been tried. Before, what an earlier run had made is still missed.
        """
        self.summary.counts["cells_wanted"] = len(cells)
        if self._wishes is None and self._store:
            self._wishes = wishes_of(self._store, self._study)
        former = schema.CELLS.empty_table() if self._wishes is None else self._wishes
        known, otherwise = set(there) | (set() if ended else self.made), False if ended else None
        made = [cell.key in known or otherwise for cell in cells]
        self.wanted = wanted_rows(cells, self._study, datetime.now(UTC), self._study_file, made=made)
        if self._store:
            self._wishes = self.wishes_now(former)
            put_wishes(self._store, self._study, self._wishes, former=former)

    def wishes_now(self, former: pa.Table) -> pa.Table:
        """Return the rows of `cells` that the study has now.

        These are the wanted ones, and of the former those whose model or dataset could not be identified or opened.
        """
        failed = [work for work in self.summary.failures if work.stage in ("model", "dataset") and not work.key]
        models, datasets = (
            pc.is_in(former[kind], pa.array({getattr(work, kind) for work in failed} - {None}, pa.string()))
            for kind in ("model", "dataset")
        )
        rows = without(former.filter(pc.or_(models, datasets)), self.wanted)
        if self._study_file:
            files = pa.array([self._study_file] * rows.num_rows, pa.string())
            rows = rows.set_column(rows.column_names.index("study_file"), "study_file", files)
        return pa.concat_tables([self.wanted, rows])

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
        """Record a piece of work that failed.

        The table `failures` is published again when ten seconds have passed and there are a quarter more than it has,
        or five minutes and a quarter of the run have passed, and at its end. A run that is killed has lost what came
        later, and such work is tried again.

        Parameters
        ----------
        stage : str
            Name of the stage in the table `failures`.
        error : exception or Failure
            The reason.
        model, tap, dataset, cell : str, optional
            Place of the work; None stands for all.
        key : str, optional
            Key from `attempt_key`. With it, the next run does not try the work again, unless the machine is to blame.
        kind : str, optional
            Kind of work that it belongs to.
        """
        failure = error if isinstance(error, Failure) else Failure.of(error)
        known_by = None if failure.passing else key
        work = FailedWork(stage, model, tap, dataset, cell, failure, datetime.now(UTC), known_by, kind=kind)
        self.summary.failures.append(work)
        self._reporter.tell(work.event())
        if self._is_due():
            self.publish()

    def remembers(self, key: str) -> FailedWork | None:
        """Return the work with this key, if it failed in an earlier run and would fail again."""
        return self._before.get(key)

    def leave_alone(self, key: str, *, kind: str) -> None:
        """Count work that `remembers` knows among the failures, because it is not tried again."""
        if work := self._before.pop(key, None):
            known = replace(work, kind=kind)
            self.summary.failures.append(known)
            self._reporter.tell(known.event())

    def publish(self) -> None:
        """Bring the table `failures` up to date: failures of this run, and earlier ones that it has not come to yet."""
        works = [*self.summary.failures, *self._before.values()]
        rows = rows_table(_TABLE, [work.row(self._study) for work in works])
        if self._store and rows != (self._stored(self._store) if self._published is None else self._published):
            self._store.publish(_TABLE, self._study, rows)
        self._published, self._published_at = rows, time.monotonic()

    def _is_due(self) -> bool:
        now = time.monotonic()
        waited = now - self._published_at
        if self._published is None or waited >= max(_AT_THE_LATEST_SECONDS, (_GROWN_BY - 1) * (now - self._begun)):
            return True
        known = len(self.summary.failures) + len(self._before)
        return waited >= _EVERY_SECONDS and known >= _GROWN_BY * len(self._published)

    def close(self) -> Summary:
        """End the run. Earlier failures of work that is not wanted any more are forgotten."""
        self._before.clear()
        self.publish()
        done = self.summary
        self._reporter.tell(RunEnded(dict(done.counts), len(done.failures), time.monotonic() - self._begun))
        return done

    def _stored(self, store: FeatureStore) -> pa.Table:
        if not store.has_record(_TABLE, self._study):
            return rows_table(_TABLE, [])
        return store.read_record(_TABLE, self._study)


def failures_of(study: str, store: FeatureStore) -> dict[str, FailedWork]:
    """Return the failures of a study's last run that are not worth another try, by their keys."""
    if not store.has_record(_TABLE, study):
        return {}
    rows = store.read_record(_TABLE, study).to_pylist()
    return {row["key"]: FailedWork.from_row(row) for row in rows if row["key"]}


def attempt_key(*keys: str) -> str:
    """Return the key of an attempt: a hash of the keys of what it reads or makes, and of the versions of the code."""
    return content_key({"table": _TABLE, "keys": keys, "code": _versions()})


@cache
def _versions() -> dict[str, str]:
    """Return the versions of the code that may have raised, because another version may succeed."""
    return {name: version(name) for name in ("probestore", "torch", "timm", "torchvision", "scikit-learn")}
