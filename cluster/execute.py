"""A study -> a store that holds all it wants: identify, plan, extract, probe. Failures are recorded; others go on."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from typing import Any

from cluster.plan import ShardUnit, Wanted, missing_shards
from cluster.progress import Reporter
from cluster.runtime import Runtime, Task
from cluster.study import Study, resolve_solver
from cluster.tasks import ExtractTask, Place, ProbeTask
from featurestore import FeatureSet, FeatureStore
from featurestore.errors import ConfigurationError, Failure, UnknownNameError
from featurestore.extract import (
    Job,
    Model,
    Storage,
    feature_set,
    finish_features,
    finish_samples,
    identify,
)
from featurestore.schema import SPLITS
from featurestore.splits import Dataset
from featurestore.store import rows_table
from probes import methods, metrics
from probes.results import Cell


@dataclass(frozen=True)
class FailedWork:
    """A row of the failure table."""

    stage: str
    model: str | None
    dataset: str | None
    cell: str | None
    failure: Failure
    failed_at: datetime

    def row(self, study: str) -> dict[str, Any]:
        """As a row of the `failures` table."""
        place = {"study": study, "stage": self.stage, "model": self.model, "dataset": self.dataset, "cell": self.cell}
        return {**place, **asdict(self.failure), "failed_at": self.failed_at}


@dataclass
class Summary:
    """What a run did.

    Attributes
    ----------
    passes : int
        Images x models that went through a network.
    cells : int
        Cells that were fitted.
    cells_wanted : int
        Cells that the study asks for, computed now or before.
    """

    passes: int = 0
    cells: int = 0
    cells_wanted: int = 0
    unreadable: int = 0
    failures: list[FailedWork] = field(default_factory=list)


def run_study(study: Study, store: FeatureStore, *, runtime: Runtime, reporter: Reporter) -> Summary:
    """Compute whatever `study` wants and `store` does not have.

    Raises
    ------
    ConfigurationError
        For names that nothing answers to, before anything is computed.
    StoreError
        If the store cannot be written.
    """
    if str(study.folder) not in sys.path:
        sys.path.insert(0, str(study.folder))
    return _Execution(study, store, reporter).run(runtime)


class _Execution:
    def __init__(self, study: Study, store: FeatureStore, reporter: Reporter) -> None:
        self._study = study
        self._store = store
        self._place = Place(store.uri, str(study.folder))
        self._reporter = reporter
        self._summary = Summary()
        self._models: dict[str, Model] = {}
        self._datasets: dict[str, Dataset] = {}
        self._unreadable: dict[tuple[str, str, int], int] = {}
        self._failed_pairs: set[tuple[str, str]] = set()

    def run(self, runtime: Runtime) -> Summary:
        self._store.save_study(self._study.name, self._study.text)
        self._publish_failures()  # those of the last run are tried again now
        self._identify_models()
        self._open_datasets()
        self._record_catalogue()
        self._record_cells()
        while self._extract(runtime):
            self._record_cells()
            self._reporter.note("Extracting again as float32 what float16 cannot hold.")
        self._probe(runtime)
        return self._summary

    # ---- what is wanted ----------------------------------------------------------------------------------------

    def _identify_models(self) -> None:
        settings = self._study.extract
        for spec in self._study.models:
            try:
                self._models[spec.name] = identify(spec, resize=settings.resize, compute=settings.compute)
            except UnknownNameError:
                raise
            except Exception as error:  # a user's own module may raise anything when it is imported
                self._fail("model", error, model=spec.name)

    def _open_datasets(self) -> None:
        for spec in self._study.datasets:
            try:
                dataset = Dataset(spec)
                _check_metric(dataset)
                self._datasets[spec.name] = dataset
            except UnknownNameError:
                raise
            except Exception as error:  # files of a user may break any reader in its own way
                self._fail("dataset", error, dataset=spec.name)

    def _record_catalogue(self) -> None:
        now = datetime.now(UTC)
        for model in self._models.values():
            self._store.publish("models", model.name, rows_table("models", [{**model.record(), "recorded_at": now}]))
        for name, dataset in self._datasets.items():
            self._store.publish("datasets", name, rows_table("datasets", [{**dataset.record(), "recorded_at": now}]))

    def _storage(self, model: Model, dataset: Dataset) -> Storage:
        """float32 where it is asked for, or where a value was met that float16 cannot hold."""
        if self._study.extract.storage == "float32":
            return "float32"
        sets = (feature_set(model, dataset, split, "float16") for split in SPLITS)
        return "float32" if any(self._store.overflowed(item) for item in sets) else "float16"

    def _pairs(self) -> Iterator[tuple[Model, Dataset, Storage]]:
        for dataset in self._datasets.values():
            for model in self._models.values():
                yield model, dataset, self._storage(model, dataset)

    def _pairs_left(self) -> list[tuple[Model, Dataset, Storage]]:
        """The pairs without those that have failed in this run."""
        return [pair for pair in self._pairs() if (pair[0].name, pair[1].spec.name) not in self._failed_pairs]

    def _cells(self) -> Iterator[Cell]:
        for model, dataset, storage in self._pairs():
            keys = {split: feature_set(model, dataset, split, storage).key for split in SPLITS}
            for name in self._study.probe.probes:
                yield Cell(
                    model=model.name,
                    model_key=model.key,
                    dataset=dataset.spec.name,
                    probe=name,
                    solver=resolve_solver(name, self._study.probe.solver),
                    seed=self._study.probe.seed,
                    metric=dataset.spec.metric,
                    options=json.dumps(methods.load(name).OPTIONS, sort_keys=True),
                    train_key=keys["train"],
                    val_key=keys["val"],
                    test_key=keys["test"],
                )

    def _record_cells(self) -> None:
        """Say what is wanted before it is there, so that `coverage` can tell what is missing."""
        now = datetime.now(UTC)
        rows = [cell.wanted_row(self._study.name, now) for cell in self._cells()]
        self._store.publish("cells", self._study.name, rows_table("cells", rows))
        self._summary.cells_wanted = len(rows)

    # ---- extraction --------------------------------------------------------------------------------------------

    def _extract(self, runtime: Runtime) -> bool:
        """Extract what is missing. True if float16 could not hold some of it, so that there is more to do."""
        book = _ShardBook(self._store, self._pairs_left(), list(self._datasets.values()))
        units = missing_shards(book.wanted)
        if not units:
            return False
        tasks = {self._extract_task(unit, book): unit for unit in units}
        overflowed: list[FeatureSet] = []
        self._run_stage(
            runtime,
            ("features", sum(unit.passes for unit in units), f"images x models, {len(units)} shards"),
            list(tasks),
            on_result=lambda task, result: self._extracted(tasks[task], result, book, overflowed),
            describe=lambda task: f"{task.dataset.name} {task.split} shard {task.shard}",
        )
        return bool(overflowed)

    def _extract_task(self, unit: ShardUnit, book: _ShardBook) -> ExtractTask:
        jobs = tuple(book.job(model, unit.dataset, unit.split) for model in unit.models)
        return ExtractTask(
            self._place,
            self._datasets[unit.dataset].spec,
            self._datasets[unit.dataset].fingerprint,
            unit.split,
            unit.shard,
            jobs,
            self._study.extract.batch_size,
            self._study.extract.strict,
        )

    def _extracted(self, unit: ShardUnit, result: Any, book: _ShardBook, overflowed: list[FeatureSet]) -> None:
        self._reporter.advance(unit.passes)
        if isinstance(result, Failure):
            self._fail_dataset(unit.dataset, result)
            return
        self._unreadable[unit.dataset, unit.split, unit.shard] = result.n_unreadable  # a shard may come twice
        self._summary.unreadable = sum(self._unreadable.values())
        book.samples_done(unit.dataset, unit.split, unit.shard)
        for outcome in result.outcomes:
            if outcome.failure:
                self._fail_pair(outcome.target.model, unit.dataset, outcome.failure)
            elif outcome.overflow:
                self._store.mark_overflow(outcome.target, outcome.overflow)
                overflowed.append(outcome.target)
                self._reporter.note(f"{outcome.target.model} on {unit.dataset}: {outcome.overflow}; stored as float32.")
            else:
                self._summary.passes += unit.n_images
                book.features_done(outcome.target, unit.shard)

    # ---- probes ------------------------------------------------------------------------------------------------

    def _probe(self, runtime: Runtime) -> None:
        done = self._store.names("results")
        cells = [cell for cell in self._cells() if (cell.model, cell.dataset) not in self._failed_pairs]
        tasks = list(self._probe_tasks([cell for cell in cells if cell.key not in done]))
        if not tasks:
            return
        self._run_stage(
            runtime,
            ("probes", sum(len(task.cells) for task in tasks), "cells"),
            tasks,
            on_result=self._probed,
            describe=lambda task: f"the probes of {task.cells[0].model} on {task.cells[0].dataset}",
        )

    def _probe_tasks(self, cells: list[Cell]) -> Iterator[ProbeTask]:
        pairs: dict[tuple[str, str], list[Cell]] = {}
        for cell in cells:
            pairs.setdefault((cell.model, cell.dataset), []).append(cell)
        for (_, dataset), group in pairs.items():
            yield ProbeTask(self._place, tuple(group), len(self._datasets[dataset].classes))

    def _probed(self, task: ProbeTask, result: Any) -> None:
        self._reporter.advance(len(task.cells))
        failures = (
            {cell.key: result for cell in task.cells}
            if isinstance(result, Failure)
            else {report.cell: report.failure for report in result if report.failure}
        )
        self._summary.cells += len(task.cells) - len(failures)
        for cell in task.cells:
            if failure := failures.get(cell.key):
                self._fail("probe", failure, model=cell.model, dataset=cell.dataset, cell=cell.key)

    def _run_stage(
        self,
        runtime: Runtime,
        stage: tuple[str, int, str],
        tasks: Sequence[Task],
        *,
        on_result: Callable[[Task, Any], None],
        describe: Callable[[Task], str],
    ) -> None:
        """Run tasks under a progress display of (name, total, unit), which ends however they do."""
        self._reporter.begin(*stage)
        try:
            runtime.run(
                tasks,
                on_result=on_result,
                on_retry=lambda task, reason: self._reporter.note(
                    f"Worker lost on {describe(task)}; trying again. {reason}"
                ),
            )
        finally:
            self._reporter.end()

    # ---- failures ----------------------------------------------------------------------------------

    def _fail_dataset(self, dataset: str, failure: Failure) -> None:
        pairs = {(model, dataset) for model in self._models}
        if not pairs <= self._failed_pairs:  # said once, not for every shard
            self._failed_pairs |= pairs
            self._fail("dataset", failure, dataset=dataset)

    def _fail_pair(self, model: str, dataset: str, failure: Failure) -> None:
        if (model, dataset) not in self._failed_pairs:  # said once, not for every shard
            self._failed_pairs.add((model, dataset))
            self._fail("extract", failure, model=model, dataset=dataset)

    def _fail(
        self,
        stage: str,
        error: BaseException | Failure,
        *,
        model: str | None = None,
        dataset: str | None = None,
        cell: str | None = None,
    ) -> None:
        failure = error if isinstance(error, Failure) else Failure.of(error)
        self._summary.failures.append(FailedWork(stage, model, dataset, cell, failure, datetime.now(UTC)))
        self._publish_failures()
        what = " on ".join(name for name in (model, dataset) if name)
        self._reporter.failed(f"{what}: {failure.message}")

    def _publish_failures(self) -> None:
        """One file per study: what failed in its last run."""
        rows = [work.row(self._study.name) for work in self._summary.failures]
        self._store.publish("failures", self._study.name, rows_table("failures", rows))


def _check_metric(dataset: Dataset) -> None:
    """The headline metric must be one that the task has and the leaderboard can use: a share, higher is better."""
    usable = [name for name in metrics.names(dataset.multilabel) if metrics.by_name(name).higher_is_better]
    if dataset.spec.metric not in usable:
        task = "an image can have several labels" if dataset.multilabel else "every image has one label"
        raise ConfigurationError(
            f"The metric of dataset {dataset.spec.name!r} must be one of {', '.join(usable)}, because {task} and it is "
            f"averaged as log-odds. Got {dataset.spec.metric!r}."
        )


class _ShardBook:
    """Which shards of which sets are there; completes a set as soon as its last shard is."""

    def __init__(
        self, store: FeatureStore, pairs: list[tuple[Model, Dataset, Storage]], datasets: list[Dataset]
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
