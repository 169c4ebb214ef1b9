"""Questions: few given rows, answers worked out by hand or by SciPy."""

from __future__ import annotations

import csv
import math
import shutil
from datetime import timedelta
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from given import NOW, PAPER, THREE, Given, Row, cell, grid, logit, model, score, wanted
from scipy import stats
from sound_store import made_before_seals

from featurestore import FeatureStore
from featurestore.store.feature_store import rows_table
from queries import describe
from queries.asking.database import Database

# ---- macros -----------------------------------------------------------------------------------------------------


def test_log_odds_of_certainty_are_half_an_image_away_from_it(given: Given) -> None:
    text = "select logit(0.75, 100) x, logit(1.0, 50) one, logit(0.0, 50) zero, logit(null::double, 50) absent"
    (row,) = given().sql(text).to_pylist()
    assert row == {
        "x": pytest.approx(math.log(3)),
        "one": pytest.approx(math.log(99)),
        "zero": pytest.approx(-row["one"]),
        "absent": None,
    }


def test_student_quantiles_are_those_of_scipy(given: Given) -> None:
    rows = given().sql("select df, t95(df) as t from range(41) as r(df)").to_pylist()
    assert rows[0]["t"] is None
    assert [row["t"] for row in rows[1:]] == pytest.approx(stats.t.ppf(0.975, range(1, 41)), abs=2e-4)


def test_average_ranks_are_those_of_scipy(given: Given) -> None:
    values = [3.0, 1.0, 1.0, 2.0, 3.0, 3.0]
    answer = given().sql(f"select average_rank(x) as place from (select unnest({values}) as x)")
    assert sorted(answer["place"].to_pylist()) == sorted(stats.rankdata(values))


def test_pseudo_random_draws_are_uniform_and_repeat(given: Given) -> None:
    drawn = "select random_below(5, 0, r, d) as k from range(1000) as a(r), range(5) as b(d)"
    text = f"select k, count(*) as n from ({drawn}) group by k order by k"
    answer = given().sql(text).to_pylist()
    assert [row["k"] for row in answer] == [0, 1, 2, 3, 4]
    assert stats.chisquare([row["n"] for row in answer]).pvalue > 0.01
    assert answer == given().sql(text).to_pylist()


# ---- comparing models -------------------------------------------------------------------------------------------


def test_leaderboard_averages_log_odds_and_gives_intervals(given: Given) -> None:
    rows = given(results=grid(THREE)).query("leaderboard").to_pylist()
    x = np.array([[logit(p) for p in row] for row in THREE.values()])
    adjusted = x - x.mean(axis=0)
    morey = adjusted.std(axis=1, ddof=1) / math.sqrt(3) * math.sqrt(3 / 2)
    assert [row["model"] for row in rows] == ["a", "b", "c"]
    assert [row["rank"] for row in rows] == [1, 2, 3]
    assert [row["mean_rank"] for row in rows] == pytest.approx([1, 7 / 3, 8 / 3])
    assert [row["mean_logit"] for row in rows] == pytest.approx(x.mean(axis=1))
    assert [row["mean_value"] for row in rows] == pytest.approx([0.8, 2.15 / 3, 1.85 / 3])
    assert [row["standard_error"] for row in rows] == pytest.approx(morey)
    assert rows[0]["adjusted_low"] == pytest.approx(adjusted[0].mean() - stats.t.ppf(0.975, 2) * morey[0], abs=1e-4)
    paired = stats.ttest_rel(x[0], x[1])
    low, high = paired.confidence_interval()
    assert [rows[1]["behind_low"], rows[1]["behind_high"]] == pytest.approx([low, high], abs=1e-4)
    assert rows[1]["ties_with_best"] == (paired.pvalue > 0.05)


def test_equal_models_share_a_rank(given: Given) -> None:
    rows = given(results=grid({"a": [0.9, 0.7], "b": [0.7, 0.9], "c": [0.5, 0.5]})).query("leaderboard").to_pylist()
    assert [row["rank"] for row in rows] == [1.5, 1.5, 3]
    assert [row["mean_rank"] for row in rows] == [1.5, 1.5, 3]


