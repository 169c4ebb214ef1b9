"""The stock of shards: which are there of each set, and which sets have all theirs and no manifest yet."""

from __future__ import annotations

from collections import deque

from cluster.work.store_inventory import Inventory
from featurestore import FeatureSet, SampleSet
from featurestore.store.feature_store import Part

AnySet = FeatureSet | SampleSet


class ShardStock:
    """The stock of the shards of sets.

    Attributes
    ----------
    due : deque of FeatureSet or SampleSet
        Sets that can be completed: all shards are there, and the manifest is not. A killed run may have left some.
    """

    def __init__(self, inventory: Inventory) -> None:
        self.due: deque[AnySet] = deque()
        self._inventory = inventory
        self._n_shards: dict[AnySet, int] = {}
        self._shards: dict[AnySet, set[int]] = {}
        self._parts: dict[AnySet, dict[str, Part]] = {}
        self._whole: dict[int, set[int]] = {}

    def add(self, item: AnySet, n_shards: int) -> None:
        """Keep stock of a set of so many shards."""
        self._n_shards[item] = n_shards
        complete = self._inventory.has(item)
        self._shards[item] = self._all(n_shards) if complete else self._inventory.shards(item)
        if not complete:
            self._look_whether_due(item)

    def _all(self, n_shards: int) -> set[int]:
        """Return all shards of a set: complete sets share them, because nothing is added to them any more."""
        if n_shards not in self._whole:
            self._whole[n_shards] = set(range(n_shards))
        return self._whole[n_shards]

    def shards(self, item: AnySet) -> set[int]:
        """Return the published shards of a set."""
        return self._shards[item]

    def note(self, item: AnySet, shard: int, part: Part | None) -> None:
        """Note a published shard, and the part that is stored, if it is known. A shard may come twice."""
        if item not in self._shards or shard in self._shards[item]:
            return
        self._shards[item].add(shard)
        if part is not None:
            self._parts.setdefault(item, {})[part.name] = part
        self._look_whether_due(item)

    def parts(self, item: AnySet) -> tuple[Part, ...]:
        """Return the known parts of a set, and forget them."""
        return tuple(self._parts.pop(item, {}).values())

    def _look_whether_due(self, item: AnySet) -> None:
        if len(self._shards[item]) == self._n_shards[item]:
            self.due.append(item)
