"""Questions about curves: accuracy against training images per class and against training steps."""

from __future__ import annotations

import math
from datetime import timedelta

import numpy as np
import pytest
from given import NOW, Given, Row, logit, score

# ---- training images per class ----------------------------------------------------------------------------------


def test_draws_are_averaged_and_the_full_task_comes_last(given: Given) -> None:
    draws = [
        score("a", "d0", value, n_per_class=5, seed=seed, n_train=50) for seed, value in enumerate([0.5, 0.6, 0.7])
    ]
    others = [score("a", "d0", 0.9), score("a", "d0", 0.4, n_per_class=1), score("a", "d0", 0.1, probe="knn")]
    rows = given(results=[*draws, *others]).query("few_shot_curves").to_pylist()
    assert [(row["n_per_class"], row["n_seeds"], row["n_train"]) for row in rows] == [
        (1, 1, 80), (5, 3, 50), (None, 1, 80)
    ]  # fmt: skip
    logits = [logit(p) for p in (0.5, 0.6, 0.7)]
    assert rows[1]["value"] == pytest.approx(0.6)
    assert rows[1]["standard_error"] == pytest.approx(0.1 / math.sqrt(3))
    assert rows[1]["logit"] == pytest.approx(np.mean(logits))
    assert rows[1]["logit_standard_error"] == pytest.approx(np.std(logits, ddof=1) / math.sqrt(3))
    assert (rows[0]["standard_error"], rows[0]["logit_standard_error"]) == (None, None)


def test_means_of_few_shot_curves_count_what_was_scored_with_every_number_of_images(given: Given) -> None:
    results = [
        score("a", "d0", 0.4, n_per_class=5),
        score("a", "d0", 0.8),
        score("b", "d0", 0.6, n_per_class=5),
        score("b", "d0", 1.0),
        score("only_full", "d0", 0.1),
        score("a", "d0", 0.3, setting="scratch"),
    ]
    rows = given(results=results).query("few_shot_means").to_pylist()
    assert [
        (row["setting"], row["images"], row["n_per_class"], row["n_models"], row["n_datasets"]) for row in rows
    ] == [
        ("fixed", "5", 5, 2, 1),
        ("fixed", "all", None, 2, 1),
    ]
    assert [row["value"] for row in rows] == [pytest.approx(0.5), pytest.approx(0.9)]


def test_settings_models_and_datasets_have_curves_of_their_own(given: Given) -> None:
    results = [
        score("a", "d0", 0.5, n_per_class=5),
        score("b", "d0", 0.6, n_per_class=5),
        score("a", "d1", 0.7, n_per_class=5),
        score("a", "d0", 0.8, n_per_class=5, setting="finetuned"),
    ]
    rows = given(results=results).query("few_shot_curves").to_pylist()
    assert [(row["dataset"], row["setting"], row["model"], row["value"]) for row in rows] == [
        ("d0", "finetuned", "a", 0.8), ("d0", "fixed", "a", 0.5), ("d0", "fixed", "b", 0.6), ("d1", "fixed", "a", 0.7)
    ]  # fmt: skip


def test_of_two_solvers_of_a_draw_the_later_counts(given: Given) -> None:
    rows = [
        score("a", "d0", 0.5, n_per_class=5),
        score("a", "d0", 0.1, n_per_class=5, solver="sklearn", created_at=NOW - timedelta(1)),
    ]
    assert given(results=rows).query("few_shot_curves")["value"].to_pylist() == [0.5]


# ---- training steps ---------------------------------------------------------------------------------------------


def run(steps: int, value: float, *, setting: str = "finetuned", dataset: str = "d0", **changes: object) -> Row:
    """A point of a training curve. 2,048 images are trained on."""
    row = score(
        "a", dataset, value, setting=setting, n_train=1800, n_val=248, n_test=1000, train_steps=steps, **changes
    )
    return {**row, "cell": f"{row['cell']}-{steps}"}


def test_every_number_of_steps_is_a_point_and_has_its_epochs(given: Given) -> None:
    results = [run(76, 0.5), run(152, 0.6), run(152, 0.7, seed=1), score("a", "d0", 0.9, setting="finetuned")]
    database = given(results=results)
    rows = database.query("training_curves").to_pylist()
    assert [(row["train_steps"], row["epochs"], row["n_seeds"]) for row in rows] == [(76, 9.5, 1), (152, 19, 2)]
    assert [row["value"] for row in rows] == pytest.approx([0.5, 0.65])
    assert rows[1]["logit"] == pytest.approx((logit(0.6) + logit(0.7)) / 2)
    assert database.query("training_curves", batch=512)["epochs"].to_pylist() == [19, 38]
    assert database.query("leaderboard", setting="finetuned")["mean_value"].to_pylist() == [0.9]


def test_where_a_run_does_not_say_its_images_the_dataset_does(given: Given) -> None:
    unknown = [{**run(76, 0.5), "n_train": None, "n_val": None}]
    record: Row = {"dataset": "d0", "n_train": 1000, "n_val": 24, "recorded_at": NOW}
    assert given(results=unknown).query("training_curves")["epochs"].to_pylist() == [None]
    assert given(results=unknown, datasets=[record]).query("training_curves")["epochs"].to_pylist() == [19]


CURVE = {76: 0.5, 152: 0.88, 305: 0.89, 610: 0.9, 1221: 0.87}


def test_steps_are_those_of_the_shortest_run_that_comes_close_in_odds(given: Given) -> None:
    database = given(results=[run(steps, value) for steps, value in CURVE.items()])
    odds = {steps: value / (1 - value) for steps, value in CURVE.items()}
    for share in (0.05, 0.8, 0.9, 1.0):
        whole, curve = database.query("steps_to_reach", share=share).to_pylist()
        assert whole["steps"] == pytest.approx(curve["steps"])
        assert curve["steps"] == min(s for s, o in odds.items() if o >= share * max(odds.values()) - 1e-9)


def test_a_setting_has_the_geometric_mean_of_its_curves(given: Given) -> None:
    early = [run(steps, 0.9 if steps >= 152 else 0.1) for steps in CURVE]
    late = [run(steps, 0.9 if steps >= 610 else 0.1, dataset="d1") for steps in CURVE]
    lone = [run(76, 0.5, dataset="d2"), run(0, 0.9, setting="scratch"), run(10, 0.9, setting="scratch")]
    whole, *curves = given(results=[*early, *late, *lone]).query("steps_to_reach").to_pylist()
    assert [(row["dataset"], row["steps"], row["epochs"]) for row in curves] == [("d0", 152, 19), ("d1", 610, 76.25)]
    assert (whole["setting"], whole["model"], whole["dataset"], whole["n_curves"]) == ("finetuned", None, None, 2)
    assert whole["steps"] == pytest.approx(math.sqrt(152 * 610))
    assert whole["epochs"] == pytest.approx(math.sqrt(19 * 76.25))
    assert [whole["steps_low"], whole["steps_high"]] == pytest.approx(np.quantile([152, 610], [0.25, 0.75]))


def test_a_share_beyond_the_best_is_never_reached(given: Given) -> None:
    rows = given(results=[run(steps, value) for steps, value in CURVE.items()]).query("steps_to_reach", share=1.5)
    assert [(row["steps"], row["epochs"], row["n_curves"]) for row in rows.to_pylist()] == [(None, None, 1)] * 2