def test_one_model_has_a_score_and_nothing_to_compare_it_with(given: Given) -> None:
    (row,) = given(results=grid({"a": [0.9, 0.8]})).query("leaderboard").to_pylist()
    assert (row["rank"], row["adjusted"], row["standard_error"], row["behind_best"]) == (1, 0, None, None)


def test_one_dataset_has_ranks_and_no_intervals(given: Given) -> None:
    rows = given(results=grid({"a": [0.9], "b": [0.8]})).query("leaderboard").to_pylist()
    assert [row["standard_error"] for row in rows] == [None, None]
    assert [row["ties_with_best"] for row in rows] == [True, None]


def test_a_model_with_a_hole_is_listed_and_not_compared(given: Given) -> None:
    rows = given(results=grid({**THREE, "d": [0.99, 0.99]})).query("leaderboard").to_pylist()
    assert [row["model"] for row in rows] == ["a", "b", "c", "d"]
    assert (rows[3]["rank"], rows[3]["mean_logit"], rows[3]["lacking"]) == (None, None, "d2")


def test_a_dataset_that_one_model_has_seen_is_left_out(given: Given) -> None:
    rows = given(results=[*grid(THREE), score("a", "extra", 0.1)]).query("leaderboard").to_pylist()
    assert [row["n_datasets"] for row in rows] == [3, 3, 3]
    assert rows[0]["mean_value"] == pytest.approx(0.8)


def test_perfect_accuracy_is_ranked_first(given: Given) -> None:
    rows = given(results=grid({"a": [1.0, 0.9], "b": [0.99, 0.9]})).query("leaderboard").to_pylist()
    assert rows[0]["model"] == "a"
    assert rows[0]["mean_logit"] == pytest.approx((math.log(199) + logit(0.9)) / 2)


def test_slices_are_never_mixed(given: Given) -> None:
    others = [
        score("a", "d0", 0.1, setting="scratch"),
        score("a", "d0", 0.2, probe="knn"),
        score("a", "d0", 0.3, tap="stem"),
        score("a", "d0", 0.4, n_per_class=5),
        score("a", "d0", 0.5, metric="nll", headline=False),
    ]
    database = given(results=[score("a", "d0", 0.9), *others])
    slices: list[tuple[Row, float]] = [
        ({}, 0.9),
        ({"setting": "scratch"}, 0.1),
        ({"probe": "knn"}, 0.2),
        ({"tap": "stem"}, 0.3),
        ({"n_per_class": 5}, 0.4),
    ]
    for parameters, value in slices:
        assert database.query("leaderboard", **parameters)["mean_value"].to_pylist() == [value]
        assert database.query("accuracy_grid", **parameters)["value"].to_pylist() == [value]
    listed = database.query("slices").to_pylist()
    assert len(listed) == 5
    assert (listed[0]["setting"], listed[0]["probe"], listed[0]["n_cells"]) == ("fixed", "logistic", 1)


def test_seeds_are_averaged_and_of_two_solvers_the_later_counts(given: Given) -> None:
    rows = [
        score("a", "d0", 0.9, seed=0),
        score("a", "d0", 0.7, seed=1),
        score("a", "d0", 0.1, seed=1, solver="sklearn", created_at=NOW - timedelta(1)),
    ]
    assert given(results=rows).query("leaderboard")["mean_value"].to_pylist() == [pytest.approx(0.8)]


def test_adjusted_accuracy_takes_the_mean_of_each_dataset_out(given: Given) -> None:
    rows = given(results=grid(THREE)).query("adjusted_accuracy").to_pylist()
    of_first = {row["model"]: row["adjusted"] for row in rows if row["dataset"] == "d0"}
    mean = (logit(0.9) + logit(0.8) + logit(0.6)) / 3
    assert of_first == pytest.approx({"a": logit(0.9) - mean, "b": logit(0.8) - mean, "c": logit(0.6) - mean})
    assert len(rows) == 9
    assert {row["n_models"] for row in rows} == {3}


# ---- correlation ------------------------------------------------------------------------------------------------

FIVE = {"a": [0.6, 0.7], "b": [0.65, 0.6], "c": [0.7, 0.8], "d": [0.7, 0.8], "e": [0.9, 0.85]}
TOPS = {"a": 0.7, "b": 0.72, "c": 0.75, "d": 0.78, "e": 0.8}


