"""Shards of models that are tried out wait; those of others do not."""

from cluster.work.missing_shards import MissingShard, ModelTap
from cluster.work.shard_queue import ShardQueue


def test_shards_wait_by_the_models_that_they_are_for():
    queue = ShardQueue()
    parts = [("a", "b"), ("b",), ("a", "b")]
    for number, models in enumerate(parts):
        queue.add(MissingShard("pets", "train", number, 8, tuple(ModelTap(name, "penultimate") for name in models)))
    assert queue.groups() == [("a", "b"), ("b",)]
    assert len(queue) == 3
    assert [queue.take(("a", "b")).shard, queue.take(("b",)).shard] == [0, 1]
    assert [shard.shard for shard in queue] == [2]
    assert queue.groups() == [("a", "b")]
