"""The only loop: it runs what is missing of any kind of work whose inputs exist, until nothing more can be had."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Protocol

from cluster.pool.task_queue import TaskQueue
from cluster.pool.units import Lane
from cluster.reporting.events import Note, Reporter, Retry, StageChanged, StageEnded, StageStarted
from cluster.work.contract import Work
from cluster.work.ledger import Ledger
from cluster.work.second_tries import SecondTries, SecondTry


class Pool(Protocol):
    """A pool of workers, on Ray or in this process."""

    def run(self, lanes: Sequence[Lane], *, note: Callable[[str], None]) -> None:
        """Run all units of the lanes, and those that come while they run."""


def carry_out(works: Sequence[Work], pool: Pool, ledger: Ledger, reporter: Reporter) -> None:
    """Run all that is missing of several kinds of work, side by side. A unit begins as soon as its inputs exist.

    Parameters
    ----------
    works : sequence of Work
        Kinds of work.
    pool : Pool
        Workers. The pool is not touched if nothing is missing.
    ledger : Ledger
        Books of the run, which are published at the end, even after an error.
    reporter : Reporter
        Receiver of the events.
    """
    stages = {work.kind: _Stage(work, reporter) for work in _in_order(works)}
    try:
        for stage in stages.values():
            stage.begin()
        _end_what_is_over(stages)
        live = [stage.lane for stage in stages.values() if not stage.ended]
        for stage in stages.values():
            stage.after_outcome = lambda: _end_what_is_over(stages)
        if live:
            ledger.check_store()
            pool.run(live, note=lambda text: reporter.tell(Note(text)))
        _end_what_is_over(stages)
    finally:
        try:
            for stage in stages.values():
                stage.cut_short()
        finally:
            ledger.publish()


_FEW_PARTS = 1000
_EVERY_SECONDS = 10.0


class _Stage:
    """One kind of work of a run: its lane, and the events about it."""

    def __init__(self, work: Work, reporter: Reporter) -> None:
        self.work = work
        self.ended = False
        self._is_told = False
        self.after_outcome: Callable[[], None] = lambda: None
        self.queue: TaskQueue[Any] = TaskQueue(
            self._missing,
            skip=self._skip,
            split=lambda unit: unit.split_up(),
            fits=lambda attempt, node: self._second_tries.fits(attempt, node),
        )
        self.lane = Lane(work.kind, self.queue, self._outcome, self._retry)
        self.lane.modules, self.lane.soon = work.modules, work.soon
        self._second_tries = SecondTries(self.lane, lambda text: reporter.tell(Note(text)))
        self._reporter = reporter
        self._begun = time.monotonic()
        self._total = self._n_parts = 0
        self._changed_at = self._begun

    def begin(self) -> None:
        self._total = self.work.total
        parts = tuple(self.work.parts())
        self._n_parts = len(parts)
        self._reporter.tell(StageStarted(self.work.kind, self._total, self.work.UNIT, self.work.PIECES, parts))
        self._is_told = True

    def is_over(self, ended: Iterable[str]) -> bool:
        """Whether nothing runs, nothing waits, and every kind of work has ended that could make more possible."""
        if self.lane.running or self.lane.untold or self.queue.n_waiting(1):
            return False
        return set(self.work.AFTER) <= set(ended)

    def end(self) -> None:
        if self._is_told and not self.ended:
            self.ended = True
            self.follow(ended=True)
            self._reporter.tell(StageEnded(self.work.kind, time.monotonic() - self._begun))

    def cut_short(self) -> None:
        """End the stage wherever it is."""
        if self._is_told and not self.ended:
            self.work.cut_short()
            self.end()

    def _missing(self) -> Any:
        yield from self.work.missing()

    def _skip(self, unit: Any) -> bool:
        events = self.work.skip(unit.unit if isinstance(unit, SecondTry) else unit)
        if events is not None:
            self._second_tries.drop(unit)
        for event in events or ():
            self._reporter.tell(event)
        return events is not None

    def _outcome(self, unit: Any, outcome: Any, node: str) -> None:
        told, again = self._second_tries.judge(unit, outcome, node)
        for second in again:
            self.queue.put(second)
        for part, its_own in told:
            for event in self.work.told(part, its_own, node):
                self._reporter.tell(event)
        self.after_outcome()

    def _retry(self, unit: Any, reason: str, node: str) -> None:
        self._reporter.tell(Retry(self.work.kind, str(unit), reason, node))

    def follow(self, *, ended: bool = False) -> None:
        """Let the work take note of the others, and tell the reporter if there is more or less to do than before.

        That names all parts. Where there are many, it waits ten seconds, so that each of thousands of failures costs
        the same as in a small study.
        """
        self.work.follow()
        waited = time.monotonic() - self._changed_at
        if self.work.total != self._total and (ended or self._n_parts <= _FEW_PARTS or waited >= _EVERY_SECONDS):
            self._total, self._changed_at = self.work.total, time.monotonic()
            parts = tuple(self.work.parts())
            self._n_parts = len(parts)
            self._reporter.tell(StageChanged(self.work.kind, self._total, parts))


def _end_what_is_over(stages: dict[str, _Stage]) -> None:
    """End the stages that are over, each after those that it waits for. Report the totals of the others anew."""
    ended = {kind for kind in stages if stages[kind].ended}
    absent = {kind for stage in stages.values() for kind in stage.work.AFTER if kind not in stages}
    for kind, stage in stages.items():
        if not stage.ended and stage.is_over(ended | absent):
            stage.work.end()
            stage.end()
            ended.add(kind)
        elif not stage.ended:
            stage.follow()


def _in_order(works: Sequence[Work]) -> list[Work]:
    """Return works so that each comes after those that it waits for, and otherwise in their order."""
    left, ordered = list(works), []
    while left:
        kinds = {work.kind for work in left}
        first = next(work for work in left if not kinds.intersection(work.AFTER))
        left.remove(first)
        ordered.append(first)
    return ordered