def test_correlation_averages_first_and_agrees_with_scipy(given: Given) -> None:
    models = [model(name, top) for name, top in TOPS.items()]
    (row,) = given(results=grid(FIVE), models=models).query("transfer_correlation").to_pylist()
    x = [logit(top) for top in TOPS.values()]
    y = [(logit(p) + logit(q)) / 2 for p, q in FIVE.values()]
    expected = stats.pearsonr(x, y)
    assert row["r"] == pytest.approx(expected.statistic)
    assert [row["fisher_low"], row["fisher_high"]] == pytest.approx(list(expected.confidence_interval()), abs=1e-5)
    assert row["spearman"] == pytest.approx(stats.spearmanr(x, y).statistic)
    line = stats.linregress(x, y)
    assert [row["slope"], row["intercept"]] == pytest.approx([line.slope, line.intercept])
    assert -1 <= row["r_low"] < row["r"] <= row["r_high"] <= 1
    assert (row["n_models"], row["n_datasets"]) == (5, 2)


@pytest.mark.slow
def test_the_bootstrap_repeats_exactly_and_depends_on_its_seed(given: Given) -> None:
    database = given(results=grid(FIVE), models=[model(name, top) for name, top in TOPS.items()])
    for query in ("transfer_correlation", "correlation_by_dataset", "transfer_band"):
        assert database.query(query) == database.query(query)
        assert database.query(query) != database.query(query, seed=1)


def test_the_bootstrap_interval_is_the_one_that_numpy_finds(given: Given) -> None:
    (row,) = (
        given(results=grid(FIVE), models=[model(n, t) for n, t in TOPS.items()])
        .query("transfer_correlation", replicates=4000)
        .to_pylist()
    )
    x = np.array([logit(top) for top in TOPS.values()])
    y = np.array([(logit(p) + logit(q)) / 2 for p, q in FIVE.values()])
    drawn = np.random.default_rng(0).integers(0, 5, size=(4000, 5))
    kept = [d for d in drawn if np.ptp(x[d]) > 0 and np.ptp(y[d]) > 0]
    expected = np.quantile([np.corrcoef(x[d], y[d])[0, 1] for d in kept], [0.025, 0.975])
    assert [row["r_low"], row["r_high"]] == pytest.approx(expected, abs=0.06)


@pytest.mark.parametrize("count", [0, 1, 2])
def test_too_few_models_have_no_correlation_and_no_error(count: int, given: Given) -> None:
    names = list(FIVE)[:count]
    results = grid({name: FIVE[name] for name in names})
    database = given(results=results, models=[model(name, TOPS[name]) for name in names])
    (row,) = database.query("transfer_correlation").to_pylist()
    assert (row["r"], row["spearman"], row["r_low"], row["n_models"]) == (None, None, None, count)
    assert database.query("transfer_band").num_rows == 0


def test_equal_source_accuracies_have_no_correlation(given: Given) -> None:
    (row,) = given(results=grid(FIVE), models=[model(n, 0.7) for n in FIVE]).query("transfer_correlation").to_pylist()
    assert (row["r"], row["r_low"], row["spearman"], row["slope"]) == (None, None, None, None)


def test_a_model_without_source_accuracy_is_left_out_of_correlations(given: Given) -> None:
    models = [model(name, TOPS[name] if name != "e" else None) for name in FIVE]
    database = given(results=grid(FIVE), models=models)
    assert database.query("transfer_correlation")["n_models"].to_pylist() == [4]
    assert database.query("leaderboard").num_rows == 5


def test_each_dataset_counts_the_models_it_has(given: Given) -> None:
    results = [row for row in grid(FIVE) if (row["model"], row["dataset"]) != ("a", "d1")]
    rows = given(results=results, models=[model(n, t) for n, t in TOPS.items()]).query("correlation_by_dataset")
    by_dataset = {row["dataset"]: row for row in rows.to_pylist()}
    assert {name: row["n_models"] for name, row in by_dataset.items()} == {"d0": 5, "d1": 4}
    x, y = [logit(t) for t in TOPS.values()], [logit(row[0]) for row in FIVE.values()]
    assert by_dataset["d0"]["r"] == pytest.approx(stats.pearsonr(x, y).statistic)
    assert by_dataset["d0"]["spearman"] == pytest.approx(stats.spearmanr(x, y).statistic)


