"""Which shards of which sets are there; completes a set as soon as its last shard is."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from cluster.work.missing_shards import ModelTap, Wanted
from cluster.work.wanted_features import WantedFeatures
from featurestore import FeatureSet, FeatureStore
from featurestore.extraction.shards import finish_features, finish_samples
from featurestore.images.splits import Dataset
from featurestore.networks.identity import FeatureType, Model
from featurestore.store.feature_store import Part, Stock
from featurestore.store.layout import SampleSet
from featurestore.store.schema import SPLITS


class ShardBook:
    """Stock of features, and of the image tables of datasets.

    Attributes
    ----------
    wanted : list of Wanted
        Every split of every dataset, with what was there when the book was opened.
    """

    def __init__(self, store: FeatureStore, features: Iterable[WantedFeatures], datasets: Sequence[Dataset]) -> None:
        self._store = store
        self._datasets = {dataset.spec.name: dataset for dataset in datasets}
        self._features = {item.place: item for item in features}
        self._parts: dict[FeatureSet | SampleSet, dict[str, Part]] = {}
        self._shards: dict[FeatureSet | SampleSet, set[int]] = {}
        stock = store.stock()
        self._complete = {item for item in self._sets() if stock.has(item)}
        self.wanted = [self._take_stock(stock, dataset, split) for dataset in datasets for split in SPLITS]

    def model(self, part: ModelTap, dataset: str) -> Model:
        """The model of a part."""
        return self._features[*part, dataset].model

    def target(self, part: ModelTap, dataset: str, split: str) -> tuple[FeatureSet, FeatureType]:
        """Where the features of a part belong, and as what they are stored."""
        item = self._features[*part, dataset]
        return item.sets[split], item.storage

    def features_done(self, target: FeatureSet, shard: int, part: Part) -> None:
        """Note a published shard of features."""
        self._note(target, shard, part)
        self._complete_features(target)

    def samples_done(self, dataset: str, split: str, shard: int, part: Part | None) -> None:
        """Note a published shard of the image table."""
        self._note(self._datasets[dataset].samples(split), shard, part)
        self._complete_samples(dataset, split)

    def _sets(self) -> Iterator[FeatureSet | SampleSet]:
        for dataset in self._datasets.values():
            yield from (dataset.samples(split) for split in SPLITS)
        for item in self._features.values():
            yield from item.sets.values()

    def _take_stock(self, stock: Stock, dataset: Dataset, split: str) -> Wanted:
        name = dataset.spec.name
        samples = dataset.samples(split)
        self._shards[samples] = self._shards_of(stock, samples, dataset)
        self._complete_samples(name, split)
        committed = {}
        for item in (item for item in self._features.values() if item.dataset is dataset):
            target = item.sets[split]
            self._shards[target] = self._shards_of(stock, target, dataset)
            self._complete_features(target)
            committed[item.source] = set(self._shards[target])
        n_images, done = len(dataset.splits[split].rows), set(self._shards[samples])
        return Wanted(name, split, n_images, dataset.n_shards(split), dataset.shard_images(split), committed, done)

    def _shards_of(self, stock: Stock, item: FeatureSet | SampleSet, dataset: Dataset) -> set[int]:
        return set(range(dataset.n_shards(item.split))) if item in self._complete else stock.shards(item)

    def _note(self, item: FeatureSet | SampleSet, shard: int, part: Part | None) -> None:
        self._shards[item].add(shard)
        if part is not None:
            self._parts.setdefault(item, {})[part.name] = part

    def _is_due(self, item: FeatureSet | SampleSet) -> bool:
        """Whether all shards are there and no manifest yet: also where a run that was killed left it so."""
        n_shards = self._datasets[item.dataset].n_shards(item.split)
        return item not in self._complete and len(self._shards[item]) == n_shards

    def _complete_features(self, target: FeatureSet) -> None:
        if self._is_due(target):
            item = self._features[target.model, target.tap, target.dataset]
            parts = self._parts.pop(target, {}).values()
            finish_features(
                self._store, item.model, item.dataset, target.split, item.storage, tap=item.tap, parts=parts
            )
            self._complete.add(target)

    def _complete_samples(self, name: str, split: str) -> None:
        samples = self._datasets[name].samples(split)
        if self._is_due(samples):
            finish_samples(self._store, self._datasets[name], split, parts=self._parts.pop(samples, {}).values())
            self._complete.add(samples)
