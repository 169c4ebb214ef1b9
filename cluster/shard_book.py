"""Which shards of which sets are there; completes a set as soon as its last shard is."""

from __future__ import annotations

from collections.abc import Sequence

from cluster.plan import Wanted
from featurestore import FeatureSet, FeatureStore
from featurestore.extract import Job, Model, Storage, feature_set, finish_features, finish_samples
from featurestore.schema import SPLITS
from featurestore.splits import Dataset


class ShardBook:
    """Stock of the features of `pairs` and of the image tables of `datasets`.

    Attributes
    ----------
    wanted : list of Wanted
        Every split of every dataset, with what was there when the book was opened.
    """

    def __init__(
        self, store: FeatureStore, pairs: Sequence[tuple[Model, Dataset, Storage]], datasets: Sequence[Dataset]
    ) -> None:
        self._store = store
        self._datasets = {dataset.spec.name: dataset for dataset in datasets}
        self._storage = {(model.name, dataset.spec.name): storage for model, dataset, storage in pairs}
        self._models = {model.name: model for model, _, _ in pairs}
        self._shards: dict[FeatureSet, set[int]] = {}
        self._sample_shards: dict[tuple[str, str], set[int]] = {}
        self.wanted = [self._take_stock(dataset, split) for dataset in datasets for split in SPLITS]

    def job(self, model: str, dataset: str, split: str) -> Job:
        """What an extractor is told of one model's part."""
        return Job(self._models[model], self._target(model, dataset, split), self._storage[model, dataset])

    def features_done(self, target: FeatureSet, shard: int) -> None:
        """Note a published shard of features."""
        self._shards[target].add(shard)
        self._complete_features(target)

    def samples_done(self, dataset: str, split: str, shard: int) -> None:
        """Note a published shard of the image table."""
        self._sample_shards[dataset, split].add(shard)
        self._complete_samples(dataset, split)

    def _target(self, model: str, dataset: str, split: str) -> FeatureSet:
        storage = self._storage[model, dataset]
        return feature_set(self._models[model], self._datasets[dataset], split, storage)

    def _take_stock(self, dataset: Dataset, split: str) -> Wanted:
        name, n_shards = dataset.spec.name, dataset.n_shards(split)
        samples = dataset.samples(split)
        everything = set(range(n_shards))
        self._sample_shards[name, split] = everything if self._store.has(samples) else self._store.shards(samples)
        self._complete_samples(name, split)
        committed = {}
        for model in (model for model, other in self._storage if other == name):
            target = self._target(model, name, split)
            self._shards[target] = set(everything) if self._store.has(target) else self._store.shards(target)
            self._complete_features(target)
            committed[model] = set(self._shards[target])
        n_images = len(dataset.splits[split].rows)
        done = set(self._sample_shards[name, split])
        return Wanted(name, split, n_images, n_shards, dataset.shard_images(split), committed, done)

    def _complete_features(self, target: FeatureSet) -> None:
        """Also completes what a run that was killed in between left without its manifest."""
        dataset = self._datasets[target.dataset]
        if len(self._shards[target]) == dataset.n_shards(target.split) and not self._store.has(target):
            storage = self._storage[target.model, target.dataset]
            finish_features(self._store, self._models[target.model], dataset, target.split, storage)

    def _complete_samples(self, name: str, split: str) -> None:
        dataset = self._datasets[name]
        if len(self._sample_shards[name, split]) == dataset.n_shards(split) and not self._store.has(
            dataset.samples(split)
        ):
            finish_samples(self._store, dataset, split)
