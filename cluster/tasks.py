"""What workers are told: tasks that carry all they need, by value, small enough to send anywhere."""

from __future__ import annotations

from dataclasses import dataclass

from featurestore.datasets import DatasetSpec
from featurestore.extract import Job
from probes.results import Cell


@dataclass(frozen=True)
class Place:
    """Where a task finds things and leaves its results.

    Attributes
    ----------
    store : str
        Its URI.
    python_path : str
        Folder in which modules of ``python:`` models are looked for, beside those of the installation.
    """

    store: str
    python_path: str


@dataclass(frozen=True)
class ExtractTask:
    """One shard, for the models that miss it.

    Attributes
    ----------
    fingerprint : str
        Of the dataset when the task was planned.
    batch_size : int, optional
        Images; the worker knows what suits its device.
    strict : bool
        Whether an unreadable image is an error.
    """

    place: Place
    dataset: DatasetSpec
    fingerprint: str
    split: str
    shard: int
    jobs: tuple[Job, ...]
    batch_size: int | None
    strict: bool


@dataclass(frozen=True)
class ProbeTask:
    """All missing cells of one model and dataset, so that their features are read once."""

    place: Place
    cells: tuple[Cell, ...]
    n_classes: int
