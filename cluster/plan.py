"""Wanted minus committed = work units. Pure: what is committed comes in as plain sets."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Wanted:
    """A dataset split whose features several models are to have.

    Attributes
    ----------
    n_images, n_shards : int
        Of the split.
    committed : mapping of str to set of int
        For every model that should see the split, the shards that are published.
    committed_samples : set of int
        The published shards of the image table.
    """

    dataset: str
    split: str
    n_images: int
    n_shards: int
    shard_images: int
    committed: Mapping[str, set[int]]
    committed_samples: set[int]


@dataclass(frozen=True)
class ShardUnit:
    """One shard to be decoded once, for the models that still miss it (none: only its image table is missing)."""

    dataset: str
    split: str
    shard: int
    n_images: int
    models: tuple[str, ...]

    @property
    def passes(self) -> int:
        """Images x models: what progress is counted in."""
        return self.n_images * len(self.models)


def missing_shards(wanted: Iterable[Wanted]) -> list[ShardUnit]:
    """The shards that some model, or the image table, still misses, in the order of `wanted`."""
    units = []
    for item in wanted:
        for shard in range(item.n_shards):
            models = tuple(model for model, done in item.committed.items() if shard not in done)
            if models or shard not in item.committed_samples:
                n_images = min(item.shard_images, item.n_images - shard * item.shard_images)
                units.append(ShardUnit(item.dataset, item.split, shard, n_images, models))
    return units


@dataclass(frozen=True)
class Placement:
    """How workers are laid out on a cluster.

    Attributes
    ----------
    n_workers : int
    cpus : int
        CPUs, and threads, per worker.
    gpus : float
        GPUs per worker; 0 on a cluster without any.
    """

    n_workers: int
    cpus: int
    gpus: float


def place(nodes: Sequence[Mapping[str, float]]) -> Placement:
    """Lay out workers: one per GPU where there are any, else as many as the CPUs carry.

    Several workers of few threads beat one of many: small networks on small batches do not fill more than a few cores.
    A worker asks for no more CPUs than the poorest node it could land on has for it, so that every one finds a place.

    Parameters
    ----------
    nodes : sequence of mapping
        Resources of each node: ``CPU`` and ``GPU``.
    """
    with_gpus = [(int(node["GPU"]), int(node.get("CPU", 0))) for node in nodes if node.get("GPU", 0) >= 1]
    if with_gpus:
        return Placement(sum(gpus for gpus, _ in with_gpus), max(1, min(cpus // gpus for gpus, cpus in with_gpus)), 1)
    cpus = [int(node["CPU"]) for node in nodes if node.get("CPU", 0) >= 1] or [1]
    threads = max(1, min(4, min(cpus) // 4))
    return Placement(sum(count // threads for count in cpus), threads, 0)
