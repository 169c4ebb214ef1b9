"""Where a stage stands, on a clock that the tests move."""

import pytest

from cluster.reporting.events import Failed, Part, Retry, StageChanged, StageStarted
from cluster.reporting.stage_state import Meter, StageState
from cluster.work.kinds.features import Made, ShardDone
from cluster.work.kinds.probes import CellDone

TAPS = ("penultimate", "cls")


def stage(models=("a", "b"), *, taps=("penultimate",), wanted=4, done=0, total=64) -> StageStarted:
    parts = tuple(Part(model, tap, "pets", "train", wanted, done) for model in models for tap in taps)
    return StageStarted("features", total, "images x models", "shards", parts)


def shard(number=0, *, models=("a", "b"), failed=(), seconds=2.0, node="n1", taps=("penultimate",)) -> ShardDone:
    made = tuple(Made(model, taps, 0.5 * (1 + position)) for position, model in enumerate(models))
    return ShardDone("pets", "train", number, 8, seconds, node, made, failed)


def test_a_shard_counts_for_every_model_that_it_was_made_for():
    state = StageState(stage(), 0.0)
    state.add(shard(models=("a",), failed=("b",)), 10.0)
    assert state.handled == 16
    assert state.shares() == {("a", "pets"): 0.25, ("b", "pets"): 0.0}


def test_what_was_there_before_counts_as_done():
    assert StageState(stage(wanted=4, done=3), 0.0).shares()["a", "pets"] == 0.75


def test_a_shard_that_comes_twice_makes_nothing_more_than_done():
    state = StageState(stage(wanted=1), 0.0)
    state.add(shard(), 1.0)
    state.add(shard(), 2.0)
    assert state.shares()["a", "pets"] == 1.0


def test_every_tap_is_a_part_of_its_own_with_the_images_of_its_model():
    state = StageState(stage(("a",), taps=TAPS), 0.0)
    state.add(shard(models=("a",), taps=TAPS, seconds=4.0), 5.0)
    assert [(part.done, part.images_per_second) for part in state.parts()] == [(1, 2.0), (1, 2.0)]


def test_the_time_of_a_shard_is_shared_out_by_the_time_in_the_networks():
    """Two networks of 0.5 and 1 seconds in a shard of 6: a third of it, and two thirds."""
    state = StageState(stage(), 0.0)
    state.add(shard(seconds=6.0), 6.0)
    assert {part.part.model: part.seconds for part in state.parts()} == {"a": pytest.approx(2), "b": pytest.approx(4)}


def test_the_clock_starts_with_the_first_piece_of_work_and_not_with_the_workers():
    """Ray took 100 seconds to start; two workers then do 8 images in 2 seconds each."""
    meter = Meter()
    for now in (102.0, 102.0, 104.0, 104.0):
        meter.add(8, 2.0, now)
    assert meter.rate(104.0) == pytest.approx(8.0)


def test_no_rate_is_said_of_a_single_piece():
    meter = Meter()
    meter.add(8, 2.0, 2.0)
    assert meter.rate(2.0) is None


def test_the_rate_is_that_of_the_last_minutes():
    meter = Meter()
    for now in range(1, 101):
        meter.add(1, 1.0, now)
    for now in range(101, 301):
        meter.add(10, 1.0, now)
    assert meter.rate(300.0) == pytest.approx(10.0)


def test_a_rate_of_long_pieces_is_of_several():
    meter = Meter()
    for piece in range(1, 11):
        meter.add(1, 600.0, 600.0 * piece)
    assert meter.rate(6000.0) == pytest.approx(1 / 600)


def test_a_run_that_hangs_slows_down():
    meter = Meter()
    for now in (1.0, 2.0, 3.0, 4.0):
        meter.add(1, 1.0, now)
    assert meter.rate(8.0) == pytest.approx(0.5)


def test_what_is_left_takes_as_long_as_it_does_now():
    state = StageState(stage(total=160), 0.0)
    for number, now in enumerate((2.0, 4.0)):
        state.add(shard(number), now)
    assert state.rate(4.0) == pytest.approx(8.0)
    assert state.seconds_left(4.0) == pytest.approx((160 - 32) / 8)


def test_nodes_have_rates_of_their_own():
    state = StageState(stage(), 0.0)
    for now in (2.0, 4.0):
        state.add(shard(node="slow"), now)
    for now in (5.0, 6.0, 7.0):
        state.add(shard(node="fast", seconds=1.0), now)
    assert [name for name, _ in state.nodes(7.0)] == ["fast", "slow"]
    assert dict(state.nodes(7.0))["fast"] == pytest.approx(16.0)


def test_a_shard_that_nobody_worked_on_says_nothing_of_the_rate():
    state = StageState(stage(total=160), 0.0)
    for number, now in enumerate((2.0, 4.0)):
        state.add(shard(number), now)
    state.add(ShardDone("pets", "train", 3, 8, 0.0, "n1", failed=("a", "b")), 4.0)
    assert (state.handled, state.rate(4.0)) == (48, pytest.approx(8.0))


def test_a_cell_is_a_piece_of_its_model_and_dataset_unless_it_failed():
    state = StageState(StageStarted("probes", 2, "cells", "cells", (Part("a", "cls", "pets", None, 2, 0),)), 0.0)
    state.add(CellDone("k1", "a", "cls", "pets", "knn", 1.0, "n1"), 1.0)
    state.add(CellDone("k2", "a", "cls", "pets", "ncm", 1.0, "n1", failed=True), 2.0)
    assert (state.handled, state.shares()) == (2, {("a", "pets"): 0.5})


def test_failures_of_a_dataset_are_failures_of_all_its_models():
    state = StageState(stage(), 0.0)
    state.add(Failed("dataset", None, None, "pets", None, "DatasetError", "gone", kind="features"), 1.0)
    state.add(Retry("features", "pets train shard 0", "node lost", "n1"), 1.0)
    assert (state.failures, state.retries) == (1, 1)
    assert state.has_failed("a", "pets")
    assert not state.has_failed("a", "cars")


def test_events_of_another_stage_leave_a_stage_as_it_is_but_for_the_marks_of_failures():
    state = StageState(stage(), 0.0)
    state.add(CellDone("k1", "a", "penultimate", "pets", "knn", 1.0, "n1"), 1.0)
    state.add(Retry("probes", "knn of a on pets", "node lost", "n1"), 1.0)
    state.add(Failed("probe", "b", "penultimate", "pets", "k2", "E", "no", kind="probes"), 1.0)
    assert (state.handled, state.retries, state.failures) == (0, 0, 0)
    assert state.has_failed("b", "pets")


def test_a_stage_that_changes_goes_on_with_its_new_parts_and_keeps_its_rates():
    state = StageState(stage(("a",)), 0.0)
    state.add(shard(models=("a",)), 2.0)
    state.add(StageChanged("features", 128, (Part("a", "penultimate", "pets", "train", 8, 2),)), 3.0)
    (part,) = state.parts()
    assert (state.total, state.handled, part.done, part.images) == (128, 8, 2, 8)
