import json
from dataclasses import replace

from cluster.runs.add_probes import study_name
from cluster.work.wanted_cells import Pair, cells_of, left_out

from cluster.study.probe_settings import ProbeSettings, probe_settings
from cluster.work.missing_shards import ModelTap, ShardUnit, Wanted, groups_that_fit, missing_shards
from featurestore import SplitSets
from featurestore.store.layout import check_name
from probes.cells.results import Cell


def wanted(committed: dict[str, set[int]], samples: set[int]) -> Wanted:
    return Wanted("pets", "train", 26, 4, 8, {part(model): done for model, done in committed.items()}, samples)


def part(model: str, tap: str = "penultimate") -> ModelTap:
    return ModelTap(model, tap)


def test_a_shard_is_planned_once_for_all_models_that_miss_it():
    units = missing_shards([wanted({"a": {0, 1}, "b": {0}}, {0, 1})])
    assert units == [
        ShardUnit("pets", "train", 1, 8, (part("b"),)),
        ShardUnit("pets", "train", 2, 8, (part("a"), part("b"))),
        ShardUnit("pets", "train", 3, 2, (part("a"), part("b"))),
    ]
    assert sum(unit.passes for unit in units) == 8 + 16 + 4


def test_several_taps_of_a_model_are_one_pass():
    committed = {part("a"): {0, 1, 2, 3}, part("a", "cls"): {0, 1, 2}, part("a", "logits"): set()}
    units = missing_shards([Wanted("pets", "train", 26, 4, 8, committed, {0, 1, 2, 3})])
    assert units[-1] == ShardUnit("pets", "train", 3, 2, (part("a", "cls"), part("a", "logits")))
    assert [unit.passes for unit in units] == [8, 8, 8, 2]


def test_nothing_is_planned_when_everything_is_committed():
    assert missing_shards([wanted({"a": {0, 1, 2, 3}}, {0, 1, 2, 3})]) == []


def test_a_missing_image_table_is_planned_without_models():
    everything = [wanted({"a": {0, 1, 2, 3}}, {0, 1, 3})]
    assert missing_shards(everything) == [ShardUnit("pets", "train", 2, 8, ())]
    assert missing_shards(everything, [["a"], ["b"]]) == [ShardUnit("pets", "train", 2, 8, ())]


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


# ---- cells ------------------------------------------------------------------------------------------------------

FEATURES = SplitSets(model="net", dataset="pets", train_key="a", val_key="b", test_key="c")
PETS = Pair(features=FEATURES, metric="top1", n_classes=2, multilabel=False, model_key="k")
TAGS = Pair(
    features=replace(FEATURES, dataset="tags"), metric="map_11point", n_classes=2, multilabel=True, model_key="m"
)


def grain(cells: list[Cell]) -> list[tuple[str, int | None, int]]:
    return [(cell.probe, cell.n_per_class, cell.seed) for cell in cells]


def test_a_probe_is_wanted_on_all_images_and_on_few_of_them():
    settings = ProbeSettings(probes=("knn", "ncm"), seed=7, n_per_class=(1, 5), few_shot_seeds=2)
    few = [(1, 0), (1, 1), (5, 0), (5, 1)]
    wanted = [(name, *task) for name in ("knn", "ncm") for task in [(None, 7), *few]]
    assert grain(cells_of(PETS, settings)) == wanted


def test_a_measure_of_the_features_alone_is_wanted_once():
    settings = ProbeSettings(probes=("logme",), n_per_class=(1, 5))
    assert grain(cells_of(PETS, settings)) == [("logme", None, 0)]


def test_what_labels_do_not_allow_is_left_out_and_said():
    settings = ProbeSettings(probes=("knn", "ncm"), n_per_class=(5,))
    assert grain(cells_of(TAGS, settings)) == [("knn", None, 0)]
    assert left_out([PETS, TAGS, TAGS], settings) == [
        "Images of tags can have several labels; left out there: ncm, few-shot tasks."
    ]
    assert left_out([PETS], settings) == left_out([TAGS], ProbeSettings(probes=("knn",))) == []


def test_what_a_network_does_not_allow_is_left_out_and_said():
    settings = ProbeSettings(probes=("leep", "logme", "nce"))
    headless = replace(PETS, features=replace(FEATURES, model="headless"), classifier=False)
    assert [cell.probe for cell in cells_of(PETS, settings)] == ["leep", "logme", "nce"]
    assert [cell.probe for cell in cells_of(headless, settings)] == ["logme"]
    assert left_out([PETS, headless, headless], settings) == [
        "No linear classifier of headless is in the store; left out there: leep, nce."
    ]
    assert left_out([headless], ProbeSettings(probes=("logme",))) == []


def test_options_and_solver_are_part_of_a_cell():
    settings = probe_settings(probes=["logistic", "knn"], solver="sklearn", options=["knn.ks=[1]"])
    logistic, knn = cells_of(PETS, settings)
    assert (logistic.solver, knn.solver) == ("sklearn", "")
    assert json.loads(knn.options)["ks"] == [1]
    assert len(json.loads(logistic.options)["l2s"]) == 45
    plain = cells_of(PETS, ProbeSettings(probes=("knn",)))[0]
    assert plain.key != knn.key


def test_the_name_of_added_probes_can_be_part_of_a_path():
    assert study_name(ProbeSettings(probes=("knn", "ridge"))) == "probe+knn+ridge"
    names = tuple(f"a_probe_of_a_long_name_{i}" for i in range(9))
    assert check_name("study", study_name(ProbeSettings(probes=names)))
