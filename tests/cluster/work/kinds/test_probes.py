"""The cells that probe settings want of a pair."""

import json
import shlex
from dataclasses import replace

import pytest
from silent import Silent

from cluster.commands.probe import command
from cluster.runs.stored_runs import probe_command, study_name
from cluster.study.probe_settings import ProbeSettings, probe_settings
from cluster.work.contract import Run
from cluster.work.kinds.probes import Probes, cells_of, few_images, left_out
from cluster.work.ledger import Ledger
from cluster.work.pairs import Pair, Pairs
from cluster.work.store_inventory import Inventory
from featurestore import SplitSets
from featurestore.store.layout import check_name
from probes.cells.results import Cell

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
    assert left_out(TAGS, settings, classifier=True) == [
        "Images of tags can have several labels, so these are left out there: ncm, few-shot tasks."
    ]
    assert left_out(PETS, settings, classifier=True) == []
    assert left_out(TAGS, ProbeSettings(probes=("knn",)), classifier=True) == []


def test_what_a_network_does_not_allow_is_left_out_and_said():
    settings = ProbeSettings(probes=("leep", "logme", "nce"))
    headless = replace(PETS, features=replace(FEATURES, model="headless"))
    assert [cell.probe for cell in cells_of(PETS, settings)] == ["leep", "logme", "nce"]
    assert [cell.probe for cell in cells_of(headless, settings, classifier=False)] == ["logme"]
    assert left_out(headless, settings, classifier=False) == [
        "No linear classifier of headless is in the store, so these probes are left out there: leep, nce."
    ]
    assert left_out(headless, ProbeSettings(probes=("logme",)), classifier=False) == []


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


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        (probe_settings(probes=["ncm"], options=[]), "probestore probe --probe ncm"),
        (
            probe_settings(
                probes=["logistic", "knn"],
                solver="sklearn",
                seed=3,
                n_per_class=[2, 5],
                few_shot_seeds=1,
                options=["knn.ks=[1, 20]", "logistic.scaling=standardize"],
            ),
            "probestore probe --probe logistic --probe knn --n-per-class 2 --n-per-class 5 --solver sklearn "
            "--few-shot-seeds 1 --seed 3 -o 'knn.ks=[1, 20]' -o 'logistic.scaling=\"standardize\"'",
        ),
    ],
    ids=["plain", "with all options"],
)
def test_the_command_that_wants_added_probes_asks_for_the_same_again(settings, text):
    assert probe_command(settings) == text
    keys = command.make_context("probe", shlex.split(text)[2:]).params
    own = ("solver", "n_per_class", "few_shot_seeds", "seed")
    again = probe_settings(probes=list(keys["probes"]), options=keys["texts"], **{name: keys[name] for name in own})
    assert again == settings


def test_hundreds_of_pairs_that_get_other_features_do_not_write_all_wishes_as_often(store, monkeypatch):
    run = Run(store, Inventory(store), Pairs(), Ledger("study", store, Silent()), lambda event: None)
    pairs = [replace(PETS, features=replace(FEATURES, model=f"net_{number}")) for number in range(300)]
    run.pairs.want(pairs)
    probes = Probes(run, ProbeSettings(probes=("knn", "ncm")))
    written = []
    want = run.ledger.want
    monkeypatch.setattr(run.ledger, "want", lambda *args, **options: (written.append(1), want(*args, **options)))
    for pair in pairs:
        run.pairs.want([replace(pair, features=replace(pair.features, train_key="float32"))])
        probes.follow()
    assert len(written) < 30
    probes.cut_short()
    assert store.read_record("cells", "study")["train_key"].to_pylist() == ["float32"] * 600


def test_few_shot_tasks_that_want_more_images_than_there_are_are_said():
    settings = ProbeSettings(probes=("ncm",), n_per_class=(2, 5, 100), few_shot_seeds=2)
    uneven = replace(PETS, features=replace(FEATURES, dataset="d"), class_counts=(3, 40))
    assert list(few_images(uneven, settings)) == [
        "1 of 2 classes of d have fewer than 5 training images: few-shot tasks with n_per_class = 5 use what there is.",
        "No class of d has 100 training images: few-shot tasks with n_per_class = 100 use all 43, in one draw.",
    ]
    assert grain(cells_of(uneven, settings))[1:] == [
        ("ncm", 2, 0), ("ncm", 2, 1), ("ncm", 5, 0), ("ncm", 5, 1), ("ncm", 100, 0)
    ]  # fmt: skip
    assert list(few_images(PETS, settings)) == []
