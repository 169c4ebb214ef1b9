"""Questions about training recipes: few given rows, answers worked out by hand, by NumPy or by SciPy."""

from __future__ import annotations

import csv
import math
from typing import Any

import numpy as np
import pytest
from given import PAPER, Given, Row, grid, logit, model, score
from scipy import stats

PLAIN = {
    "label_smoothing": 0.0,
    "dropout": 0.0,
    "auxiliary_head": False,
    "bn_scale": True,
    "augmentation": "crop, flip",
    "pretraining_data": "imagenet-1k",
}


def trained(name: str, top1: float | None = 0.75, *, architecture: str = "net", **recipe: Any) -> Row:
    return {**model(name, top1), "architecture": architecture, **PLAIN, **recipe}


VALUES = {"plain": [0.9, 0.8, 0.7], "smooth": [0.85, 0.7, 0.68], "both": [0.8, 0.75, 0.6]}
LOGITS = {name: np.array([logit(p) for p in values]) for name, values in VALUES.items()}

# ---- pairs that differ in one thing -----------------------------------------------------------------------------


def test_models_that_differ_in_one_thing_are_compared_as_scipy_does_it(given: Given) -> None:
    models = [
        trained("plain", 0.76),
        trained("smooth", 0.77, label_smoothing=0.1),
        trained("both", 0.78, label_smoothing=0.1, dropout=0.5),
    ]
    rows = given(results=grid(VALUES), models=models).query("recipe_effects").to_pylist()
    dropped, smoothed = rows
    assert [dropped[name] for name in ("changed", "model", "value", "other", "other_value")] == [
        "dropout", "smooth", "0.0", "both", "0.5"
    ]  # fmt: skip
    assert [smoothed[name] for name in ("architecture", "changed", "model", "value", "other", "other_value")] == [
        "net", "label_smoothing", "plain", "0.0", "smooth", "0.1"
    ]  # fmt: skip
    expected = stats.ttest_rel(LOGITS["smooth"], LOGITS["plain"])
    assert smoothed["transfer_difference"] == pytest.approx((LOGITS["smooth"] - LOGITS["plain"]).mean())
    assert smoothed["transfer_difference"] / smoothed["standard_error"] == pytest.approx(expected.statistic)
    assert smoothed["p"] == pytest.approx(expected.pvalue)
    assert smoothed["source_difference"] == pytest.approx(logit(0.77) - logit(0.76))
    assert smoothed["n_datasets"] == 3


@pytest.mark.parametrize("column", PLAIN)
def test_what_is_not_known_equals_nothing(column: str, given: Given) -> None:
    models = [trained("plain"), trained("smooth", label_smoothing=0.1)]
    assert given(results=grid(VALUES), models=models).query("recipe_effects").num_rows == 1
    unknown = [{**row, column: None} for row in models]
    assert given(results=grid(VALUES), models=unknown).query("recipe_effects").num_rows == 0


def test_the_second_model_is_the_one_with_more_of_it(given: Given) -> None:
    models = [
        trained("plain", pretraining_data="b"),
        trained("smooth", pretraining_data="a"),
        trained("a", architecture="other", dropout=1e-5),
        trained("b", architecture="other", dropout=0.00001 + 1e-7),
    ]
    values = VALUES | {"a": [0.5], "b": [0.4]}
    rows = given(results=grid(values), models=models).query("recipe_effects").to_pylist()
    assert [(row["changed"], row["model"], row["other"]) for row in rows] == [
        ("dropout", "a", "b"), ("pretraining_data", "smooth", "plain")
    ]  # fmt: skip


def test_other_architectures_equal_recipes_and_models_without_scores_are_no_pair(given: Given) -> None:
    models = [
        trained("plain"),
        trained("smooth"),
        trained("both", architecture="other", dropout=0.5),
        trained("absent", dropout=0.5),
    ]
    assert given(results=grid(VALUES), models=models).query("recipe_effects").num_rows == 0


def test_pairs_share_the_datasets_that_both_were_scored_on(given: Given) -> None:
    models = [trained("plain"), trained("smooth", None, label_smoothing=0.1)]
    values = {"plain": [0.9, 0.8], "smooth": [0.8]}
    (row,) = given(results=grid(values), models=models).query("recipe_effects").to_pylist()
    assert (row["n_datasets"], row["standard_error"], row["p"], row["source_difference"]) == (1, None, None, None)
    assert row["transfer_difference"] == pytest.approx(logit(0.8) - logit(0.9))


