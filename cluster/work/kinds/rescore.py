"""Metrics that results lack, computed from stored predictions. Nothing is fitted again.

rescore_done: model, tap, dataset, cells, rows, seconds, node, failed
    So many `cells` of a model on a dataset have the metrics that they lacked, in so many new `rows`. `failed` is true
    or false.
"""

from __future__ import annotations

import time
from collections import defaultdict, deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

from cluster.pool.units import Divided, Hands, Subject, Suspect, may_be_the_nodes, suspected_whole
from cluster.reporting.events import Event, Part, Piece, UnitDone
from cluster.work.contract import Outcome, Run, StoreAddress, Work
from cluster.work.ledger import attempt_key
from cluster.work.pairs import Place
from featurestore import FeatureStore
from featurestore.errors import Failure

_KIND = "rescore"
_MOST_CELLS_AT_ONCE = 64


@dataclass(frozen=True)
class RescoreDone(UnitDone):
    """Cells of a model on a dataset have the metrics that they lacked."""

    stage: ClassVar[str] = _KIND

    model: str
    tap: str
    dataset: str
    cells: int
    rows: int
    seconds: float
    node: str
    failed: bool = False

    @property
    def amount(self) -> int:
        """Number of cells."""
        return self.cells

    @property
    def worker(self) -> tuple[str, float]:
        """Node that scored the cells, and seconds that its worker took."""
        return self.node, self.seconds

    def made(self) -> Iterator[Piece]:
        """Return a piece for each cell, unless the unit failed."""
        if not self.failed:
            yield from (Piece((self.model, self.tap, self.dataset, None)) for _ in range(self.cells))


@dataclass(frozen=True)
class Rescored:
    """Report of a cell.

    Attributes
    ----------
    rows : int
        Number of rows that were added.
    """

    cell: str
    rows: int = 0
    seconds: float = 0.0
    failure: Failure | None = None


@dataclass(frozen=True)
class RescoreUnit:
    """Cells of a model on a dataset, each with the metrics that it lacks."""

    store: StoreAddress
    place: Place
    cells: tuple[tuple[str, tuple[str, ...]], ...]

    @property
    def amount(self) -> int:
        """Number of cells."""
        return len(self.cells)

    def run(self, hands: Hands) -> list[Rescored]:
        """Add the metrics. A cell that raises is reported, and the others go on."""
        store = self.store.open(hands)
        return [_rescored(store, cell, lacking) for cell, lacking in self.cells]

    def split_up(self) -> Sequence[RescoreUnit]:
        """Return one unit for each cell."""
        return [RescoreUnit(self.store, self.place, (cell,)) for cell in self.cells]

    @property
    def subjects(self) -> list[Subject]:
        """The metrics of the dataset."""
        return [Subject("metrics", f"of {self.place[2]}")]

    def divided(self, outcome: Outcome) -> Divided:
        """Tell the cells that failed from the others."""
        if isinstance(outcome, Failure):
            return suspected_whole(self, outcome, self.subjects[0])
        pairs = list(zip(self.cells, outcome, strict=True))
        failed = [pair for pair in pairs if may_be_the_nodes(pair[1].failure)]
        rest = [pair for pair in pairs if pair not in failed]
        held = (self._of(rest), [report for _, report in rest]) if rest else None
        return held, [_suspect(self._of(failed), [report for _, report in failed])] if failed else []

    def _of(self, pairs: Sequence[tuple[tuple[str, tuple[str, ...]], Rescored]]) -> RescoreUnit:
        return replace(self, cells=tuple(cell for cell, _ in pairs))

    def __str__(self) -> str:
        return f"metrics of {self.place[0]} on {self.place[2]}"


def _suspect(unit: RescoreUnit, reports: Sequence[Rescored]) -> Suspect:
    def outcome(change: Callable[[Failure], Failure]) -> list[Rescored]:
        return [replace(report, failure=change(report.failure)) for report in reports if report.failure]

    first = reports[0].failure
    assert first is not None
    return Suspect(unit, unit.subjects[0], first, outcome)


