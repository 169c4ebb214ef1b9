"""The Ray actor: thin. It holds what is dear to load (networks, opened datasets) and calls plain functions.

A worker returns a few numbers or a `Failure`; features and results go to the store from where they are made. What a
worker raises is caught here, so everything that Ray itself reports is a fault of the machine and worth another try.
"""

from __future__ import annotations

import ctypes
import errno
import sys
from collections.abc import Sequence

import ray

from cluster.pool.nodes import NodeName, this_node
from cluster.pool.store_token import StoreToken
from cluster.pool.tasks import ExtractTask, ProbeTask
from featurestore import FeatureStore
from featurestore.catalogue.datasets import DatasetSpec
from featurestore.errors import DatasetError, Failure
from featurestore.extraction.extract import extract_shard
from featurestore.extraction.shards import ShardReport
from featurestore.images.splits import Dataset
from featurestore.networks.extractor import Extractors
from featurestore.store.matrices import MatrixCache
from probes.cells.run import CellReport, run_cells


@ray.remote
class Worker:
    """Runs any task of any study on one device, with `threads` threads.

    It serves extraction and probes alike: importing torch takes longer than many a task. With a `token` it makes sure
    that its node sees the store.
    """

    def __init__(self, device: str, threads: int, token: StoreToken | None = None) -> None:
        import torch
        from threadpoolctl import threadpool_limits

        torch.set_num_threads(threads)
        threadpool_limits(threads)
        _keep_freed_memory()
        self._device = device
        self._threads = threads
        self._token = token
        self._extractors = Extractors(device)
        self._datasets: dict[DatasetSpec, Dataset] = {}

    def ready(self) -> NodeName:
        """Say where this worker is, once it can work; an error if it cannot work there."""
        node = this_node()
        if self._token and (complaint := self._token.complaint()):
            raise self._token.error({node: complaint})
        return node

    def run(self, task: ExtractTask | ProbeTask) -> ShardReport | Sequence[CellReport] | Failure:
        """Do a task; its own errors come back as a `Failure`."""
        try:
            store = FeatureStore.open(task.store, storage_options=dict(task.storage_options))
            return self._extract(store, task) if isinstance(task, ExtractTask) else self._probe(store, task)
        except Exception as error:
            if _is_of_the_machine(error):
                raise  # Ray reports it; the task is tried again, by another worker
            return Failure.of(error)

    def _extract(self, store: FeatureStore, task: ExtractTask) -> ShardReport:
        if task.python_path not in sys.path:
            sys.path.insert(0, task.python_path)
        return extract_shard(
            store,
            self._dataset(task),
            task.split,
            task.shard,
            task.jobs,
            self._extractors,
            batch_size=task.batch_size or self._default_batch_size(),
            decode_threads=self._threads,
            strict=task.strict,
        )

    def _dataset(self, task: ExtractTask) -> Dataset:
        known = self._datasets.get(task.dataset)
        if known is None or known.fingerprint != task.fingerprint:
            known = self._datasets[task.dataset] = Dataset(task.dataset)
        if known.fingerprint != task.fingerprint:
            raise DatasetError(
                f"The files of dataset {task.dataset.name!r} have changed since the run was planned, or this node sees "
                "others than the driver. Run the same command again to plan with what is there now."
            )
        return known

    def _default_batch_size(self) -> int:
        """On a CPU few images, whose activations stay in its cache: twice as fast as 32. On a GPU enough to fill it.

        Never a matter of threads: another number of images at a time can change the last bit of a feature.
        """
        return 256 if self._device == "cuda" else 4

    def _probe(self, store: FeatureStore, task: ProbeTask) -> Sequence[CellReport]:
        matrices = MatrixCache.default()
        return run_cells(store, task.cells, n_classes=task.n_classes, device=self._device, matrices=matrices)


def _is_of_the_machine(error: Exception) -> bool:
    """Whether another worker may do better: this one's device is broken, its memory full, or its file system away."""
    import torch

    if isinstance(error, (torch.AcceleratorError, torch.OutOfMemoryError, MemoryError)):
        return True
    return isinstance(error, OSError) and error.errno in _PASSING_ERRNOS


_PASSING_ERRNOS = {errno.EIO, errno.ESTALE, errno.ETIMEDOUT, errno.ENETUNREACH, errno.EHOSTUNREACH, errno.ECONNRESET}


def _keep_freed_memory() -> None:
    """Let glibc reuse the memory of activations instead of returning it to the kernel after every layer.

    Otherwise each layer's output is mapped, faulted in page by page, and unmapped: up to a third of the time of a small
    network on a CPU. Other C libraries have no such settings and are left as they are.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt:
        mallopt(_M_MMAP_THRESHOLD, 32 * 1024**2)  # the most that glibc takes
        mallopt(_M_TRIM_THRESHOLD, 1024**3)


_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # <malloc.h>
