"""What stored features say of themselves: `probes.analysis.analyse` on every model and dataset that a store holds."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from cluster.reporting.events import Event, Note
from cluster.runs.add_probes import stored_pairs
from featurestore import FeatureStore
from featurestore.errors import Failure, UnknownNameError
from featurestore.store.matrices import MatrixCache
from probes.analysis.analyse import OF_A_DATASET, OF_A_SUBJECT, Comparison, Measurement, Subject, comparisons
from probes.methods import FitResources


@dataclass
class Analysed:
    """How much was computed, and what could not be.

    Attributes
    ----------
    measured : int
        Models on datasets whose features were measured.
    compared : int
        Datasets (and taps) on which models were compared with each other.
    failures : list of (str, Failure)
        What failed, in words, and how; the rest went on.
    """

    measured: int = 0
    compared: int = 0
    failures: list[tuple[str, Failure]] = field(default_factory=list)


@dataclass(frozen=True)
class _Notes:
    """A reporter that says notes only."""

    say: Callable[[str], None]

    def tell(self, event: Event) -> None:
        if isinstance(event, Note):
            self.say(event.text)


def analyse_stored(
    store: FeatureStore, models: Sequence[str] = (), *, tell: Callable[[str], None] = lambda text: None
) -> Analysed:
    """Compute the neighbours, representations and similarities that a store lacks, on this machine.

    Parameters
    ----------
    models : sequence of str
        The only ones to look at; by default all whose features are stored.
    tell : callable
        Is given a line for each piece of work, before it begins.

    Raises
    ------
    MissingFeaturesError
        If no features are stored.
    UnknownNameError
        If those of a model are not.
    StoreError
        If the store cannot be written.
    """
    pairs = stored_pairs(store, _Notes(tell), to="analyse")
    known = sorted({pair.model for pair in pairs})
    for name in models:
        if name not in known:
            raise UnknownNameError("model", name, known, f"Features are stored of: {', '.join(known)}.")
    chosen = [pair for pair in pairs if not models or pair.model in models]
    subjects = [Subject(features=p.features, setting=p.setting, n_classes=p.n_classes) for p in chosen]
    there = {table: store.names(table) for table in (*OF_A_SUBJECT, *OF_A_DATASET)}
    wanted: list[Measurement | Comparison] = [*map(Measurement, sorted(subjects)), *comparisons(subjects)]
    return _compute(store, [found for work in wanted if (found := work.missing(there))], tell)


def _compute(store: FeatureStore, missing: Sequence[Measurement | Comparison], tell: Callable[[str], None]) -> Analysed:
    done, device, matrices = Analysed(), FitResources().torch_device(), MatrixCache.default()
    for number, work in enumerate(missing, start=1):
        tell(f"[{number}/{len(missing)}] {work}")
        try:
            work.compute(store, device=device, matrices=matrices)
        except Exception as error:  # damaged features, a machine too small for them: the others are none the worse
            done.failures.append((str(work), Failure.of(error)))
            continue
        if isinstance(work, Measurement):
            done.measured += 1
        else:
            done.compared += 1
    return done