def _rescored(store: FeatureStore, cell: str, lacking: tuple[str, ...]) -> Rescored:
    from probes.cells.rescore import rescore_cell

    begin = time.perf_counter()
    try:
        rows = rescore_cell(store, cell, lacking)
    except Exception as error:  # whatever a metric raises is the failure of its cell, not that of the others
        return Rescored(cell, failure=Failure.of(error))
    return Rescored(cell, rows, time.perf_counter() - begin)


def of_study(run: Run) -> None:
    """Return nothing, because results are scored again only if the command `rescore` asks for it."""


class Rescore(Work):
    """Metrics that the results of a store lack.

    Parameters
    ----------
    run : Run
    rows : iterable of mapping
        Cells whose predictions are stored: ``cell``, ``model``, ``tap``, ``dataset`` and ``lacking`` (metrics to add).
    """

    UNIT = "cells"
    PIECES = "cells"

    def __init__(self, run: Run, rows: Iterable[Mapping[str, Any]]) -> None:
        self._run = run
        self._cells: defaultdict[Place, int] = defaultdict(int)
        self._lacking: defaultdict[Place, dict[str, tuple[str, ...]]] = defaultdict(dict)
        for row in rows:
            place = (row["model"], row["tap"], row["dataset"])
            self._cells[place] += 1
            if row["lacking"]:
                self._lacking[place][row["cell"]] = tuple(row["lacking"])
        self._units = deque(self._make_units())
        self._total = sum(unit.amount for unit in self._units)

    @property
    def total(self) -> int:
        """Number of cells that this run is to score, whether they are done or not."""
        return self._total

    def parts(self) -> Iterator[Part]:
        """Return how many cells each model has on each dataset, and how many of them have all metrics."""
        for place, count in self._cells.items():
            yield Part(*place, None, count, count - len(self._lacking[place]))

    def missing(self) -> Iterator[RescoreUnit]:
        """Return the cells that lack metrics."""
        while self._units:
            yield self._units.popleft()

    def told(self, unit: RescoreUnit, outcome: Outcome, node: str) -> Iterator[Event]:
        """Take note of cells that are over."""
        model, tap, dataset = unit.place
        failure = outcome if isinstance(outcome, Failure) else None
        reports = [Rescored(cell, failure=failure) for cell, _ in unit.cells] if failure else outcome
        counts = self._run.ledger.summary.counts
        for (cell, lacking), report in zip(unit.cells, reports, strict=True):
            if report.failure:
                place = {"model": model, "tap": tap, "dataset": dataset, "cell": cell}
                self._run.ledger.fail(_KIND, report.failure, **place, key=_key(cell, lacking), kind=_KIND)
            else:
                self._lacking[unit.place].pop(cell, None)
                counts["rescored"] += report.rows > 0
                counts["rows"] += report.rows
        done = [report for report in reports if not report.failure]
        for some, failed in ((done, False), ([report for report in reports if report.failure], True)):
            if some:
                rows, seconds = sum(report.rows for report in some), sum(report.seconds for report in some)
                yield RescoreDone(model, tap, dataset, len(some), rows, seconds, node, failed=failed)

    def _make_units(self) -> Iterator[RescoreUnit]:
        for place, cells in self._lacking.items():
            chosen = []
            for cell, lacking in cells.items():
                if self._run.ledger.remembers(key := _key(cell, lacking)):
                    self._run.ledger.leave_alone(key, kind=_KIND)
                else:
                    chosen.append((cell, lacking))
            for start in range(0, len(chosen), _MOST_CELLS_AT_ONCE):
                yield RescoreUnit(self._run.address, place, tuple(chosen[start : start + _MOST_CELLS_AT_ONCE]))


def _key(cell: str, metrics: Iterable[str]) -> str:
    """Return the key of the attempt."""
    return attempt_key(_KIND, cell, *metrics)
