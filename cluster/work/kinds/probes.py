"""Cells that a store lacks, fitted on stored features. Those of a pair begin as soon as its features are there.

cell_done: cell, model, tap, dataset, probe, seconds, node, failed
    A cell is over. `failed` is true or false.
"""

from __future__ import annotations

import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import groupby, product
from typing import ClassVar

from cluster.pool.units import Divided, Hands, Subject, Suspect, may_be_the_nodes, suspected_whole
from cluster.reporting.events import Event, Note, Part, Piece, UnitDone
from cluster.study.probe_settings import ProbeSettings
from cluster.work.contract import Cost, Outcome, Run, StoreAddress, Work
from cluster.work.former_choices import former_choices
from cluster.work.ledger import FailedWork, attempt_key
from cluster.work.pairs import Pair, Place
from cluster.work.unsound_cells import UnsoundCells
from featurestore.errors import Failure
from featurestore.networks.taps import CLASSIFIER_INPUTS
from featurestore.plain_text import counted
from featurestore.store.layout import PENULTIMATE
from probes import methods
from probes.cells.results import Cell
from probes.cells.run import CellReport

_KIND = "probes"
_FORMER = "an older version chose the strongest of several values that were equally good on the validation images"
_STAY = "Their former results will stay in the table superseded_results and count in no answer."
_REST = 10  # so many times as long as it took to record what is wanted, before that is recorded again
_STAGE = "probe"  # as the table `failures` has called it from the beginning


@dataclass(frozen=True)
class CellDone(UnitDone):
    """A cell is over."""

    stage: ClassVar[str] = _KIND

    cell: str
    model: str
    tap: str
    dataset: str
    probe: str
    seconds: float
    node: str
    failed: bool = False

    @property
    def amount(self) -> int:
        """One cell."""
        return 1

    @property
    def worker(self) -> tuple[str, float]:
        """Node that fitted the cell, and seconds that its worker took."""
        return self.node, self.seconds

    def made(self) -> Iterator[Piece]:
        """Return a piece, unless the cell failed."""
        if not self.failed:
            yield Piece((self.model, self.tap, self.dataset, None))


@dataclass(frozen=True)
class CellsUnit:
    """Missing cells of one pair and one probe: small enough to spread, large enough to read the features once."""

    store: StoreAddress
    cells: tuple[Cell, ...]
    n_classes: int
    former: frozenset[str] = frozenset()  # cells in whose place a former result is

    @property
    def amount(self) -> int:
        """Number of cells."""
        return len(self.cells)

    def run(self, hands: Hands) -> Sequence[CellReport]:
        """Fit, score and publish the cells. No network and no image is needed."""
        from featurestore.store.matrices import MatrixCache
        from probes.cells.run import run_cells

        store, matrices = self.store.open(hands), MatrixCache.default()
        return run_cells(
            store,
            self.cells,
            n_classes=self.n_classes,
            device=hands.device,
            matrices=matrices,
            former=self.former,
        )

    def split_up(self) -> Sequence[CellsUnit]:
        """Return the unit itself, because its cells belong together."""
        return [self]

    @property
    def subjects(self) -> list[Subject]:
        """The probe and the features."""
        first = self.cells[0]
        return [Subject("probe", first.probe), Subject("features", f"of {first.model} on {first.dataset}")]

    def divided(self, outcome: Outcome) -> Divided:
        """Tell the cells that failed from the others. What fails as a whole is laid to the features."""
        probe, features = self.subjects
        if isinstance(outcome, Failure):
            return suspected_whole(self, outcome, features)
        failed = {report.cell: report for report in outcome if may_be_the_nodes(report.failure)}
        rest = [report for report in outcome if report.cell not in failed]
        held = (self._of(report.cell for report in rest), rest) if rest else None
        return held, [_suspect(self._of(failed), probe, list(failed.values()))] if failed else []

    def _of(self, keys: Iterable[str]) -> CellsUnit:
        wanted = set(keys)
        return replace(self, cells=tuple(cell for cell in self.cells if cell.key in wanted))

    def __str__(self) -> str:
        first = self.cells[0]
        return f"{first.probe} of {first.model} on {first.dataset}"


