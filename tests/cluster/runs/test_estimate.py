"""Plans of a few pieces of work, worked out by hand."""

from dataclasses import replace

import pytest

from cluster.runs.estimate import Block, PairPlan, plan_table, summary_lines
from cluster.work.rates import rates_of

KNOWN = PairPlan(
    model="net",
    dataset="pets",
    images=120,
    blocks={"shards": Block(5, 2, 45, "images x models", 5.0), "cells": Block(1, 1, 1, "cells", 2.0)},
    bytes_missing=45 * 64,
)
UNKNOWN = PairPlan(model="new", dataset="pets", blocks={"shards": Block(4, 2, 45, "images x models", None)})


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
    assert rates.cell_seconds("knn", False, "food") == pytest.approx(2.0)
    assert rates.cell_seconds("knn", True, "food") == pytest.approx(0.5)


def test_the_plan_is_a_table_with_a_row_per_pair_and_two_columns_per_kind_of_work():
    table = plan_table([replace(UNKNOWN, problem="gone"), replace(KNOWN, blocks={"checkpoints": Block(3, 1)})])
    first, second = table.to_pylist()
    assert (first["shards"], first["shards_missing"], first["cells"], first["checkpoints"]) == (4, 2, 0, 0)
    assert (first["worker_seconds"], first["problem"]) == (None, "gone")
    assert (second["checkpoints"], second["checkpoints_missing"]) == (3, 1)


def test_the_plan_in_words():
    assert summary_lines([KNOWN]) == [
        "Missing: 2 of 5 shards (45 images x models, 2.88 kB before compression), 1 of 1 cells.",
        "Time of one worker: about 7 s; several workers share it.",
    ]
    assert "about 7 s, and the time of 2 shards that is not known yet" in summary_lines([KNOWN, UNKNOWN])[1]
    assert "not known, because nothing like it was measured" in summary_lines([UNKNOWN])[1]
    assert "--measure" in summary_lines([UNKNOWN])[1]
    done = replace(KNOWN, blocks={"shards": Block(1, 0), "cells": Block(1, 0)})
    assert summary_lines([done]) == ["Nothing is missing: 1 shards and 1 cells are in the store."]
    unusable = PairPlan(model="net", dataset=None, problem="there are no weights")
    assert summary_lines([done, unusable]) == [
        "Nothing that can be computed is missing: 1 shards and 1 cells are in the store.",
        "Not possible or not tried: 1 of 2 rows.",
    ]
    assert summary_lines([done, PairPlan(model="x", dataset="y", problem="gone")])[-1].endswith("1 of 2 rows.")


def test_a_size_that_is_not_known_is_said_to_be_more():
    line = summary_lines([KNOWN, replace(UNKNOWN, bytes_missing=None)])[0]
    assert "more than 2.88 kB before compression" in line
    assert (
        "of a size that is known when the networks have run" in summary_lines([replace(UNKNOWN, bytes_missing=None)])[0]
    )
