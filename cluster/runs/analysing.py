"""What stored features say of themselves: `probes.analysis.analyse` on every model and dataset that a store holds."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from cluster.reporting.events import Event, Note
from cluster.runs.add_probes import stored_pairs
from cluster.work.wanted_cells import Pair
from featurestore import FeatureStore
from featurestore.errors import UnknownNameError
from featurestore.store.matrices import MatrixCache
from probes.analysis.analyse import Analysed, Subject, analyse
from probes.methods import Means


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
    subjects = [_subject(pair) for pair in pairs if not models or pair.model in models]
    return analyse(store, subjects, device=Means().torch_device(), matrices=MatrixCache.default(), tell=tell)


def _subject(pair: Pair) -> Subject:
    return Subject(
        dataset=pair.dataset,
        setting=pair.setting,
        tap=pair.tap,
        model=pair.model,
        train_key=pair.train_key,
        val_key=pair.val_key,
        test_key=pair.test_key,
        n_classes=pair.n_classes,
    )