def _suspect(unit: CellsUnit, probe: Subject, reports: Sequence[CellReport]) -> Suspect:
    def outcome(change: Callable[[Failure], Failure]) -> list[CellReport]:
        return [replace(report, failure=change(report.failure)) for report in reports if report.failure]

    first = reports[0].failure
    assert first is not None
    return Suspect(unit, probe, first, outcome)


def of_study(run: Run) -> Probes | None:
    """Return the probes that the study of a run wants."""
    return Probes(run, run.study.probe) if run.study else None


class Probes(Work):
    """Cells that probe settings want of every pair of a run."""

    UNIT = "cells"
    PIECES = "cells"
    AFTER = ("features",)

    def __init__(self, run: Run, settings: ProbeSettings) -> None:
        self._run = run
        self._settings = settings
        self._cells: dict[Place, list[Cell]] = {}
        self._problems: dict[str, FailedWork] = {}  # cell -> why it is not tried again
        self._open: dict[Place, int] = {}  # cells that this run is to do
        self._total = 0  # of all places
        self._recorded: tuple[list[str], set[str], bool] = ([], set(), False)  # cells, those there, whether some fail
        self._units: deque[CellsUnit] = deque()
        self._notes: deque[str] = deque()
        self._said: set[str] = set()
        self._read = 0
        self._begun: set[Place] = set()
        self._handed: set[str] = set()  # cells
        self._without: dict[str, set[Place]] = {}  # model_key -> pairs that were begun without a classifier
        self._is_begun = False
        self._is_stale = False  # whether cells are wanted that are not recorded yet
        self._wanted_at = self._wanting_took = 0.0
        self._former = former_choices(run.store) if run.store else set()  # cells that are fitted again
        self._unsound = UnsoundCells(run.store, run.inventory, run.ledger.made)  # so are these
        self._again: set[str] = set()  # cells whose fitting again was said
        self._unsaid: dict[Place, None] = {}  # pairs whose cells were looked at since
        self.follow()
        self._want()
        self._is_begun = True

    @property
    def total(self) -> int:
        """Number of cells that this run is to do, whether they are done or not."""
        return self._total

    def parts(self) -> Iterator[Part]:
        """Return how many cells are wanted of every pair, and how many are there."""
        for (model, tap, dataset), cells in self._cells.items():
            yield Part(model, tap, dataset, None, len(cells), len(cells) - len(self._missing_of(cells)))

    def cost(self, part: Part) -> Cost:
        """Return the number of missing cells of a part, and the time that cells like them took."""
        missing = self._missing_of(self._cells[part.model, part.tap, part.dataset])
        few = [cell.n_per_class is not None for cell in missing]
        times = [
            self._run.rates.cell_seconds(cell.probe, fewer, cell.dataset)
            for cell, fewer in zip(missing, few, strict=True)
        ]
        known = [seconds for seconds in times if seconds is not None]
        return Cost(
            amount=len(missing),
            seconds=sum(known) if len(known) == len(times) else None,
            problems=tuple(self._problems[cell.key].failure.message for cell in missing if cell.key in self._problems),
        )

    def again(self) -> Iterator[str]:
        """Return sentences about cells that are fitted again although they have results."""
        places, self._unsaid = self._unsaid, {}
        wanted = {cell.key for place in places for cell in self._cells[place]} - self._again
        reasons = dict.fromkeys(wanted & self._former, f", where {_FORMER}. {_STAY}")
        if wanted:
            reasons |= {cell: f", {why}." for cell, why in self._unsound.why.items() if cell in wanted}
        self._again.update(reasons)
        for why, count in sorted(Counter(reasons.values()).items()):
            yield f"To fit again: {counted(count, 'cell')}{why}"

    def missing(self) -> Iterator[CellsUnit]:
        """Return the cells of the pairs whose features are complete, probe by probe."""
        self.follow()
        self._say(self.again())
        while self._notes:
            self._run.tell(Note(self._notes.popleft()))
        while self._units:
            yield self._units.popleft()

    def told(self, unit: CellsUnit, outcome: Outcome, node: str) -> Iterator[Event]:
        """Take note of cells that are over."""
        failure = outcome if isinstance(outcome, Failure) else None
        reports = {} if failure else {report.cell: report for report in outcome}
        for cell in unit.cells:
            report = CellReport(cell.key, 0.0, failure) if failure else reports[cell.key]
            place = {"model": cell.model, "tap": cell.tap, "dataset": cell.dataset, "cell": cell.key}
            if report.failure:
                self._run.ledger.fail(_STAGE, report.failure, **place, key=attempt_key(cell.key), kind=_KIND)
            else:
                self._run.ledger.summary.counts["cells"] += 1
                self._run.inventory.recorded("results", cell.key)
                self._former.discard(cell.key)
                self._unsound.settle(cell.key)
            failed = report.failure is not None
            yield CellDone(**place, probe=cell.probe, seconds=report.seconds, node=node, failed=failed)

    def end(self) -> None:
        """Record the wanted cells as they are known at the end, and which of them are there."""
        self._want(ended=True)

    def cut_short(self) -> None:
        """Record the same where the run ends before its time."""
        self._want()

    # ---- what is wanted ----------------------------------------------------------------------------------------

    def follow(self) -> None:
        """Take note of pairs that have changed since the last call."""
        changes = self._run.pairs.changes
        news = dict.fromkeys(changes[self._read :])
        self._read = len(changes)
        former = {place: self._cells.get(place) for place in news}
        for place in news:
            self._look_at(self._run.pairs[place])
        others = (cells and cells[0].features != self._run.pairs[place].features for place, cells in former.items())
        self._is_stale = self._is_stale or any(others)
        if self._is_stale and time.monotonic() - self._wanted_at >= _REST * self._wanting_took:
            self._want()  # long before features that no wanted cell reads are old enough for `gc`

    def _look_at(self, pair: Pair) -> None:
        """Find the cells of a pair. That ends when they are handed out; before, its features may get other keys."""
        if pair.place in self._begun:
            return
        self._say(few_images(pair, self._settings))
        there, lost = self._run.pairs.is_there(pair.place), self._run.pairs.is_lost(pair.place)
        classifier = pair.tap in CLASSIFIER_INPUTS and (not there or lost or self._has_classifier(pair))
        cells = self._cells[pair.place] = cells_of(pair, self._settings, classifier=classifier)
        self._unsound.judge(cells, complete=there)
        self._unsaid[pair.place] = None
        missing = self._missing_of(cells)
        self._problems |= {
            cell.key: known for cell in missing if (known := self._run.ledger.remembers(attempt_key(cell.key)))
        }
        open_cells = [cell for cell in missing if cell.key not in self._problems]
        count = 0 if lost else len(open_cells)
        self._total += count - self._open.get(pair.place, 0)
        self._open[pair.place] = count
        if there and not lost:
            self._begin(pair, missing, open_cells, classifier=classifier)

    def _begin(self, pair: Pair, missing: Iterable[Cell], open_cells: Iterable[Cell], *, classifier: bool) -> None:
        self._begun.add(pair.place)
        if not classifier:
            self._without.setdefault(pair.model_key, set()).add(pair.place)
        for cell in missing:
            if cell.key in self._problems:
                self._run.ledger.leave_alone(attempt_key(cell.key), kind=_KIND)
        new = [cell for cell in open_cells if cell.key not in self._handed]
        self._handed.update(cell.key for cell in new)
        for _, group in groupby(new, key=lambda cell: cell.probe):
            own = tuple(group)
            former = self._former.intersection(cell.key for cell in own)
            self._units.append(CellsUnit(self._run.address, own, pair.n_classes, frozenset(former)))
        self._say(left_out(pair, self._settings, classifier=classifier))

    def _missing_of(self, cells: Iterable[Cell]) -> list[Cell]:
        """Return the cells that have no result, or one that holds no more."""
        done = self._run.inventory.names("results")
        again = (self._former, self._unsound)
        return [cell for cell in cells if cell.key not in done or any(cell.key in some for some in again)]

    def _say(self, notes: Iterable[str]) -> None:
        """Keep notes for the next call of `missing`, each once in a run."""
        new = [note for note in dict.fromkeys(notes) if note not in self._said]
        self._notes.extend(new)
        self._said.update(new)

    def _has_classifier(self, pair: Pair) -> bool:
        """Whether the store has the network's classifier, which workers may have added during the run.

        A pair of a store that is older than classifiers may have been begun without: it gets its other cells, too.
        """
        if not any(map(methods.needs_classifier, self._settings.probes)):
            return False
        if self._is_begun and pair.model_key not in self._run.inventory.names("heads"):  # else it was just listed
            self._run.inventory.look_again("heads")
        found = pair.model_key in self._run.inventory.names("heads")
        for place in self._without.pop(pair.model_key, set()) if found else ():
            self._begun.discard(place)
            self._look_at(self._run.pairs[place])
        return found

    def _want(self, *, ended: bool = False) -> None:
        """Record the wanted cells and which of them are there, unless that is recorded already."""
        begun = time.monotonic()
        wanted = [cell for cells in self._cells.values() for cell in cells]
        keys = [cell.key for cell in wanted]
        there = set(self._run.inventory.names("results")).intersection(keys)
        state = (keys, there, ended and len(there) < len(set(keys)))
        if state != self._recorded or not keys:
            self._run.ledger.want(wanted, there=there, ended=ended)
            self._recorded = state
        self._is_stale, self._wanted_at = False, time.monotonic()
        self._wanting_took = self._wanted_at - begun


