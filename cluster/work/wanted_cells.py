"""Pairs of a model and a dataset, and the cells that probe settings ask of each. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import product

from cluster.study.probe_settings import ProbeSettings
from featurestore import SplitSets
from featurestore.networks.taps import CLASSIFIER_INPUTS
from featurestore.store.layout import PENULTIMATE
from probes import methods
from probes.cells.results import Cell


@dataclass(frozen=True, kw_only=True)
class Pair:
    """A model and a dataset whose features belong together: all that a probe has to be told of them.

    Attributes
    ----------
    features : SplitSets
        The feature sets of the three splits.
    model_key : str
        Hash of the weights and the preprocessing that the model's name stands for.
    metric : str
        The dataset's headline metric.
    compute, inputs_key : str, optional
        Precision that the features are computed in, and hash of all else that they come from; None where a study of an
        earlier version wanted them.
    classifier : bool
        False once it is known that the network has no linear classifier of its own.
    """

    features: SplitSets
    model_key: str
    metric: str
    n_classes: int
    multilabel: bool
    setting: str = "fixed"
    compute: str | None = None
    inputs_key: str | None = None
    classifier: bool = True

    @property
    def model(self) -> str:
        """Name of the model."""
        return self.features.model

    @property
    def dataset(self) -> str:
        """Name of the dataset."""
        return self.features.dataset

    @property
    def tap(self) -> str:
        """Tap at which the features are taken."""
        return self.features.tap


def cells_of(pair: Pair, settings: ProbeSettings) -> list[Cell]:
    """The cells that are wanted of a pair, probe by probe; without those that do not apply to it."""
    return [
        Cell(
            features=pair.features,
            model_key=pair.model_key,
            setting=pair.setting,
            probe=probe,
            solver=settings.solver_of(probe),
            n_per_class=n_per_class,
            seed=seed,
            metric=pair.metric,
            options=settings.options_json(probe),
            compute=pair.compute,
            inputs_key=pair.inputs_key,
        )
        for probe in settings.probes
        for n_per_class, seed in _tasks(pair, probe, settings)
    ]


def left_out(pairs: Sequence[Pair], settings: ProbeSettings) -> list[str]:
    """What the settings ask for and cannot have, in words."""
    return [*_left_out_by_labels(pairs, settings), *_left_out_by_networks(pairs, settings)]


def _left_out_by_labels(pairs: Iterable[Pair], settings: ProbeSettings) -> list[str]:
    single_label = [probe for probe in settings.probes if not methods.load(probe).MULTILABEL]
    what = [*single_label, *(["few-shot tasks"] if settings.n_per_class else [])]
    datasets = sorted({pair.dataset for pair in pairs if pair.multilabel}) if what else []
    return [f"Images of {name} can have several labels; left out there: {', '.join(what)}." for name in datasets]


def _left_out_by_networks(pairs: Iterable[Pair], settings: ProbeSettings) -> list[str]:
    asking = ", ".join(probe for probe in settings.probes if methods.needs_classifier(probe))
    if not asking:
        return []
    penultimate = [pair for pair in pairs if pair.tap == PENULTIMATE and not pair.classifier]
    others = sorted({pair.tap for pair in pairs if pair.tap not in CLASSIFIER_INPUTS})
    return [
        *(
            f"No linear classifier of {name} is in the store; left out there: {asking}."
            for name in sorted({pair.model for pair in penultimate})
        ),
        *(f"A network's classifier does not see the features at {tap}; left out there: {asking}." for tap in others),
    ]


def _tasks(pair: Pair, probe: str, settings: ProbeSettings) -> Iterator[tuple[int | None, int]]:
    """Number of training images per class, None for all of them, and seed."""
    if pair.multilabel and not methods.load(probe).MULTILABEL:
        return
    if methods.needs_classifier(probe) and not pair.classifier:
        return
    yield None, settings.seed
    if methods.predicts(probe) and not pair.multilabel:
        yield from product(settings.n_per_class, range(settings.few_shot_seeds))
