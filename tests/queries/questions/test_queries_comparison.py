"""Questions that compare models, and the tests that they use: few given rows, answers by hand, by SciPy or by listing
every permutation."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from datetime import timedelta

import numpy as np
import pytest
from given import NOW, THREE, Given, Row, cell, grid, logit, score
from numpy.typing import NDArray
from scipy import stats

from queries.asking.database import Database

# ---- tests of significance --------------------------------------------------------------------------------------


@pytest.fixture
def empty(given: Given) -> Database:
    return given()


def number(database: Database, expression: str) -> float | None:
    value: float | None = database.sql(f"select {expression} as x")["x"].to_pylist()[0]
    return value


@pytest.mark.parametrize("df", [1, 2, 3, 4, 11, 12, 49, 150])
def test_student_p_is_that_of_scipy(df: int, empty: Database) -> None:
    ts = [0.0, 1e-6, 0.3, 0.99, 1.0, 1.5, 3.0, 12.0, 400.0]
    rows = empty.sql(f"select student_p(-t, {df}) as p from (select unnest({ts}::double[]) as t)")
    expected = [2 * stats.t.sf(t, df) for t in ts]
    assert rows["p"].to_pylist() == pytest.approx(expected, rel=1e-10, abs=1e-14)


def test_student_p_needs_a_degree_of_freedom(empty: Database) -> None:
    assert [number(empty, f"student_p({args})") for args in ("1.0, 0", "null::double, 3", "1.0, null")] == [None] * 3


def test_paired_p_is_the_paired_t_test(empty: Database) -> None:
    x, y = [0.9, 1.4, 2.0, 2.2], [0.5, 1.5, 1.2, 2.0]
    assert number(empty, f"paired_p({x}, {y})") == pytest.approx(stats.ttest_rel(x, y).pvalue, rel=1e-10)


def test_paired_p_of_constant_differences_leaves_no_doubt(empty: Database) -> None:
    assert number(empty, "paired_p([0.3, 0.4]::double[], [0.1, 0.2]::double[])") == 0
    assert number(empty, "paired_p([0.3, 0.4], [0.3, 0.4])") == 1
    assert number(empty, "paired_p([0.3], [0.1])") is None


def test_normal_p_is_that_of_scipy(empty: Database) -> None:
    zs = [0.0, 0.1, 1.0, 1.959964, 4.0, 6.0, 9.0]
    rows = empty.sql(f"select normal_p(-z) as p from (select unnest({zs}::double[]) as z)")
    assert rows["p"].to_pylist() == pytest.approx(2 * stats.norm.sf(zs), abs=1e-13)


@pytest.mark.parametrize(("b", "c"), [(0, 1), (3, 9), (9, 3), (7, 7), (100, 150), (12_000, 12_500), (0, 60)])
def test_mcnemar_p_is_the_exact_binomial_one(b: int, c: int, empty: Database) -> None:
    expected = stats.binomtest(b, b + c).pvalue
    assert number(empty, f"mcnemar_p({b}, {c})") == pytest.approx(expected, rel=1e-9)


def test_mcnemar_p_of_models_that_never_differ_is_1(empty: Database) -> None:
    assert number(empty, "mcnemar_p(0, 0)") == 1
    assert number(empty, "mcnemar_p(null, 3)") is None


@pytest.mark.parametrize("n", [1, 2, 7, 16, 50])
def test_wilcoxon_p_is_the_exact_one_of_scipy(n: int, empty: Database) -> None:
    x = np.random.default_rng(n).normal(0.3, 1, n)
    expected = stats.wilcoxon(x, method="exact").pvalue
    assert number(empty, f"wilcoxon_p({x.tolist()}::double[])") == pytest.approx(expected, rel=1e-10)


@pytest.mark.parametrize("x", [[1, 1, -1, 2, -2, 3, 5, 5], [2, 2, 2], [-1, 1, 1, 1, 4, -4, 2]])
def test_wilcoxon_p_with_ties_counts_every_assignment_of_signs(x: list[int], empty: Database) -> None:
    every = stats.wilcoxon(x, method=stats.PermutationMethod(n_resamples=2 ** len(x)))
    assert number(empty, f"wilcoxon_p({x}::double[])") == pytest.approx(every.pvalue)


def test_wilcoxon_p_drops_zeros(empty: Database) -> None:
    assert number(empty, "wilcoxon_p([0, 1, 0, 2, -3])") == number(empty, "wilcoxon_p([1, 2, -3])")
    assert number(empty, "wilcoxon_p([0.0, 0.0])") == 1
    assert number(empty, "wilcoxon_p([]::double[])") is None


def test_wilcoxon_p_of_many_is_the_normal_approximation(empty: Database) -> None:
    x = np.random.default_rng(0).normal(0.2, 1, 80).round(1)
    expected = stats.wilcoxon(x[x != 0], method="asymptotic").pvalue
    assert number(empty, f"wilcoxon_p({x.tolist()}::double[])") == pytest.approx(expected)


def test_kendall_is_tau_b(empty: Database) -> None:
    x, y = [1, 2, 2, 3, 5, 4], [0.1, 0.4, 0.3, 0.3, 0.9, 0.9]
    assert number(empty, f"kendall({x}, {y})") == pytest.approx(stats.kendalltau(x, y).statistic)


def test_kendall_needs_three_pairs_that_vary(empty: Database) -> None:
    assert number(empty, "kendall([1, 2], [1, 2])") is None
    assert number(empty, "kendall([1, 2, 3], [1, 1, 1])") is None


def test_holm_multiplies_and_never_decreases(empty: Database) -> None:
    family = "[0.01, 0.04, 0.03, 0.005, null, 0.03]"
    rows = empty.sql(f"select holm(p, list(p) over ()) as p from (select unnest({family}::double[]) as p)")
    # In order: 5 x 0.005; 4 x 0.01; 3 x 0.03, twice; 1 x 0.04, which the one before exceeds.
    assert rows["p"].to_pylist() == pytest.approx([0.04, 0.09, 0.09, 0.025, None, 0.09])
    assert number(empty, "holm(0.6, [0.6, 0.7])") == 1


# ---- leaderboard ------------------------------------------------------------------------------------------------


def test_p_against_the_best_is_the_paired_t_test(given: Given) -> None:
    rows = given(results=grid(THREE)).query("leaderboard").to_pylist()
    x = [[logit(p) for p in row] for row in THREE.values()]
    assert rows[0]["p"] is None
    assert [row["p"] for row in rows[1:]] == pytest.approx([stats.ttest_rel(x[0], other).pvalue for other in x[1:]])


GROUPS = {
    "a": [0.90, 0.80, 0.70, 0.60],
    "b": [0.89, 0.81, 0.69, 0.59],  # ties with a
    "c": [0.80, 0.70, 0.60, 0.50],
    "d": [0.70, 0.60, 0.50, 0.40],
    "e": [0.71, 0.59, 0.50, 0.39],  # ties with d
}


def test_tie_groups_start_with_the_best_of_the_rest(given: Given) -> None:
    rows = given(results=grid(GROUPS)).query("leaderboard").to_pylist()
    assert {row["model"]: row["tie_group"] for row in rows} == {"a": 1, "b": 1, "c": 2, "d": 3, "e": 3}
    assert [row["model"] for row in rows if row["ties_with_best"]] == ["a", "b"]


def test_ranks_that_no_draw_of_datasets_changes_have_no_width(given: Given) -> None:
    rows = given(results=grid(GROUPS)).query("leaderboard").to_pylist()
    found = {row["model"]: (row["rank_low"], row["rank_high"]) for row in rows}
    assert found == {"a": (1, 2), "b": (1, 2), "c": (3, 3), "d": (4, 5), "e": (4, 5)}


def test_rank_intervals_are_those_that_numpy_finds(given: Given) -> None:
    rng = np.random.default_rng(3)
    x = rng.normal(0, 0.3, (6, 8)) + np.linspace(0.5, 0, 6)[:, None]
    values = {f"m{i}": (1 / (1 + np.exp(-row))).tolist() for i, row in enumerate(x)}
    rows = given(results=grid(values)).query("leaderboard", replicates=4000).to_pylist()
    drawn = x[:, rng.integers(0, 8, (4000, 8))].mean(axis=2)
    ranks = (-drawn).argsort(axis=0).argsort(axis=0) + 1
    for row in rows:
        low, high = np.quantile(ranks[int(row["model"][1])], [0.025, 0.975])
        assert [row["rank_low"], row["rank_high"]] == pytest.approx([low, high], abs=1)


def test_rank_intervals_repeat_exactly(given: Given) -> None:
    database = given(results=grid(THREE))
    assert database.query("leaderboard") == database.query("leaderboard")


def test_one_dataset_has_no_tests_and_no_rank_intervals(given: Given) -> None:
    rows = given(results=grid({"a": [0.9], "b": [0.8]})).query("leaderboard").to_pylist()
    assert [(row["tie_group"], row["p"], row["rank_low"]) for row in rows] == [(1, None, None), (None, None, None)]


def test_a_model_that_is_not_compared_has_no_group(given: Given) -> None:
    rows = given(results=grid({**THREE, "d": [0.99]})).query("leaderboard").to_pylist()
    assert (rows[3]["model"], rows[3]["tie_group"], rows[3]["p"], rows[3]["rank_high"]) == ("d", None, None, None)


def test_equal_models_tie(given: Given) -> None:
    rows = given(results=grid({"a": [0.9, 0.7], "b": [0.9, 0.7]})).query("leaderboard").to_pylist()
    assert [(row["tie_group"], row["rank_low"], row["rank_high"]) for row in rows] == [(1, 1.5, 1.5)] * 2
    assert rows[1]["p"] == 1


PUBLISHED_TIES = {
    "fixed": {"Inception-ResNet v2", "NASNet-A Large"},
    "finetuned": {"Inception v4"},
    "scratch": {"Inception v4", "Inception v3"},
}


def test_the_published_groups_of_best_models_come_out(paper: Database) -> None:
    boards = {setting: paper.query("leaderboard", setting=setting).to_pylist() for setting in PUBLISHED_TIES}
    for setting, rows in boards.items():
        assert {row["model"] for row in rows if row["tie_group"] == 1} == PUBLISHED_TIES[setting]
        assert all(row["rank_low"] <= row["rank"] <= row["rank_high"] for row in rows)


# ---- two models, image by image ---------------------------------------------------------------------------------


def predictions(model: str, dataset: str, labels: Sequence[int], right: Sequence[int], **grain: object) -> list[Row]:
    """One row per image, which the model gets right or calls class 99."""
    return [
        {
            **cell(model, dataset, **grain),
            **{"sample_id": f"{dataset}-{i}", "index": i, "label": label, "predicted": label if told else 99},
            **{"top5": [label], "scores": [0.5]},
        }
        for i, (label, told) in enumerate(zip(labels, right, strict=True))
    ]


def compared(database: Database, **parameters: object) -> list[Row]:
    rows: list[Row] = database.query("compare_models", **parameters).to_pylist()
    return rows


A = [1, 1, 1, 1, 1, 1, 1, 1, 0, 0]
B = [1, 0, 0, 0, 0, 0, 0, 0, 1, 0]
C = [1, 1, 1, 0, 0, 1, 1, 1, 1, 0]
ONE_CLASS = [0] * 10


def test_top1_is_compared_by_the_exact_mcnemar_test_with_holms_correction(given: Given) -> None:
    told = {"a": A, "b": B, "c": C}
    database = given(
        results=[score(name, "d0", sum(right) / 10, n_test=10) for name, right in told.items()],
        predictions=[row for name, right in told.items() for row in predictions(name, "d0", ONE_CLASS, right)],
    )
    rows = compared(database)
    assert [(row["model"], row["other"]) for row in rows] == [("a", "c"), ("a", "b")]
    p = [stats.binomtest(1, 3).pvalue, stats.binomtest(1, 8).pvalue]
    assert [(row["n_images"], row["only_model"], row["only_other"]) for row in rows] == [(10, 2, 1), (10, 7, 1)]
    assert [row["p"] for row in rows] == pytest.approx(p)
    assert [row["p_holm"] for row in rows] == pytest.approx([1, 2 * p[1]])
    assert [(row["test"], row["reason"], row["metric"]) for row in rows] == [("exact McNemar", None, "top1")] * 2
    assert rows[0]["difference"] == pytest.approx(0.1)
    (chosen,) = compared(database, model="b", other="c")
    assert (chosen["only_model"], chosen["only_other"]) == (0, 5)
    assert chosen["p_holm"] == chosen["p"] == pytest.approx(2 * 0.5**5)


def test_images_are_matched_by_their_names_and_not_by_their_order(given: Given) -> None:
    both = [*predictions("a", "d0", ONE_CLASS, A), *reversed(predictions("b", "d0", ONE_CLASS, B))]
    database = given(results=[score("a", "d0", 0.8), score("b", "d0", 0.2)], predictions=both)
    assert [(row["only_model"], row["only_other"]) for row in compared(database)] == [(7, 1)]


def test_a_test_that_cannot_be_made_says_why(given: Given) -> None:
    results = [
        *[score(name, "d0", value) for name, value in {"a": 0.8, "b": 0.2, "c": 0.1}.items()],
        *[score("a", "d1", 0.8), score("b", "d1", 0.2, metric="mean_per_class")],
        *[score("a", "d2", 0.8, metric="top5"), score("b", "d2", 0.2, metric="top5")],
        *[score("a", "d3", 0.8), score("b", "d3", 0.2)],
    ]
    kept = [*predictions("a", "d0", ONE_CLASS, A), *predictions("c", "d0", ONE_CLASS, C)[:9]]
    kept += [row for name in "ab" for dataset in ("d1", "d2") for row in predictions(name, dataset, ONE_CLASS, A)]
    rows = compared(given(results=results, predictions=[*kept, *predictions("b", "d3", ONE_CLASS, B)]), model="a")
    assert {(row["dataset"], row["other"]): row["reason"] for row in rows} == {
        ("d0", "b"): "no predictions of b",
        ("d0", "c"): "the test images differ",
        ("d1", "b"): "scored by top1 and mean_per_class",
        ("d2", "b"): "no test for top5",
        ("d3", "b"): "no predictions of a",
    }
    assert {(row["p"], row["p_holm"], row["n_images"], row["only_model"], row["test"]) for row in rows} == {(None,) * 5}


def test_other_labels_are_other_test_images(given: Given) -> None:
    both = [*predictions("a", "d0", ONE_CLASS, A), *predictions("b", "d0", [1] * 10, B)]
    database = given(results=[score("a", "d0", 0.8), score("b", "d0", 0.2)], predictions=both)
    assert compared(database)[0]["reason"] == "the test images differ"


def test_the_lowest_seed_and_the_latest_solver_are_compared(given: Given) -> None:
    cells = [
        ("a", A, {}, NOW),
        ("a", C, {"seed": 1}, NOW),
        ("b", C, {"solver": "sklearn"}, NOW - timedelta(1)),
        ("b", B, {}, NOW),
    ]
    database = given(
        results=[score(name, "d0", sum(told) / 10, created_at=at, **grain) for name, told, grain, at in cells],
        predictions=[
            row for name, told, grain, _ in cells for row in predictions(name, "d0", ONE_CLASS, told, **grain)
        ],
    )
    (row,) = compared(database, model="a")
    assert (row["value"], row["other_value"], row["only_model"], row["only_other"]) == (0.8, 0.2, 7, 1)


def every_swap(weighted: NDArray[np.float64]) -> float:
    """Share of all choices of signs whose sum is at least as far from 0 as that of the signs that were found."""
    moved = weighted[weighted != 0]
    sums = np.array([np.dot(signs, moved) for signs in itertools.product((-1, 1), repeat=len(moved))])
    return float((np.abs(sums) >= abs(moved.sum()) - 1e-9).mean())


def test_mean_per_class_is_compared_by_permutations_that_weigh_an_image_by_its_class(given: Given) -> None:
    labels = [0] * 5 + [1] * 10
    a = [1, 1, 1, 1, 1, 1, 1, 1, 0, 0, 0, 1, 1, 1, 1]
    b = [0, 0, 0, 1, 1, 0, 0, 1, 1, 1, 1, 1, 1, 1, 1]
    database = given(
        results=[score(name, "d0", value, metric="mean_per_class") for name, value in (("a", 0.85), ("b", 0.6))],
        predictions=[*predictions("a", "d0", labels, a), *predictions("b", "d0", labels, b)],
    )
    (row,) = compared(database)
    n_of_class = np.array([5] * 5 + [10] * 10)
    expected = every_swap((np.array(a) - np.array(b)) / n_of_class)
    assert (row["test"], row["n_images"], row["only_model"], row["only_other"]) == ("permutation", 15, 5, 3)
    assert 0.05 < expected < 0.95
    assert row["p"] == pytest.approx(expected, abs=0.015)
    assert compared(database) == compared(database)
    assert compared(database, seed=1)[0]["p"] != row["p"]


def test_classes_of_equal_size_need_no_permutations(given: Given) -> None:
    labels = [0] * 5 + [1] * 5
    database = given(
        results=[score("a", "d0", 0.8, metric="mean_per_class"), score("b", "d0", 0.2, metric="mean_per_class")],
        predictions=[*predictions("a", "d0", labels, A), *predictions("b", "d0", labels, B)],
    )
    (row,) = compared(database)
    assert (row["test"], row["p"]) == ("permutation", pytest.approx(stats.binomtest(1, 8).pvalue))


def several_labels(model: str, labels: Sequence[list[int]], scores: Sequence[Sequence[float]]) -> list[Row]:
    return [
        {
            **cell(model, "voc"),
            **{"sample_id": f"voc-{i}", "index": i, "labels": shown, "predicted": 0, "top5": [0], "scores": list(row)},
        }
        for i, (shown, row) in enumerate(zip(labels, scores, strict=True))
    ]


@pytest.mark.parametrize("probabilistic", [True, False, None])
def test_map_is_compared_by_permutations_of_the_classes_told_rightly(probabilistic: bool | None, given: Given) -> None:
    rng = np.random.default_rng(1)
    shown = rng.random((12, 4)) < 0.4
    threshold = 0 if probabilistic is False else 0.5
    scores = {name: np.round(rng.random((12, 4)) - 0.5 + threshold, 3) for name in "ab"}
    scores["a"][:4] = threshold + np.where(shown[:4], 0.1, -0.1)
    scores["b"][5, 0] = threshold  # not above it
    labels = [np.flatnonzero(row).tolist() for row in shown]
    given_metric = {"metric": "map_11point", "probabilistic": probabilistic}
    database = given(
        results=[score("a", "voc", 0.9, **given_metric), score("b", "voc", 0.5, **given_metric)],
        predictions=[row for name in "ab" for row in several_labels(name, labels, scores[name].tolist())],
    )
    (row,) = compared(database)
    right = {name: ((scores[name] > threshold) == shown).sum(axis=1) for name in "ab"}
    difference = right["a"] - right["b"]
    assert len(set(np.abs(difference[difference != 0]))) > 1
    assert (row["only_model"], row["only_other"]) == ((difference > 0).sum(), (difference < 0).sum())
    assert row["p"] == pytest.approx(every_swap(difference.astype(float)), abs=0.015)


def test_more_than_62_images_of_a_weight_are_tossed_for(given: Given) -> None:
    """Two classes, one twice as large: the distribution of the difference is a sum of two binomials."""
    labels = [0] * 100 + [1] * 200
    a, b = np.ones(300, dtype=int), np.ones(300, dtype=int)
    b[:80], a[20:80], b[20:80] = 0, 0, 1  # class 0: 20 for a, 60 for b
    b[100:210] = 0  # class 1: 110 for a
    database = given(
        results=[score(name, "d0", value, metric="mean_per_class") for name, value in (("a", 0.9), ("b", 0.8))],
        predictions=[*predictions("a", "d0", labels, a.tolist()), *predictions("b", "d0", labels, b.tolist())],
    )
    (row,) = compared(database)
    first, second = np.arange(81), np.arange(111)
    statistic = np.abs((2 * first - 80)[:, None] / 100 + (2 * second - 110) / 200)
    chance = stats.binom.pmf(first, 80, 0.5)[:, None] * stats.binom.pmf(second, 110, 0.5)
    found = abs((20 - 60) / 100 + 110 / 200)
    assert row["p"] == pytest.approx(chance[statistic >= found - 1e-9].sum(), abs=0.015)


def test_one_model_or_none_has_nothing_to_be_compared_with(given: Given) -> None:
    assert compared(given()) == []
    one = given(results=[score("a", "d0", 0.8)], predictions=predictions("a", "d0", ONE_CLASS, A))
    assert compared(one) == []
    assert compared(one, model="z") == []


def test_imported_results_are_listed_without_a_test(paper: Database) -> None:
    rows = compared(paper, setting="scratch")
    assert len(rows) == 15 * 12
    assert {row["model"] for row in rows} == {"Inception v4"}
    assert all(row["p"] is None and row["reason"].startswith("no predictions of ") for row in rows)
    assert not any(math.isnan(row["difference"]) for row in rows)


# ---- results made elsewhere, beside what was computed here ----------------------------------------------------------


def imported(name: str, dataset: str, value: float, **changes: object) -> Row:
    """A score of an import that is younger than what was computed."""
    later = {"solver": "", "origin": "paper", "created_at": NOW + timedelta(days=1)}
    return score(name, dataset, value, **{**later, **changes}) | {"cell": f"paper/{name}/{dataset}/{changes}"}


def test_what_was_computed_here_counts_and_not_an_import_of_the_same(given: Given) -> None:
    rows = [score("a", "d", 0.9), imported("a", "d", 0.5), imported("a", "d", 0.4, seed=1)]
    (row,) = given(results=rows).query("scores_by_dataset").to_pylist()
    assert row["value"] == 0.9


def test_of_two_imports_the_later_counts(given: Given) -> None:
    newer = imported("a", "d", 0.4, origin="newer", created_at=NOW + timedelta(days=2))
    (row,) = given(results=[imported("a", "d", 0.5), newer]).query("scores_by_dataset").to_pylist()
    assert row["value"] == 0.4


def test_a_large_import_does_not_take_the_place_of_what_was_computed(given: Given) -> None:
    own = grid(THREE)
    others = [imported(f"m{i}", f"e{j}", 0.5 + i / 30) for i in range(10) for j in range(10)]
    shared = [imported("m0", f"d{j}", 0.95) for j in range(3)]
    board = given(results=[*own, *others, *shared]).query("leaderboard").to_pylist()
    assert [row["model"] for row in board if row["rank"] is not None] == ["m0", "a", "b", "c"]


def test_an_import_takes_no_predictions_away(given: Given) -> None:
    rows = [score(name, "d", 0.5) for name in ("a", "b")]
    images = [
        {**cell(name, "d"), "sample_id": str(i), "index": i, "label": 0, "predicted": i % 2, "top5": [], "scores": []}
        for name in ("a", "b")
        for i in range(4)
    ]
    (row,) = given(results=[*rows, imported("a", "d", 0.9)], predictions=images).query("compare_models").to_pylist()
    assert (row["n_images"], row["reason"]) == (4, None)