def test_the_band_holds_the_line_from_the_first_to_the_last_model(given: Given) -> None:
    database = given(results=grid(FIVE), models=[model(n, t) for n, t in TOPS.items()])
    (fit,) = database.query("transfer_correlation").to_pylist()
    rows = [row for row in database.query("transfer_band").to_pylist() if row["panel"] == "mean over datasets"]
    assert [rows[0]["source_x"], rows[-1]["source_x"]] == pytest.approx([logit(0.7), logit(0.8)])
    assert rows[0]["logit"] == pytest.approx(fit["intercept"] + fit["slope"] * logit(0.7))
    assert all(row["logit_low"] <= row["logit"] <= row["logit_high"] for row in rows)


# ---- scores of the features alone -------------------------------------------------------------------------------


def cheap(name: str, dataset: str, value: float, metric: str = "logme", **changes: object) -> Row:
    row = score(name, dataset, value, probe=metric, solver="", metric=metric, headline=False, **changes)
    return {**row, "n_test": 0}


CHEAP = {"a": [0.1, 3.0], "b": [0.4, 1.0], "c": [0.4, 2.0], "d": [0.5, 5.0], "e": [0.3, 4.0]}


def test_cheap_scores_are_correlated_with_the_probe_as_scipy_does_it(given: Given) -> None:
    scores = [cheap(name, f"d{j}", value) for name, values in CHEAP.items() for j, value in enumerate(values)]
    others = [cheap("a", "d0", 9.0, setting="scratch"), score("a", "d0", 0.1, probe="knn"), cheap("z", "d0", 1.0)]
    rows = given(results=[*grid(FIVE), *scores, *others]).query("cheap_scores").to_pylist()
    assert [(row["score"], row["dataset"]) for row in rows] == [
        ("logme", "mean over datasets"), ("logme", "d0"), ("logme", "d1")
    ]  # fmt: skip
    for j, row in enumerate(rows[1:]):
        x, y = [values[j] for values in CHEAP.values()], [logit(values[j]) for values in FIVE.values()]
        assert row["kendall"] == pytest.approx(stats.kendalltau(x, y).statistic)
        assert row["pearson"] == pytest.approx(stats.pearsonr(x, y).statistic)
        assert (row["n_models"], row["n_datasets"]) == (5, 1)
    assert rows[0]["kendall"] == pytest.approx((rows[1]["kendall"] + rows[2]["kendall"]) / 2)
    assert rows[0]["pearson"] == pytest.approx((rows[1]["pearson"] + rows[2]["pearson"]) / 2)
    assert (rows[0]["n_models"], rows[0]["n_datasets"]) == (5, 2)


def test_each_cheap_score_and_each_slice_of_the_probe_stands_alone(given: Given) -> None:
    both = [cheap(name, "d0", values[0], metric) for metric in ("leep", "nce") for name, values in CHEAP.items()]
    few = [score(name, "d0", 1 - values[0], n_per_class=5) for name, values in FIVE.items()]
    database = given(results=[*grid(FIVE), *both, *few])
    full = {(row["score"], row["dataset"]): row["kendall"] for row in database.query("cheap_scores").to_pylist()}
    assert set(full) == {(name, where) for name in ("leep", "nce") for where in ("mean over datasets", "d0")}
    fewer = {row["score"]: row["kendall"] for row in database.query("cheap_scores", n_per_class=5).to_pylist()}
    assert fewer["leep"] == pytest.approx(-full["leep", "d0"])


def test_too_few_models_or_equal_ones_have_no_rank_correlation(given: Given) -> None:
    two = [cheap(name, "d0", CHEAP[name][0]) for name in ("a", "b")]
    equal = [cheap(name, "d0", 1.0, "leep") for name in CHEAP]
    rows = given(results=[*grid(FIVE), *two, *equal]).query("cheap_scores").to_pylist()
    assert [(row["kendall"], row["pearson"]) for row in rows] == [(None, None)] * 4
    found = {(row["score"], row["dataset"]): (row["n_models"], row["n_datasets"]) for row in rows}
    assert found["logme", "d0"] == (2, 0)
    assert found["leep", "mean over datasets"] == (5, 0)


