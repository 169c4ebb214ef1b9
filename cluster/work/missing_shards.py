"""Wanted minus committed = work units. Pure: what is committed comes in as plain sets."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple


class ModelTap(NamedTuple):
    """Where features come from."""

    model: str
    tap: str


@dataclass(frozen=True)
class Wanted:
    """A dataset split whose features several models are to have.

    Attributes
    ----------
    n_images, n_shards : int
        Of the split.
    committed : mapping of ModelTap to set of int
        For every model and tap that should see the split, the shards that are published.
    committed_samples : set of int
        The published shards of the image table.
    """

    dataset: str
    split: str
    n_images: int
    n_shards: int
    shard_images: int
    committed: Mapping[ModelTap, set[int]]
    committed_samples: set[int]

    def images_of(self, shard: int) -> int:
        """Images of a shard; the last one may be smaller."""
        return min(self.shard_images, self.n_images - shard * self.shard_images)


@dataclass(frozen=True)
class MissingShard:
    """One shard to be decoded once, for the models and taps that still miss it (none: only its image table does)."""

    dataset: str
    split: str
    shard: int
    n_images: int
    parts: tuple[ModelTap, ...]

    @property
    def models(self) -> tuple[str, ...]:
        """The models of the parts, each once."""
        return tuple(dict.fromkeys(part.model for part in self.parts))

    @property
    def passes(self) -> int:
        """Images x models: what progress is counted in."""
        return self.n_images * len(self.models)


def missing_shards(wanted: Sequence[Wanted], groups: Iterable[Collection[str]] | None = None) -> list[MissingShard]:
    """The shards that some model, or the image table, still misses.

    Parameters
    ----------
    wanted : sequence of Wanted
    groups : iterable of collections of str, optional
        Models that a worker can hold at once; by default all of them. All shards of one group come before those of the
        next, in the order of `wanted`, so that a worker loads a network once.
    """
    every = {part.model for item in wanted for part in item.committed}
    planned: set[tuple[str, str, int]] = set()
    units = []
    for models in groups if groups is not None else [every]:
        for unit in _units(wanted, models):
            place = (unit.dataset, unit.split, unit.shard)
            if unit.parts or place not in planned:
                units.append(unit)
            planned.add(place)
    return units


def _units(wanted: Iterable[Wanted], models: Collection[str]) -> Iterator[MissingShard]:
    for item in wanted:
        for shard in range(item.n_shards):
            parts = tuple(part for part, done in item.committed.items() if part.model in models and shard not in done)
            if parts or shard not in item.committed_samples:
                yield MissingShard(item.dataset, item.split, shard, item.images_of(shard), parts)


def groups_that_fit(weight_bytes: Mapping[str, int], room: int) -> list[tuple[str, ...]]:
    """Models to be held at once, so that their weights take at most `room` bytes; one larger than that goes alone.

    Parameters
    ----------
    weight_bytes : mapping of str to int
        In the order in which models should share a group: those of equal preprocessing next to each other.
    """
    groups: list[list[str]] = []
    taken = 0
    for model, size in weight_bytes.items():
        if not groups or taken + size > room:
            groups.append([])
            taken = 0
        groups[-1].append(model)
        taken += size
    return [tuple(group) for group in groups]