def cells_of(pair: Pair, settings: ProbeSettings, *, classifier: bool = True) -> list[Cell]:
    """Return the cells that are wanted of a pair, probe by probe, without those that do not apply to it.

    Parameters
    ----------
    pair : Pair
    settings : ProbeSettings
    classifier : bool
        Whether the network may have a linear classifier of its own that sees these features.
    """
    return [
        Cell(
            features=pair.features,
            model_key=pair.model_key,
            setting=pair.setting,
            probe=probe,
            solver=solver,
            n_per_class=n_per_class,
            seed=seed,
            metric=pair.metric,
            options=options,
            compute=pair.compute,
            inputs_key=pair.inputs_key,
        )
        for probe, (solver, options) in settings.chosen.items()
        for n_per_class, seed in _tasks(pair, probe, settings, classifier=classifier)
    ]


def left_out(pair: Pair, settings: ProbeSettings, *, classifier: bool) -> list[str]:
    """Return sentences about what the settings ask for and the pair cannot give."""
    return [*_left_out_by_labels(pair, settings), *_left_out_by_network(pair, settings, classifier)]


def few_images(pair: Pair, settings: ProbeSettings) -> Iterator[str]:
    """Return a sentence for every few-shot task that wants more training images of a class than there are."""
    if pair.multilabel or pair.class_counts is None:
        return
    for n in settings.n_per_class:
        fewer = sum(count < n for count in pair.class_counts)
        tasks = f"few-shot tasks with n_per_class = {n} use"
        if fewer == pair.n_classes:
            all_of_them = f"all {sum(pair.class_counts)}, in one draw"
            yield f"No class of {pair.dataset} has {n} training images: {tasks} {all_of_them}."
        elif fewer:
            short = f"{fewer} of {pair.n_classes} classes of {pair.dataset} have fewer than {n} training images"
            yield f"{short}: {tasks} what there is."


