"""The extraction stage: the features and image tables that a store lacks, made on workers shard by shard."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from cluster.ledger import Ledger
from cluster.plan import ShardUnit, missing_shards
from cluster.progress import Reporter
from cluster.runtime import Runtime
from cluster.shard_book import ShardBook
from cluster.study import Study
from cluster.tasks import ExtractTask
from featurestore import FeatureSet, FeatureStore
from featurestore.errors import Failure
from featurestore.extract import Model, Storage, feature_set
from featurestore.schema import SPLITS
from featurestore.splits import Dataset


class Extraction:
    """Extraction of one study, from models that are identified and datasets that are open."""

    def __init__(
        self,
        study: Study,
        store: FeatureStore,
        models: Mapping[str, Model],
        datasets: Mapping[str, Dataset],
        *,
        ledger: Ledger,
        reporter: Reporter,
    ) -> None:
        self._study = study
        self._store = store
        self._models = models
        self._datasets = datasets
        self._ledger = ledger
        self._reporter = reporter
        self._unreadable: dict[tuple[str, str, int], int] = {}
        self._failed: set[tuple[str, str]] = set()
        self._overflowed: list[FeatureSet] = []

    def pairs(self) -> Iterator[tuple[Model, Dataset, Storage]]:
        """Every model with every dataset, and the type that its features are stored as."""
        for dataset in self._datasets.values():
            for model in self._models.values():
                yield model, dataset, self._storage(model, dataset)

    def failed(self, model: str, dataset: str) -> bool:
        """Whether the features of a pair could not be made in this run."""
        return (model, dataset) in self._failed

    def run(self, runtime: Runtime) -> bool:
        """Extract what is missing. True if float16 could not hold some of it, so that there is more to do."""
        left = [pair for pair in self.pairs() if not self.failed(pair[0].name, pair[1].spec.name)]
        book = ShardBook(self._store, left, list(self._datasets.values()))
        units = missing_shards(book.wanted)
        self._overflowed = []
        if units:
            tasks = {self._task(unit, book): unit for unit in units}
            runtime.run_stage(
                ("features", sum(unit.passes for unit in units), f"images x models, {len(units)} shards"),
                list(tasks),
                on_result=lambda task, result: self._extracted(tasks[task], result, book),
                describe=lambda task: f"{task.dataset.name} {task.split} shard {task.shard}",
                reporter=self._reporter,
            )
        return bool(self._overflowed)

    def _storage(self, model: Model, dataset: Dataset) -> Storage:
        """float32 where it is asked for, or where a value was met that float16 cannot hold."""
        if self._study.extract.storage == "float32":
            return "float32"
        sets = (feature_set(model, dataset, split, "float16") for split in SPLITS)
        return "float32" if any(self._store.overflowed(item) for item in sets) else "float16"

    def _task(self, unit: ShardUnit, book: ShardBook) -> ExtractTask:
        return ExtractTask(
            store=self._store.uri,
            python_path=str(self._study.folder),
            dataset=self._datasets[unit.dataset].spec,
            fingerprint=self._datasets[unit.dataset].fingerprint,
            split=unit.split,
            shard=unit.shard,
            jobs=tuple(book.job(model, unit.dataset, unit.split) for model in unit.models),
            batch_size=self._study.extract.batch_size,
            strict=self._study.extract.strict,
        )

    def _extracted(self, unit: ShardUnit, result: Any, book: ShardBook) -> None:
        self._reporter.advance(unit.passes)
        if isinstance(result, Failure):
            self._fail_dataset(unit.dataset, result)
            return
        self._unreadable[unit.dataset, unit.split, unit.shard] = result.n_unreadable  # a shard may come twice
        self._ledger.summary.unreadable = sum(self._unreadable.values())
        book.samples_done(unit.dataset, unit.split, unit.shard)
        for outcome in result.outcomes:
            if outcome.failure:
                self._fail_pair(outcome.target.model, unit.dataset, outcome.failure)
            elif outcome.overflow:
                self._store.mark_overflow(outcome.target, outcome.overflow)
                self._overflowed.append(outcome.target)
                self._reporter.note(f"{outcome.target.model} on {unit.dataset}: {outcome.overflow}; stored as float32.")
            else:
                self._ledger.summary.passes += unit.n_images
                book.features_done(outcome.target, unit.shard)

    def _fail_dataset(self, dataset: str, failure: Failure) -> None:
        pairs = {(model, dataset) for model in self._models}
        if not pairs <= self._failed:  # said once, not for every shard
            self._failed |= pairs
            self._ledger.fail("dataset", failure, dataset=dataset)

    def _fail_pair(self, model: str, dataset: str, failure: Failure) -> None:
        if not self.failed(model, dataset):  # said once, not for every shard
            self._failed.add((model, dataset))
            self._ledger.fail("extract", failure, model=model, dataset=dataset)
