"""What workers are told: tasks and settings, by value, small enough to send anywhere."""

from __future__ import annotations

from dataclasses import dataclass

from featurestore.datasets import DatasetSpec
from featurestore.extract import Job
from probes.results import Cell


@dataclass(frozen=True)
class ExtractTask:
    """One shard, for the models that miss it."""

    dataset: DatasetSpec
    split: str
    shard: int
    jobs: tuple[Job, ...]


@dataclass(frozen=True)
class ProbeTask:
    """All missing cells of one model and dataset, so that their features are read once."""

    cells: tuple[Cell, ...]
    n_classes: int


@dataclass(frozen=True)
class WorkerSettings:
    """What every worker of a run is told.

    Attributes
    ----------
    store : str
        Its URI.
    python_path : tuple of str
        Folders in which modules of ``python:`` models are looked for.
    batch_size : int
        Images.
    strict : bool
        Whether an unreadable image is an error.
    """

    store: str
    python_path: tuple[str, ...]
    batch_size: int
    strict: bool
