"""The live view fits its terminal, and says what matters in it."""

import re

import pytest

from cluster.reporting.events import Failed, Part, StageStarted
from cluster.reporting.progress_view import nodes_text, view
from cluster.reporting.stage_state import StageState
from cluster.work.kinds.features import Made, ShardDone


def state(n_models: int, n_datasets: int, *, model: str = "resnet{}.a1_in1k", shards: int = 4) -> StageState:
    """The first dataset is done, half of the second."""
    models = [model.format(number) for number in range(n_models)]
    datasets = [f"dataset_{number}" for number in range(n_datasets)]
    parts = tuple(Part(m, "penultimate", d, "train", shards, 0) for d in datasets for m in models)
    found = StageState(StageStarted("features", shards * 8 * len(parts), "images x models", "shards", parts), 0.0)
    work = [(d, s) for d, count in zip(datasets, (shards, shards // 2), strict=False) for s in range(count)]
    for number, (dataset, shard) in enumerate(work):
        made = tuple(Made(m, ("penultimate",), 1.0) for m in models)
        found.add(ShardDone(dataset, "train", shard, 8, 2.0, f"node-{number % 5}", made), 2.0 * (number + 1))
    return found


def view_of(found: StageState, *size, **options):
    return view([found], *size, **options)


@pytest.mark.parametrize("n_models", [1, 3, 20, 60])
@pytest.mark.parametrize("n_datasets", [1, 12, 40])
@pytest.mark.parametrize(("width", "height"), [(80, 24), (200, 50), (80, 8), (40, 10), (10, 3), (1, 1)])
def test_the_view_fits_any_terminal(n_models, n_datasets, width, height):
    lines = view_of(state(n_models, n_datasets, model="vit_small_patch{}_224.augreg_in1k"), 20.0, width, height).plain
    assert max(map(len, lines.split("\n"))) < max(width, 2)
    assert lines.count("\n") + 1 < max(height, 4)


def test_cells_say_done_a_share_or_nothing_and_failures_stand_out():
    found = state(2, 3)
    found.add(Failed("extract", "resnet1.a1_in1k", None, "dataset_2", None, "E", "m", kind="features"), 12.0)
    head, *rows = view_of(found, 12.0, 80, 24).plain.split("\n")
    assert head.split() == ["%", "done", "dataset_0", "dataset_1", "dataset_2"]
    cells = {row.split()[0]: row.split()[1:] for row in rows[:2]}
    assert cells == {"resnet0.a1_in1k": ["✓", "50", "·"], "resnet1.a1_in1k": ["✓", "50", "✗"]}


def test_columns_that_cannot_be_named_are_numbered_and_explained():
    lines = view_of(state(20, 20, model="m{}_with_a_long_name"), 12.0, 120, 50).plain.split("\n")
    assert lines[0].split()[2:] == [str(number) for number in range(1, 21)]
    legend = " ".join(lines[21:])
    assert "1 m0_with_a_long_name" in legend
    assert "20 m19_with_a_long_name" in legend


def test_what_is_finished_makes_room_first():
    lines = view_of(state(40, 40), 12.0, 80, 16).plain.split("\n")
    assert not any(line.startswith("dataset_0 ") for line in lines)
    assert any(line.startswith("dataset_1 ") for line in lines)
    assert any(re.fullmatch(r"and \d+ more datasets", line) for line in lines)
    assert any(re.fullmatch(r"and \d+ more models", line) for line in lines)


def test_below_the_grid_are_amount_rate_time_left_and_nodes():
    *_, bar, rates = view_of(state(2, 3), 12.0, 100, 24).plain.split("\n")
    assert bar.endswith("50%  96 of 192 images x models")
    assert "8/s, about 12 s left, 5 nodes: node-0" in rates


def test_trouble_has_a_line_of_its_own():
    found = state(2, 3)
    found.add(Failed("extract", "resnet1.a1_in1k", None, "dataset_2", None, "E", "m", kind="features"), 12.0)
    assert view_of(found, 12.0, 100, 24).plain.endswith("\n1 failed")


def test_no_time_left_is_promised_before_something_was_measured():
    text = view_of(StageState(StageStarted("features", 10, "images x models", "shards"), 0.0), 4.0, 80, 24).plain
    assert "waiting for the first result, 4 s so far" in text


def test_a_stage_that_is_over_says_how_long_it_took():
    text = view_of(state(2, 1), 65.0, 80, 24).plain
    assert "100%  64 of 64 images x models\ndone after 1 min 5 s, 4 nodes" in text


def test_a_terminal_without_unicode_gets_none():
    assert view_of(state(20, 12, model="vit_small_patch{}_224.augreg"), 12.0, 80, 24, plain=True).plain.isascii()


def test_as_many_nodes_are_named_as_fit():
    nodes = [(f"node-{number}", 100.0) for number in range(5)]
    assert nodes_text(nodes) == "5 nodes: node-0 100/s, node-1 100/s, node-2 100/s and 2 more"
    assert nodes_text(nodes, 40) == "5 nodes: node-0 100/s and 4 more"
    assert nodes_text(nodes[:1], 5) == "1 node"


def test_stages_that_run_side_by_side_have_a_bar_each_and_the_grid_is_of_the_first():
    probes = StageState(StageStarted("probes", 12, "cells", "cells"), 0.0)
    lines = view([state(2, 3), probes], 12.0, 100, 24).plain.split("\n")
    assert lines[0].startswith("% done")
    assert [line.split()[0] for line in lines if " of " in line and "%" in line] == ["features", "probes"]
    assert "waiting for the first result" in lines[-1]
