"""The shards that wait for a worker, by the models that they are for: those of one may have to wait for another's."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator

from cluster.work.missing_shards import MissingShard


class ShardQueue:
    """A queue of missing shards. Those for the same models come in their order, and first those that came first."""

    def __init__(self) -> None:
        self._shards: dict[tuple[str, ...], deque[MissingShard]] = {}

    def add(self, shard: MissingShard) -> None:
        """Put a shard at the end."""
        self._shards.setdefault(shard.models, deque()).append(shard)

    def take(self, models: tuple[str, ...]) -> MissingShard:
        """Return the next shard of a group, and forget it."""
        shard = self._shards[models].popleft()
        if not self._shards[models]:
            del self._shards[models]
        return shard

    def groups(self) -> list[tuple[str, ...]]:
        """Return the models that shards are for: a tuple of those that share their shards, those of the first first."""
        return list(self._shards)

    def __len__(self) -> int:
        return sum(map(len, self._shards.values()))

    def __iter__(self) -> Iterator[MissingShard]:
        return (shard for shards in self._shards.values() for shard in shards)
