"""The feature sets that a study asks for."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, field, replace
from itertools import product

from cluster.study.study_file import ExtractSettings
from cluster.work.missing_shards import ModelTap, groups_that_fit
from featurestore import FeatureSet
from featurestore.images.splits import Dataset
from featurestore.networks.identity import FeatureType, Model, feature_set
from featurestore.store.schema import SPLITS

_BYTES_PER_PARAMETER = 4
_UNKNOWN_PARAMETERS = 100_000_000  # what a network of which nothing is known is taken for


@dataclass(frozen=True)
class WantedFeatures:
    """Features of a dataset from a model at one tap, stored as one type."""

    model: Model
    tap: str
    dataset: Dataset
    storage: FeatureType
    sets: dict[str, FeatureSet] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        named = {s: feature_set(self.model, self.dataset, s, self.storage, tap=self.tap) for s in SPLITS}
        object.__setattr__(self, "sets", named)

    @property
    def place(self) -> tuple[str, str, str]:
        """Model, tap and dataset by name: unique in a study."""
        return (self.model.name, self.tap, self.dataset.spec.name)

    @property
    def source(self) -> ModelTap:
        """Model and tap that the features come from."""
        return ModelTap(self.model.name, self.tap)


def wanted_features(
    settings: ExtractSettings,
    models: Iterable[Model],
    datasets: Iterable[Dataset],
    overflowed: Callable[[Collection[FeatureSet]], Collection[FeatureSet]],
) -> list[WantedFeatures]:
    """Return the features that are wanted of every model on every dataset at every tap.

    Parameters
    ----------
    settings : ExtractSettings
        Taps, and the type that features are stored as.
    models, datasets : iterable of Model and Dataset
        Models and datasets of the study.
    overflowed : callable
        Function that returns those of some float16 sets that met a value that float16 cannot hold. It is asked once,
        of all of them.
    """
    storage: FeatureType = "float32" if settings.storage == "float32" else "float16"
    items = [
        WantedFeatures(model, tap, dataset, storage) for dataset, model, tap in product(datasets, models, settings.taps)
    ]
    if storage == "float32":
        return items
    too_large = set(overflowed([target for item in items for target in item.sets.values()]))
    return [item if too_large.isdisjoint(item.sets.values()) else replace(item, storage="float32") for item in items]


def model_groups(models: Iterable[Model], gigabytes: float) -> list[tuple[str, ...]]:
    """Return groups of models whose weights fit into `gigabytes`. Models that share pixels stay close."""
    ordered = sorted(models, key=lambda model: repr(model.preprocessing.geometry))
    sizes = {model.name: _BYTES_PER_PARAMETER * (model.spec.params or _UNKNOWN_PARAMETERS) for model in ordered}
    return groups_that_fit(sizes, int(gigabytes * 1024**3))
