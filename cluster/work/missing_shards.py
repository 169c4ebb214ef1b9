"""Wanted shards minus committed shards = missing shards. Pure: the committed ones come in as plain sets."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple


class ModelTap(NamedTuple):
    """A model and one of its taps, from which features come."""

    model: str
    tap: str


@dataclass(frozen=True)
class Wanted:
    """A split of a dataset whose features are wanted of several models.

    Attributes
    ----------
    dataset, split : str
        Names.
    n_images, n_shards : int
        Number of images and of shards of the split.
    shard_images : int
        Number of images of a shard.
    committed : mapping of ModelTap to set of int
        Every model and tap that should see the split -> its published shards.
    committed_samples : set of int
        Published shards of the image table.
    """

    dataset: str
    split: str
    n_images: int
    n_shards: int
    shard_images: int
    committed: Mapping[ModelTap, set[int]]
    committed_samples: set[int]

    def images_of(self, shard: int) -> int:
        """Return the number of images of a shard; the last one may be smaller."""
        return min(self.shard_images, self.n_images - shard * self.shard_images)


@dataclass(frozen=True)
class MissingShard:
    """A shard that is to be decoded once, for the models and taps that miss it; for none if only its table does."""

    dataset: str
    split: str
    shard: int
    n_images: int
    parts: tuple[ModelTap, ...]

    @property
    def models(self) -> tuple[str, ...]:
        """Models of the parts, each once."""
        return tuple(dict.fromkeys(part.model for part in self.parts))

    @property
    def passes(self) -> int:
        """Images x models, which progress is counted in."""
        return self.n_images * len(self.models)


def missing_shards(wanted: Sequence[Wanted], groups: Iterable[Collection[str]] | None = None) -> list[MissingShard]:
    """Return the shards that some model or the image table misses.

    Parameters
    ----------
    wanted : sequence of Wanted
        Splits whose features are wanted.
    groups : iterable of collections of str, optional
        Groups of models that a worker can hold at once; by default one group of all. All shards of one group come
        before those of the next, in the order of `wanted`, so that a worker loads each network once.
    """
    parts_of = [_by_model(item.committed) for item in wanted]
    planned: set[tuple[str, str, int]] = set()
    units = []
    for models in groups if groups is not None else [{model for parts in parts_of for model in parts}]:
        for item, parts in zip(wanted, parts_of, strict=True):
            for unit in _units(item, sorted(own for model in models for own in parts.get(model, ()))):
                place = (unit.dataset, unit.split, unit.shard)
                if unit.parts or place not in planned:
                    units.append(unit)
                planned.add(place)
    return units


def _by_model(parts: Iterable[ModelTap]) -> dict[str, list[tuple[int, ModelTap]]]:
    """Return the parts of each model, with their positions: a group of models is then found without the others."""
    found: dict[str, list[tuple[int, ModelTap]]] = {}
    for position, part in enumerate(parts):
        found.setdefault(part.model, []).append((position, part))
    return found


def _units(item: Wanted, own: Sequence[tuple[int, ModelTap]]) -> Iterator[MissingShard]:
    for shard in range(item.n_shards):
        parts = tuple(part for _, part in own if shard not in item.committed[part])
        if parts or shard not in item.committed_samples:
            yield MissingShard(item.dataset, item.split, shard, item.images_of(shard), parts)


def groups_that_fit(weight_bytes: Mapping[str, int], room: int) -> list[tuple[str, ...]]:
    """Return groups of models whose weights take at most `room` bytes. A larger model is a group of its own.

    Parameters
    ----------
    weight_bytes : mapping of str to int
        Size of the weights of each model. Neighbours share a group, so models of equal preprocessing should be next to
        each other.
    room : int
        Most bytes of a group.
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
