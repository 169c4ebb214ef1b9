"""What workers are told: tasks that carry all they need, by value, small enough to send anywhere."""

from __future__ import annotations

from dataclasses import dataclass

from featurestore.datasets import DatasetSpec
from featurestore.extract import Job
from probes.results import Cell


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
    strict : bool
        Whether an unreadable image is an error.
    """

    store: str
    python_path: str
    dataset: DatasetSpec
    fingerprint: str
    split: str
    shard: int
    jobs: tuple[Job, ...]
    batch_size: int | None
    strict: bool


@dataclass(frozen=True)
class ProbeTask:
    """Missing cells of one model and dataset, which read the same features.

    Attributes
    ----------
    store : str
        URI of the store; nothing else is needed, neither a network nor an image.
    """

    store: str
    cells: tuple[Cell, ...]
    n_classes: int
