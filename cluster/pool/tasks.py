"""What workers are told: tasks that carry all they need, by value, small enough to send anywhere."""

from __future__ import annotations

from dataclasses import dataclass, field

from featurestore import FeatureSet
from featurestore.catalogue.datasets import DatasetSpec
from featurestore.extraction.shards import Job
from probes.cells.results import Cell

StorageOptions = tuple[tuple[str, str], ...]


@dataclass(frozen=True, kw_only=True)
class ExtractTask:
    """One shard, for the models that miss it.

    Attributes
    ----------
    store : str
        URI of the store.
    python_path : str
        Folder in which modules of ``python:`` models are looked for, beside those of the installation.
    fingerprint : str
        Of the dataset when the task was planned.
    batch_size : int, optional
        Images; the worker knows what suits its device.
    n_images : int
        Of the shard.
    strict : bool
        Whether an unreadable image is an error.
    storage_options : tuple of (name, value)
        What opens the store, as `FeatureStore.storage_options` has it. It may hold credentials, so it is never shown.
    """

    store: str
    python_path: str
    dataset: DatasetSpec
    fingerprint: str
    split: str
    shard: int
    n_images: int
    jobs: tuple[Job, ...]
    batch_size: int | None
    strict: bool
    storage_options: StorageOptions = field(default=(), repr=False)

    @property
    def targets(self) -> list[FeatureSet]:
        """The sets that get a part."""
        return [target for job in self.jobs for target, _ in job.targets]

    @property
    def passes(self) -> int:
        """Images x models: what progress is counted in."""
        return self.n_images * len(self.jobs)


@dataclass(frozen=True)
class ProbeTask:
    """Missing cells of one model and dataset, which read the same features.

    Attributes
    ----------
    store : str
        URI of the store; nothing else is needed, neither a network nor an image.
    storage_options : tuple of (name, value)
        As of an `ExtractTask`.
    """

    store: str
    cells: tuple[Cell, ...]
    n_classes: int
    storage_options: StorageOptions = field(default=(), repr=False)