def test_equal_scores_make_no_difference(given: Given) -> None:
    models = [trained("plain"), trained("smooth", label_smoothing=0.1)]
    results = grid({"plain": VALUES["plain"], "smooth": VALUES["plain"]})
    (row,) = given(results=results, models=models).query("recipe_effects").to_pylist()
    assert (row["transfer_difference"], row["standard_error"], row["p"]) == (0, 0, 1)


# ---- partial correlation ----------------------------------------------------------------------------------------

TOPS = [0.70, 0.72, 0.73, 0.75, 0.76, 0.78, 0.79, 0.81]
MEANS = [0.60, 0.70, 0.58, 0.72, 0.66, 0.80, 0.70, 0.83]
SMOOTHING = [0.1, 0.0, 0.1, 0.0, 0.1, 0.0, 0.2, 0.0]
DROPOUT = [0.0, 0.2, 0.5, 0.0, 0.2, 0.0, 0.5, 0.8]
NAMES = [f"m{i}" for i in range(8)]


def partial(given: Given, recipes: list[Row], **parameters: object) -> Row:
    results = [score(name, "d", value, n_test=10_000) for name, value in zip(NAMES, MEANS, strict=True)]
    models = [trained(name, top, **recipe) for name, top, recipe in zip(NAMES, TOPS, recipes, strict=True)]
    (row,) = given(results=results, models=models).query("recipe_partial_correlation", **parameters).to_pylist()
    return row


def residuals(values: list[float], *controls: list[float]) -> np.ndarray:
    design = np.column_stack([np.ones(len(values)), *controls])
    y = np.array(values)
    return y - design @ np.linalg.lstsq(design, y)[0]


def test_partial_correlation_is_that_of_what_least_squares_leaves(given: Given) -> None:
    recipes = [{"label_smoothing": s, "dropout": d} for s, d in zip(SMOOTHING, DROPOUT, strict=True)]
    row = partial(given, recipes)
    x, y = [logit(p) for p in TOPS], [logit(p) for p in MEANS]
    r = np.corrcoef(residuals(x, SMOOTHING, DROPOUT), residuals(y, SMOOTHING, DROPOUT))[0, 1]
    assert row["partial_r"] == pytest.approx(r)
    assert row["r"] == pytest.approx(stats.pearsonr(x, y).statistic)
    assert (row["n_models"], row["df"], row["held"]) == (8, 4, "label_smoothing, dropout")
    assert row["not_held"] == "auxiliary_head (does not vary), bn_scale (does not vary)"
    assert row["p"] == pytest.approx(2 * stats.t.sf(abs(r) * math.sqrt(4 / (1 - r * r)), 4))


def test_what_is_unknown_or_follows_from_the_others_is_skipped_and_named(given: Given) -> None:
    recipes: list[Row] = [
        {"label_smoothing": s, "auxiliary_head": s > 0.05, "bn_scale": s < 0.05, "dropout": 0.5} for s in SMOOTHING
    ]
    recipes[3]["dropout"] = None
    row = partial(given, recipes)
    assert row["held"] == "label_smoothing, auxiliary_head"
    assert row["not_held"] == "dropout (not known of 1 models), bn_scale (follows from the others)"
    x, y = [logit(p) for p in TOPS], [logit(p) for p in MEANS]
    controls = (SMOOTHING, [float(s > 0.05) for s in SMOOTHING])
    r = np.corrcoef(residuals(x, *controls), residuals(y, *controls))[0, 1]
    assert (row["partial_r"], row["df"]) == (pytest.approx(r), 4)


def test_with_nothing_to_hold_partial_correlation_is_correlation(given: Given) -> None:
    row = partial(given, [{}] * 8)
    expected = stats.pearsonr([logit(p) for p in TOPS], [logit(p) for p in MEANS])
    assert (row["partial_r"], row["p"]) == (pytest.approx(expected.statistic), pytest.approx(expected.pvalue))
    assert (row["df"], row["held"]) == (6, "")


def test_a_recipe_that_explains_the_source_leaves_no_partial_correlation(given: Given) -> None:
    row = partial(given, [{"dropout": logit(top)} for top in TOPS])
    assert (row["partial_r"], row["p"], row["held"]) == (None, None, "dropout")


@pytest.mark.parametrize("count", [0, 1, 3])
def test_too_few_models_have_no_degree_of_freedom(count: int, given: Given) -> None:
    models = [trained(name, top, dropout=d) for name, top, d in zip(NAMES, TOPS, DROPOUT, strict=True)]
    results = [score(name, "d", value) for name, value in zip(NAMES[:count], MEANS[:count], strict=True)]
    (row,) = given(results=results, models=models).query("recipe_partial_correlation").to_pylist()
    assert (row["partial_r"], row["p"], row["n_models"]) == (None, None, count)
    assert (row["r"] is None) == (count < 3)