def test_cells_without_a_headline_metric_are_done_and_compare_no_models(given: Given) -> None:
    cells = [wanted("a", "d0"), {**wanted("a", "d0"), **cell("a", "d0", probe="logme", solver="")}]
    database = given(cells=cells, results=[score("a", "d0", 0.9), cheap("a", "d0", -0.4)])
    assert database.query("coverage")["status"].to_pylist() == ["done", "done"]
    assert database.query("slices")["probe"].to_pylist() == ["logistic"]
    assert database.query("leaderboard")["mean_value"].to_pylist() == [0.9]
    assert database.query("leaderboard", probe="logme").num_rows == 0


def test_cells_that_a_study_has_dropped_are_wanted_by_no_answer(given: Given) -> None:
    dropped = [{**wanted("b", "d0"), "dropped_at": NOW}]
    database = given(cells=[wanted("a", "d0")], dropped_cells=dropped, results=[score("a", "d0", 0.9)])
    assert database.query("coverage")["model"].to_pylist() == ["a"]
    assert database.sql("select model from dropped_cells")["model"].to_pylist() == ["b"]


def test_a_store_of_before_the_newest_columns_and_tables_has_answers(tmp_path: Path) -> None:
    """Files of both ages lie side by side, and `heads` was not there at all."""
    store = FeatureStore.create(str(tmp_path / "old"))
    tables = {"results": [score("a", "d0", 0.9)], "cells": [wanted("a", "d0")], "models": [model("a", 0.7)]}
    for table, rows in tables.items():
        store.publish(table, "old", rows_table(table, rows))
        for path in (tmp_path / "old" / table / "old.parquet", tmp_path / "old" / "_schema" / table / "empty.parquet"):
            content = pq.read_table(path, partitioning=None)
            new = [name for name in ("options", "probabilistic", "model_key") if name in content.column_names]
            pq.write_table(content.drop_columns(new), path)
    shutil.rmtree(tmp_path / "old" / "_schema" / "heads")
    store = made_before_seals(store)
    options = "select model, options from results order by model"
    with Database(store) as database:
        assert database.sql(options).to_pylist() == [{"model": "a", "options": None}]
        assert database.sql("from heads").num_rows == 0
    store.publish("results", "new", rows_table("results", [score("b", "d0", 0.8, options="{}")]))
    with Database(store) as database:
        assert database.sql(options)["options"].to_pylist() == [None, "{}"]
        assert database.query("leaderboard")["model"].to_pylist() == ["a", "b"]
        assert database.query("coverage")["status"].to_pylist() == ["done"]


# ---- health of the run ------------------------------------------------------------------------------------------


def test_a_choice_at_the_end_of_its_grid_is_flagged(given: Given) -> None:
    fit = {"hyperparameter": "l2", "chosen": 0.1, "at_grid_edge": True, "converged": False, "duality_gap": 0.5}
    tried = [
        {**cell("a", "d0"), "hyperparameter": "l2", "value": value, "metric": "top1", "validation": 0.9 - value}
        for value in (0.1, 0.2, 0.4)
    ]
    database = given(results=[score("a", "d0", 0.9, **fit)], tuning=tried)
    (row,) = database.query("chosen_regularization").to_pylist()
    assert (row["edge"], row["grid_low"], row["grid_high"], row["validation"]) == ("low", 0.1, 0.4, 0.8)
    assert (row["converged"], row["duality_gap"]) == (False, 0.5)
    curve = database.query("tuning_curves").to_pylist()
    assert [(r["value"], r["chosen"]) for r in curve] == [(0.1, True), (0.2, False), (0.4, False)]


def failure(stage: str, message: str, **where: object) -> Row:
    return {"study": "s", "stage": stage, "error": "DatasetError", "message": message, "failed_at": NOW, **where}


