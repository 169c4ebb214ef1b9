from cluster.work.missing_shards import MissingShard, ModelTap, Wanted, groups_that_fit, missing_shards


def wanted(committed: dict[str, set[int]], samples: set[int]) -> Wanted:
    return Wanted("pets", "train", 26, 4, 8, {part(model): done for model, done in committed.items()}, samples)


def part(model: str, tap: str = "penultimate") -> ModelTap:
    return ModelTap(model, tap)


def test_a_shard_is_planned_once_for_all_models_that_miss_it():
    units = missing_shards([wanted({"a": {0, 1}, "b": {0}}, {0, 1})])
    assert units == [
        MissingShard("pets", "train", 1, 8, (part("b"),)),
        MissingShard("pets", "train", 2, 8, (part("a"), part("b"))),
        MissingShard("pets", "train", 3, 2, (part("a"), part("b"))),
    ]
    assert sum(unit.passes for unit in units) == 8 + 16 + 4


def test_several_taps_of_a_model_are_one_pass():
    committed = {part("a"): {0, 1, 2, 3}, part("a", "cls"): {0, 1, 2}, part("a", "logits"): set()}
    units = missing_shards([Wanted("pets", "train", 26, 4, 8, committed, {0, 1, 2, 3})])
    assert units[-1] == MissingShard("pets", "train", 3, 2, (part("a", "cls"), part("a", "logits")))
    assert [unit.passes for unit in units] == [8, 8, 8, 2]


def test_nothing_is_planned_when_everything_is_committed():
    assert missing_shards([wanted({"a": {0, 1, 2, 3}}, {0, 1, 2, 3})]) == []


def test_a_missing_image_table_is_planned_without_models():
    everything = [wanted({"a": {0, 1, 2, 3}}, {0, 1, 3})]
    assert missing_shards(everything) == [MissingShard("pets", "train", 2, 8, ())]
    assert missing_shards(everything, [["a"], ["b"]]) == [MissingShard("pets", "train", 2, 8, ())]


def test_models_that_do_not_fit_together_are_planned_one_group_after_the_other():
    units = missing_shards([wanted({"a": {2, 3}, "b": {3}, "c": {1, 2, 3}}, {0, 1, 2, 3})], [("a", "c"), ("b",)])
    assert [(unit.shard, unit.models) for unit in units] == [
        (0, ("a", "c")),
        (1, ("a",)),
        (0, ("b",)),
        (1, ("b",)),
        (2, ("b",)),
    ]


def test_groups_take_as_many_models_as_there_is_room_for():
    assert groups_that_fit({"a": 3, "b": 4, "c": 9, "d": 1}, 8) == [("a", "b"), ("c",), ("d",)]
    assert groups_that_fit({"a": 3, "b": 4}, 100) == [("a", "b")]
    assert groups_that_fit({}, 8) == []