def test_an_unknown_source_has_no_models(given: Given) -> None:
    assert partial(given, [{}] * 8, source="nobody")["n_models"] == 0


# ---- the regularisation study -----------------------------------------------------------------------------------


def test_models_are_compared_with_the_plain_recipe_of_their_architecture(given: Given) -> None:
    models = [
        trained("plain", 0.76),
        trained("smooth", 0.77, label_smoothing=0.1),
        trained("both", 0.78, label_smoothing=0.1, bn_scale=False),
    ]
    rows = given(results=grid(VALUES), models=models).query("regularization_study").to_pylist()
    assert [(row["model"], row["departures"]) for row in rows] == [("both", 2), ("smooth", 1), ("plain", 0)]
    both, _, plain = rows
    expected = stats.ttest_rel(LOGITS["both"], LOGITS["plain"])
    assert both["difference"] == pytest.approx((LOGITS["both"] - LOGITS["plain"]).mean())
    assert both["p"] == pytest.approx(expected.pvalue)
    assert both["source_difference"] == pytest.approx(0.02)
    assert (plain["difference"], plain["source_difference"], plain["p"]) == (0, 0, None)
    x = np.array(list(LOGITS.values()))
    morey = (x - x.mean(axis=0)).std(axis=1, ddof=1) / math.sqrt(3) * math.sqrt(3 / 2)
    assert [row["standard_error"] for row in rows] == pytest.approx(morey[::-1])
    assert both["mean_logit"] == pytest.approx(LOGITS["both"].mean())


def test_several_plain_models_count_as_their_mean_and_known_differences_disqualify(given: Given) -> None:
    models = [
        trained("a"),
        trained("b", augmentation=None),
        trained("c", pretraining_data="imagenet-21k"),
        trained("d", dropout=0.5),
        trained("e", architecture="lonely", dropout=0.5),
        trained("f", dropout=None),
    ]
    values = {"a": [0.9], "b": [0.8], "c": [0.1], "d": [0.7], "e": [0.6], "f": [0.5]}
    rows = {
        row["model"]: row
        for row in given(results=grid(values), models=models).query("regularization_study").to_pylist()
    }
    assert set(rows) == {"a", "b", "c", "d", "e"}
    assert rows["d"]["difference"] == pytest.approx(logit(0.7) - (logit(0.9) + logit(0.8)) / 2)
    assert (rows["d"]["p"], rows["d"]["standard_error"]) == (None, None)
    assert (rows["e"]["difference"], rows["e"]["source_difference"]) == (None, None)


def test_the_published_study_comes_out(given: Given) -> None:
    """Its mean log-odds stand for the scores on one dataset: what is published is their mean over twelve."""
    if not PAPER.is_dir():
        pytest.skip(f"the published study is not at {PAPER}")
    with (PAPER / "regularization.csv").open(newline="") as stream:
        published = [row for row in csv.DictReader(stream) if row["figure"] == "Fig3_LR"]
    models, results = [], []
    for row in published:
        name, choices = f"{row['network']} {row['setting']}", row["setting"]
        recipe = {
            "bn_scale": "+BNscale" in choices,
            "label_smoothing": 0.1 if "+LS" in choices else 0.0,
            "dropout": 0.2 if "+Dropout" in choices else 0.0,
            "auxiliary_head": "+Aux" in choices,
        }
        models.append(trained(name, float(row["imagenet_top1"]) / 100, architecture=row["network"], **recipe))
        value = 1 / (1 + math.exp(-float(row["avg_log_odds"])))
        results.append(score(name, "mean of twelve", value, n_test=10**6))
    rows = given(results=results, models=models).query("regularization_study").to_pylist()
    assert len(rows) == len(published) == 23
    found = {(row["architecture"], row["departures"]): row for row in rows}
    assert found["Inception v4", 4]["difference"] == pytest.approx(0.936 - 1.473)
    assert found["Inception v4", 4]["source_difference"] == pytest.approx(0.807 - 0.799)
    assert found["BN-Inception", 3]["difference"] == pytest.approx(0.853 - 1.197)
    for network in {row["network"] for row in published}:
        own = [row["mean_logit"] for row in rows if row["architecture"] == network]
        assert own == sorted(own), "each choice that is undone helps, in the order of the rows"
