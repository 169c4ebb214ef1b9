"""Plans of a few sets and cells, worked out by hand."""

from dataclasses import replace

import pytest

from cluster.runs.estimate import CellStock, PairPlan, Rates, SetStock, pair_plan, plan_table, rates_of, summary_lines

TRAIN = SetStock(
    model="net",
    tap="penultimate",
    dataset="pets",
    split="train",
    images=100,
    shards=4,
    missing_shards=2,
    missing_images=45,
    bytes_per_image=2 * 32,
)
TEST = replace(TRAIN, split="test", images=20, shards=1, missing_shards=0, missing_images=0)
DONE = CellStock("net", "pets", "knn", False, True)
MISSING = replace(DONE, done=False)
RATES = Rates({("net", "pets"): 9.0, ("net", None): 5.0}, {("knn", False, "pets"): 2.0, ("knn", False, None): 4.0})


def test_a_pair_is_the_sum_of_its_splits_and_cells():
    plan = pair_plan([TRAIN, TEST], [DONE, MISSING, MISSING], RATES)
    assert plan == PairPlan(
        model="net",
        dataset="pets",
        images=120,
        shards=5,
        shards_missing=2,
        passes_missing=45,
        bytes_missing=45 * 64,
        cells=3,
        cells_missing=2,
        worker_seconds=pytest.approx(45 / 9 + 2 * 2),
    )


def test_taps_share_a_pass_through_the_network_and_not_their_bytes():
    cls = replace(TRAIN, tap="cls", missing_shards=3, missing_images=70, bytes_per_image=10)
    plan = pair_plan([TRAIN, cls, TEST], [], RATES)
    assert (plan.images, plan.shards, plan.shards_missing, plan.passes_missing) == (120, 9, 5, 70)
    assert plan.bytes_missing == 45 * 64 + 70 * 10


def test_what_was_measured_on_other_datasets_is_the_second_best():
    elsewhere = replace(TRAIN, dataset="cars")
    plan = pair_plan([elsewhere], [replace(MISSING, dataset="cars")], RATES)
    assert plan.worker_seconds == pytest.approx(45 / 5 + 4)


def test_where_nothing_was_measured_time_is_not_known():
    assert pair_plan([TRAIN], [], Rates()).worker_seconds is None
    assert pair_plan([TEST], [replace(MISSING, few=True)], RATES).worker_seconds is None


def test_what_is_done_takes_no_time_and_no_room_whatever_is_known():
    plan = pair_plan([replace(TEST, bytes_per_image=None)], [DONE], Rates())
    assert (plan.worker_seconds, plan.bytes_missing) == (0, 0)


def test_a_width_that_is_not_known_yet_is_a_size_that_is_not_known():
    assert pair_plan([replace(TRAIN, bytes_per_image=None)], [], RATES).bytes_missing is None


def test_rates_are_means_of_the_time_that_things_take():
    progress = [
        {"model": "net", "dataset": "pets", "images_per_second": 10.0},
        {"model": "net", "dataset": "cars", "images_per_second": 30.0},
        {"model": "net", "dataset": "food", "images_per_second": None},
    ]
    results = [
        {"probe": "knn", "n_per_class": None, "dataset": "pets", "seconds": 1.0},
        {"probe": "knn", "n_per_class": None, "dataset": "cars", "seconds": 3.0},
        {"probe": "knn", "n_per_class": 5, "dataset": "cars", "seconds": 0.5},
    ]
    rates = rates_of(progress, results)
    assert rates.image_seconds("net", "pets") == pytest.approx(1 / 10)
    assert rates.image_seconds("net", "food") == pytest.approx((1 / 10 + 1 / 30) / 2)
    assert rates.image_seconds("other", "pets") is None
    assert rates.cell_seconds(CellStock("net", "food", "knn", False, False)) == pytest.approx(2.0)
    assert rates.cell_seconds(CellStock("net", "food", "knn", True, False)) == pytest.approx(0.5)


def test_the_plan_is_a_table_with_a_row_per_pair():
    (row,) = plan_table([pair_plan([TRAIN], [MISSING], Rates(), problem="gone")]).to_pylist()
    assert row["shards_missing"] == 2
    assert (row["worker_seconds"], row["problem"]) == (None, "gone")


def test_the_plan_in_words():
    known, unknown = pair_plan([TRAIN, TEST], [MISSING], RATES), pair_plan([TRAIN], [], Rates())
    assert summary_lines([known]) == [
        "Missing: 2 of 5 shards (45 images x models, 2.88 kB before compression), 1 of 1 cells.",
        "Time of one worker: about 7 s; several workers share it.",
    ]
    assert "and what 1 of 2 rows take, of which nothing was measured yet" in summary_lines([known, unknown])[1]
    assert "not known, nothing like it was measured" in summary_lines([unknown])[1]
    done = pair_plan([TEST], [DONE], Rates())
    assert summary_lines([done]) == ["Nothing is missing: 1 shards and 1 cells are in the store."]
    assert summary_lines([done, PairPlan(model="x", dataset="y", problem="gone")])[-1].endswith("1 of 2 rows.")
