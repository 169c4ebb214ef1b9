"""Ray actors: thin. They hold what is dear to load (networks, opened datasets) and call plain functions.

A worker returns a few numbers or a `Failure`; features and results go to the store from where they are made. What a
worker raises is caught here, so everything that Ray itself reports is a fault of the machine and worth another try.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

import ray

from cluster.tasks import ExtractTask, ProbeTask, WorkerSettings
from featurestore import FeatureStore
from featurestore.datasets import DatasetSpec
from featurestore.errors import Failure
from featurestore.extract import Extractors, ShardReport, extract_shard
from featurestore.splits import Dataset
from probes.run import CellReport, run_cells


class _Worker:
    def __init__(self, settings: WorkerSettings, device: str, threads: int) -> None:
        import torch
        from threadpoolctl import threadpool_limits

        sys.path[:0] = [folder for folder in settings.python_path if folder not in sys.path]
        torch.set_num_threads(threads)
        threadpool_limits(threads)
        self._settings = settings
        self._device = device
        self._threads = threads
        self._store = FeatureStore.open(settings.store)


@ray.remote
class ExtractWorker(_Worker):
    """Holds the models of one device and the datasets it has met."""

    def __init__(self, settings: WorkerSettings, device: str, threads: int) -> None:
        super().__init__(settings, device, threads)
        self._extractors = Extractors(device)
        self._datasets: dict[DatasetSpec, Dataset] = {}

    def run(self, task: ExtractTask) -> ShardReport | Failure:
        """Extract one shard for all the models that miss it."""
        try:
            return extract_shard(
                self._store,
                self._dataset(task.dataset),
                task.split,
                task.shard,
                task.jobs,
                self._extractors,
                batch_size=self._settings.batch_size,
                decode_threads=self._threads,
                strict=self._settings.strict,
            )
        except Exception as error:
            return Failure.of(error)

    def _dataset(self, spec: DatasetSpec) -> Dataset:
        if spec not in self._datasets:
            self._datasets[spec] = Dataset(spec)
        return self._datasets[spec]


@ray.remote
class ProbeWorker(_Worker):
    """Fits probes on features of the store."""

    def run(self, task: ProbeTask) -> Sequence[CellReport] | Failure:
        """Fit, score and commit the cells of one model and dataset."""
        try:
            return run_cells(self._store, task.cells, n_classes=task.n_classes, device=self._device)
        except Exception as error:
            return Failure.of(error)


WORKERS = {ExtractTask: ExtractWorker, ProbeTask: ProbeWorker}
"""Which worker runs which kind of task."""