def _left_out_by_labels(pair: Pair, settings: ProbeSettings) -> Iterator[str]:
    single_label = [probe for probe in settings.probes if not methods.load(probe).MULTILABEL]
    what = [*single_label, *(["few-shot tasks"] if settings.n_per_class else [])]
    if pair.multilabel and what:
        yield f"Images of {pair.dataset} can have several labels, so these are left out there: {', '.join(what)}."


def _left_out_by_network(pair: Pair, settings: ProbeSettings, classifier: bool) -> Iterator[str]:
    asking = ", ".join(probe for probe in settings.probes if methods.needs_classifier(probe))
    if asking and pair.tap == PENULTIMATE and not classifier:
        yield f"No linear classifier of {pair.model} is in the store, so these probes are left out there: {asking}."
    if asking and pair.tap not in CLASSIFIER_INPUTS:
        yield f"A network's classifier does not see the features at {pair.tap}, so these probes are left out: {asking}."


def _tasks(pair: Pair, probe: str, settings: ProbeSettings, *, classifier: bool) -> Iterator[tuple[int | None, int]]:
    """Return the number of training images per class (None for all) and the seed of each task."""
    if pair.multilabel and not methods.load(probe).MULTILABEL:
        return
    if methods.needs_classifier(probe) and not classifier:
        return
    yield None, settings.seed
    if methods.predicts(probe) and not pair.multilabel:
        for n in settings.n_per_class:
            # Where every class gives all that it has, all draws are the same.
            same = pair.class_counts is not None and n > max(pair.class_counts)
            yield from product([n], range(1 if same else settings.few_shot_seeds))
