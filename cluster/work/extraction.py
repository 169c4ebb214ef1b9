"""The extraction stage: the features and image tables that a store lacks, made on workers shard by shard."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import groupby
from typing import Any

from cluster.pool.runtime import Runtime
from cluster.pool.tasks import ExtractTask
from cluster.reporting.events import Made, Note, Part, Reporter, ShardDone, StageStarted, skip_stage
from cluster.study.study_file import ExtractSettings, Study
from cluster.work.ledger import Ledger, attempt_key
from cluster.work.missing_shards import ShardUnit, Wanted, missing_shards
from cluster.work.shard_stock import ShardBook
from cluster.work.wanted_features import WantedFeatures, model_groups, wanted_features
from featurestore import FeatureSet, FeatureStore
from featurestore.errors import Failure, StoreError
from featurestore.extraction.shards import Job, ShardReport
from featurestore.images.splits import Dataset
from featurestore.networks.identity import Model


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
        self._failed: set[tuple[str, str, str]] = set()
        self._keys: dict[tuple[str, str, str], str] = {}  # of what is tried
        self._overflowed: list[FeatureSet] = []

    def wanted(self) -> list[WantedFeatures]:
        """Every model with every dataset at every tap, and the type that its features are stored as."""
        overflowed = self._store.stock().overflowed  # one look for all of them
        return wanted_features(self._study.extract, self._models.values(), self._datasets.values(), overflowed)

    def failed(self, item: WantedFeatures) -> bool:
        """Whether features could not be made, in this run or before."""
        return item.place in self._failed

    def run(self, runtime: Runtime) -> bool:
        """Extract what is missing. True if float16 could not hold some of it, so that there is more to do."""
        left = [item for item in self.wanted() if not self.failed(item) and not self._left_alone(item)]
        book = ShardBook(self._store, left, list(self._datasets.values()))
        missing = {
            source.model for item in book.wanted for source, done in item.committed.items() if len(done) < item.n_shards
        }
        needed = [model for name, model in self._models.items() if name in missing]
        groups = model_groups(needed, self._study.extract.model_memory_gb) or [()]
        units = missing_shards(book.wanted, groups)
        self._overflowed = []
        passes = sum(unit.passes for unit in units)
        stage = StageStarted("features", passes, "images x models", "shards", _parts(book.wanted))
        if units:
            runtime.run_stage(
                stage,
                (self._task(unit, book) for unit in units),
                on_result=lambda task, result, node: self._extracted(task, result, node, book),
                describe=lambda task: f"{task.dataset.name} {task.split} shard {task.shard}",
                reporter=self._reporter,
                skip=self._skip,
                split=_by_model,
            )
        else:
            skip_stage(self._reporter, stage)
        return bool(self._overflowed)

    def _left_alone(self, item: WantedFeatures) -> bool:
        """Whether features failed before and would again."""
        key = self._keys[item.place] = extraction_key(item, self._study.extract)
        if not self._ledger.remembers(key) or all(self._store.has(target) for target in item.sets.values()):
            return False
        self._failed.add(item.place)
        self._ledger.leave_alone(key)
        return True

    def _task(self, unit: ShardUnit, book: ShardBook) -> ExtractTask:
        return ExtractTask(
            store=self._store.uri,
            python_path=str(self._study.folder),
            dataset=self._datasets[unit.dataset].spec,
            fingerprint=self._datasets[unit.dataset].fingerprint,
            split=unit.split,
            shard=unit.shard,
            n_images=unit.n_images,
            jobs=tuple(self._jobs(unit, book)),
            batch_size=self._study.extract.batch_size,
            strict=self._study.extract.strict,
            storage_options=self._store.storage_options,
        )

    def _jobs(self, unit: ShardUnit, book: ShardBook) -> Iterator[Job]:
        for _, parts in groupby(unit.parts, key=lambda part: part.model):
            own = list(parts)
            targets = tuple(book.target(part, unit.dataset, unit.split) for part in own)
            yield Job(book.model(own[0], unit.dataset), targets, self._study.extract.max_relative_error)

    def _skip(self, task: ExtractTask) -> bool:
        """Leave out a shard if all that would come of it belongs to features that have failed already."""
        lost = self._failed.union(map(_place, self._overflowed))  # what float16 cannot hold is made again, as float32
        pointless = bool(task.jobs) and all(_place(target) in lost for target in task.targets)
        if pointless:
            self._reporter.tell(_shard_done(task, None, ""))
        return pointless

    def _extracted(self, task: ExtractTask, result: Any, node: str, book: ShardBook) -> None:
        report = None if isinstance(result, Failure) else result
        self._reporter.tell(_shard_done(task, report, node))
        if isinstance(result, Failure):
            self._fail_task(task, result)
            return
        name = task.dataset.name
        self._unreadable[name, task.split, task.shard] = result.n_unreadable  # a shard may come twice
        self._ledger.summary.unreadable = sum(self._unreadable.values())
        book.samples_done(name, task.split, task.shard, result.samples)
        self._ledger.summary.passes += task.n_images * len(
            {outcome.target.model for outcome in result.outcomes if not outcome.failure and not outcome.overflow}
        )
        for outcome in result.outcomes:
            if outcome.failure:
                self._fail({outcome.target}, outcome.failure)
            elif outcome.overflow:
                self._store.mark_overflow(outcome.target, outcome.overflow)
                self._overflowed.append(outcome.target)
                self._reporter.tell(Note(f"{outcome.target.model} on {name}: {outcome.overflow}; stored as float32."))
            else:
                book.features_done(outcome.target, task.shard, outcome.part)

    def _fail_task(self, task: ExtractTask, failure: Failure) -> None:
        """A shard that could not be made for any of its models: its dataset is at fault, or its one model is."""
        if failure.error == StoreError.__name__:  # nothing could be kept now, whatever it is of
            raise StoreError(failure.message)
        if len(task.jobs) == 1 and len(self._models) > 1:
            self._fail(set(task.targets), failure)
            return
        name = task.dataset.name
        places = {place for place in self._keys if place[-1] == name}
        if not places <= self._failed:  # said once, not for every shard
            self._failed |= places
            self._ledger.fail("dataset", failure, dataset=name)

    def _fail(self, targets: Collection[FeatureSet], failure: Failure) -> None:
        for target in targets:
            if _place(target) not in self._failed:  # said once, not for every shard
                self._failed.add(_place(target))
                place = {"model": target.model, "tap": target.tap, "dataset": target.dataset}
                self._ledger.fail("extract", failure, **place, key=self._keys[_place(target)])


def _place(target: FeatureSet) -> tuple[str, str, str]:
    return (target.model, target.tap, target.dataset)


def extraction_key(item: WantedFeatures, settings: ExtractSettings) -> str:
    """What is tried when features are made: their keys, and the settings that decide whether it goes well."""
    decides = (str(settings.max_relative_error), str(settings.strict), str(settings.model_memory_gb))
    return attempt_key(*(target.key for target in item.sets.values()), *decides)


def _parts(wanted: Iterable[Wanted]) -> tuple[Part, ...]:
    """How many shards are wanted of every feature set, and how many are there."""
    return tuple(
        Part(source.model, source.tap, item.dataset, item.split, item.n_shards, len(done))
        for item in wanted
        for source, done in item.committed.items()
    )


def _shard_done(task: ExtractTask, report: ShardReport | None, node: str) -> ShardDone:
    """What is told of a task that is over; without a report, nothing came of it."""
    shard = ShardDone(task.dataset.name, task.split, task.shard, task.n_images, report.seconds if report else 0.0, node)
    if report is None:
        return replace(shard, failed=tuple(job.model.name for job in task.jobs))
    failed = {outcome.target for outcome in report.outcomes if outcome.failure}
    written = {outcome.target for outcome in report.outcomes if not outcome.overflow} - failed
    made, lost = [], []
    for job in task.jobs:
        targets, name = [target for target, _ in job.targets], job.model.name
        if failed.issuperset(targets):
            lost.append(name)
        else:
            taps = tuple(target.tap for target in targets if target in written)
            made.append(Made(name, taps, report.network_seconds.get(name, 0.0)))
    return replace(shard, models=tuple(made), failed=tuple(lost))


def _by_model(task: ExtractTask) -> Sequence[ExtractTask]:
    """The same shard, for one model at a time: so that one that takes its workers along spares the others."""
    return [replace(task, jobs=(job,)) for job in task.jobs]
