"""Measurements of a model's features on a dataset, and comparisons of the models on a dataset.

analysis_done: unit, models, tap, dataset, seconds, node, failed
    A model was measured, or several models were compared. `failed` is true or false.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar

from cluster.pool import units
from cluster.pool.units import Hands
from cluster.reporting.events import Event, Part, Piece, UnitDone
from cluster.work.contract import Outcome, Run, StoreAddress, Work
from cluster.work.ledger import attempt_key
from cluster.work.pairs import Pair, Place
from featurestore import SplitSets
from featurestore.errors import Failure
from probes.analysis.analyse import (
    OF_A_DATASET,
    OF_A_SUBJECT,
    Comparison,
    Measurement,
    Subject,
    comparisons,
)

_KIND = "analysis"


@dataclass(frozen=True)
class AnalysisDone(UnitDone):
    """A model was measured, or several were compared."""

    stage: ClassVar[str] = _KIND

    unit: str
    models: tuple[str, ...]
    tap: str
    dataset: str
    seconds: float
    node: str
    failed: bool = False

    @property
    def amount(self) -> int:
        """One analysis."""
        return 1

    @property
    def worker(self) -> tuple[str, float]:
        """Node that did the analysis, and seconds that its worker took."""
        return self.node, self.seconds

    def made(self) -> Iterator[Piece]:
        """Return a piece for each model, unless the analysis failed."""
        if not self.failed:
            yield from (Piece((model, self.tap, self.dataset, None)) for model in self.models)


@dataclass(frozen=True)
class AnalysisUnit:
    """A measurement or a comparison."""

    store: StoreAddress
    analysis: Measurement | Comparison
    key: str

    amount: ClassVar[int] = 1

    @property
    def members(self) -> tuple[Subject, ...]:
        """Models on one dataset that the analysis looks at."""
        return (self.analysis.subject,) if isinstance(self.analysis, Measurement) else self.analysis.members

    def run(self, hands: Hands) -> float:
        """Compute and publish the analysis. Return how many seconds that took."""
        from featurestore.store.matrices import MatrixCache

        begin = time.perf_counter()
        self.analysis.compute(self.store.open(hands), device=hands.device, matrices=MatrixCache.default())
        return time.perf_counter() - begin

    def split_up(self) -> Sequence[AnalysisUnit]:
        """Return the unit itself, because it has no parts."""
        return [self]

    @property
    def subjects(self) -> list[units.Subject]:
        """The analyses of the dataset."""
        return [units.Subject("analyses", f"of {self.members[0].features.dataset}")]

    def divided(self, outcome: Outcome) -> units.Divided:
        """Say whether the analysis failed."""
        if isinstance(outcome, Failure):
            return units.suspected_whole(self, outcome, self.subjects[0])
        return (self, outcome), []

    def __str__(self) -> str:
        return str(self.analysis)


def of_study(run: Run) -> None:
    """Return nothing, because a study is analysed only if the command `analyse` or the demo asks for it."""


class Analysis(Work):
    """Neighbours, representations and similarities of the pairs of a run.

    Parameters
    ----------
    run : Run
    models : sequence of str
        Models to look at; by default all.
    """

    UNIT = "analyses"
    PIECES = "analyses"
    AFTER = ("features",)

    def __init__(self, run: Run, models: Sequence[str] = ()) -> None:
        self._run = run
        self._models = models
        self._there = run.inventory.records((*OF_A_SUBJECT, *OF_A_DATASET))
        self._units: deque[AnalysisUnit] = deque()
        self._of_pair: dict[Place, list[str]] = {}
        self._missing: dict[str, Measurement | Comparison] = {}
        self._settled: set[str] = set()  # handed out
        self._left_alone: set[str] = set()  # known to fail
        self._features: dict[Place, SplitSets] = {}
        self._done: set[str] = set()
        self._read = 0
        self._take_stock()

    @property
    def total(self) -> int:
        """Number of analyses that this run is to do, whether they are done or not."""
        return len(self._missing)

    def parts(self) -> Iterator[Part]:
        """Return how many analyses look at each pair, and how many of these are there."""
        missing = self._left_alone.union(self._missing) - self._done
        for (model, tap, dataset), keys in self._of_pair.items():
            yield Part(model, tap, dataset, None, len(keys), sum(key not in missing for key in keys))

    def missing(self) -> Iterator[AnalysisUnit]:
        """Return the analyses of the features that are complete."""
        changes = self._run.pairs.changes
        news = dict.fromkeys(changes[self._read :])
        self._read = len(changes)
        if any(map(self._is_other_than_known, news)):
            self._take_stock()
            news = dict.fromkeys(self._of_pair)  # what waited for a pair that has changed may begin now
        for place in news:
            self._look_at(place)
        while self._units:
            yield self._units.popleft()

    def told(self, unit: AnalysisUnit, outcome: Outcome, node: str) -> Iterator[Event]:
        """Take note of an analysis that is over."""
        features = unit.members[0].features
        models = tuple(subject.features.model for subject in unit.members)
        failure = outcome if isinstance(outcome, Failure) else None
        if failure:
            model = models[0] if len(models) == 1 else None
            place = {"model": model, "tap": features.tap, "dataset": features.dataset}
            self._run.ledger.fail(_KIND, failure, **place, key=unit.key, kind=_KIND)
        else:
            self._done.add(unit.key)
            counts = self._run.ledger.summary.counts
            counts["measured" if isinstance(unit.analysis, Measurement) else "compared"] += 1
        seconds = 0.0 if failure else float(outcome)
        yield AnalysisDone(str(unit), models, features.tap, features.dataset, seconds, node, failure is not None)

    def _is_other_than_known(self, place: Place) -> bool:
        """Whether a pair is lost, or its features have other keys than they had."""
        known = self._features.get(place)
        return self._run.pairs.is_lost(place) or known not in (None, self._run.pairs[place].features)

    def _take_stock(self) -> None:
        """Find the analyses that are wanted of the pairs that can be had, and those of them that are missing."""
        pairs = {
            _subject(pair): pair.place
            for pair in self._run.pairs
            if not self._run.pairs.is_lost(pair.place) and (not self._models or pair.model in self._models)
        }
        several = [found for found in comparisons(pairs) if len(found.members) > 1]
        wanted: list[Measurement | Comparison] = [*map(Measurement, sorted(pairs)), *several]
        self._of_pair = {place: [] for place in pairs.values()}
        self._features = {place: subject.features for subject, place in pairs.items()}
        self._missing = {}
        for key, found in ((_key(found), found) for found in wanted):
            for subject in _subjects(found):
                self._of_pair[pairs[subject]].append(key)
            missing = found.missing(self._there)
            if missing and key not in self._left_alone and self._run.ledger.remembers(key):
                self._left_alone.add(key)
            elif missing and key not in self._left_alone:
                self._missing[key] = missing

    def _look_at(self, place: Place) -> None:
        """Make the units that can begin now that a pair has changed."""
        for key in self._of_pair.get(place, ()):
            if key in self._left_alone:
                self._run.ledger.leave_alone(key, kind=_KIND)
            found = self._missing.get(key)
            if found is None or key in self._settled:
                continue
            if all(self._run.pairs.is_there(subject.features.place) for subject in _subjects(found)):
                self._settled.add(key)
                self._units.append(AnalysisUnit(self._run.address, found, key))


def _subject(pair: Pair) -> Subject:
    return Subject(features=pair.features, setting=pair.setting, n_classes=pair.n_classes)


def _subjects(wanted: Measurement | Comparison) -> tuple[Subject, ...]:
    return (wanted.subject,) if isinstance(wanted, Measurement) else wanted.members


def _key(wanted: Measurement | Comparison) -> str:
    """Return the key of the attempt."""
    if isinstance(wanted, Comparison):
        return attempt_key(wanted.analysis)
    return attempt_key(*(wanted.subject.analysis(table) for table in OF_A_SUBJECT))
