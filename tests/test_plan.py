from cluster.plan import Placement, ShardUnit, Wanted, missing_shards, place


def wanted(committed: dict[str, set[int]], samples: set[int]) -> Wanted:
    return Wanted("pets", "train", 26, 4, 8, committed, samples)


def test_a_shard_is_planned_once_for_all_models_that_miss_it():
    units = missing_shards([wanted({"a": {0, 1}, "b": {0}}, {0, 1})])
    assert units == [
        ShardUnit("pets", "train", 1, 8, ("b",)),
        ShardUnit("pets", "train", 2, 8, ("a", "b")),
        ShardUnit("pets", "train", 3, 2, ("a", "b")),
    ]
    assert sum(unit.passes for unit in units) == 8 + 16 + 4


def test_nothing_is_planned_when_everything_is_committed():
    assert missing_shards([wanted({"a": {0, 1, 2, 3}}, {0, 1, 2, 3})]) == []


def test_a_missing_image_table_is_planned_without_models():
    assert missing_shards([wanted({"a": {0, 1, 2, 3}}, {0, 1, 3})]) == [ShardUnit("pets", "train", 2, 8, ())]


def test_workers_fill_the_machine_without_fighting():
    assert place([{"CPU": 2}]) == Placement(2, 1, 0)
    assert place([{"CPU": 64}]) == Placement(16, 4, 0)
    assert place([{"CPU": 64, "GPU": 8}]) == Placement(8, 8, 1)


def test_every_worker_finds_a_place_on_uneven_nodes():
    assert place([{"CPU": 4, "GPU": 1}, {"CPU": 60, "GPU": 1}, {"CPU": 16}]) == Placement(2, 4, 1)
    assert place([{"CPU": 2}, {"CPU": 16}]) == Placement(18, 1, 0)