def test_coverage_ranks_done_above_failed_above_missing(given: Given) -> None:
    cells = [wanted("a", "d0"), wanted("a", "d1"), wanted("b", "d0"), wanted("b", "d1"), wanted("b", "d2")]
    failures = [
        failure("extract", "torn", model="a"),
        failure("dataset", "gone", dataset="d2"),
        failure("probe", "flat", model="b", dataset="d1", cell=cell("b", "d1")["cell"]),
        failure(
            "probe", "flat again", model="b", dataset="d1", cell=cell("b", "d1")["cell"], failed_at=NOW + timedelta(1)
        ),
    ]
    database = given(cells=cells, results=[score("a", "d0", 0.9)], failures=failures)
    found = {(r["model"], r["dataset"]): (r["status"], r["message"]) for r in database.query("coverage").to_pylist()}
    assert found == {
        ("a", "d0"): ("done", None),
        ("a", "d1"): ("failed", "torn"),
        ("b", "d0"): ("missing", None),
        ("b", "d1"): ("failed", "flat again"),
        ("b", "d2"): ("failed", "gone"),
    }
    open_failures = {r["message"]: r["cells_waiting"] for r in database.query("open_failures").to_pylist()}
    assert open_failures == {"torn": 1, "gone": 1, "flat again": 1}


def test_a_failure_that_was_made_good_is_over(given: Given) -> None:
    failures = [failure("extract", "torn", model="a", dataset="d0"), failure("model", "no weights", model="z")]
    database = given(cells=[wanted("a", "d0")], results=[score("a", "d0", 0.9)], failures=failures)
    assert database.query("open_failures")["message"].to_pylist() == ["no weights"]


def test_provenance_counts_cells_once(given: Given) -> None:
    rows = [score("a", "d0", 0.9), score("a", "d0", 0.3, metric="nll", headline=False), score("b", "d0", 0.8)]
    (row,) = given(results=rows).query("provenance").to_pylist()
    assert (row["n_cells"], row["seconds"], row["first"]) == (2, 2.0, NOW)


def test_provenance_lists_what_features_were_made_with(given: Given) -> None:
    old, new = ({"versions": f'{{"timm": "{v}"}}', "device": "cpu", "n_images": 9} for v in (1, 2))
    rows = [score("a", "d0", 0.9, features_made_with=[old, new]), score("b", "d0", 0.8, features_made_with=[old])]
    (row,) = given(results=rows).query("provenance").to_pylist()
    assert row["features"] == '2: {"timm": "1"}, cpu; 1: {"timm": "2"}, cpu'


# ---- the published grid -----------------------------------------------------------------------------------------


PUBLISHED = {
    "fixed": (0.99, {"Inception-ResNet v2", "NASNet-A Large"}),
    "finetuned": (0.96, {"Inception v4"}),
    "scratch": (0.55, {"Inception v4", "Inception v3"}),
}


@pytest.mark.parametrize("setting", PUBLISHED)
def test_the_published_correlations_and_ties_come_out(setting: str, paper: Database) -> None:
    r, ties = PUBLISHED[setting]
    (found,) = paper.query("transfer_correlation", setting=setting).to_pylist()
    assert (round(found["r"], 2), found["n_models"], found["n_datasets"]) == (r, 16, 12)
    board = paper.query("leaderboard", setting=setting).to_pylist()
    assert {row["model"] for row in board if row["ties_with_best"]} == ties


@pytest.mark.parametrize("setting", PUBLISHED)
def test_mean_log_odds_are_those_of_the_published_panels(setting: str, paper: Database) -> None:
    with (PAPER / "average_panels.csv").open(newline="") as stream:
        panels = [row for row in csv.DictReader(stream) if row["setting"] == setting]
    read = {row["model"]: float(row["mean_log_odds"]) for row in panels}
    board = paper.query("leaderboard", setting=setting).to_pylist()
    assert {row["model"]: row["mean_logit"] for row in board} == pytest.approx(read, abs=0.01)


def test_the_example_of_each_question_names_real_parameters() -> None:
    for name in ("leaderboard", "transfer_correlation", "transfer_band", "adjusted_accuracy"):
        question = describe(name)
        given = {word.split("=")[0] for word in question.example.split() if "=" in word}
        assert given <= {parameter.name for parameter in question.parameters}
