"""Questions that compare settings: few given rows, answers by hand or by SciPy."""

from __future__ import annotations

import math

import numpy as np
import pytest
from given import NOW, Given, Row, logit, score
from scipy import stats

from queries.asking.database import Database

FINETUNED = {"a": 0.9, "b": 0.8, "c": 0.7, "d": 0.85, "e": 0.6}
FIXED = {"a": 0.8, "b": 0.75, "c": 0.72, "d": 0.6, "e": 0.6}


def results(setting: str, values: dict[str, float], dataset: str = "d0", **changes: object) -> list[Row]:
    return [score(name, dataset, value, setting=setting, **changes) for name, value in values.items()]


def test_settings_are_compared_by_the_signed_ranks_of_the_models(given: Given) -> None:
    database = given(results=[*results("finetuned", FINETUNED), *results("fixed", {**FIXED, "z": 0.9})])
    (row,) = database.query("settings_by_dataset").to_pylist()
    difference = [logit(FINETUNED[name]) - logit(FIXED[name]) for name in FINETUNED]
    assert (row["setting"], row["other"], row["dataset"]) == ("finetuned", "fixed", "d0")
    assert (row["n_models"], row["n_higher"], row["n_lower"], row["n_equal"]) == (5, 3, 1, 1)
    assert row["mean_difference"] == pytest.approx(np.mean(difference))
    assert row["median_difference"] == pytest.approx(np.median(difference))
    moved = [x for x in difference if x != 0]
    assert row["p"] == pytest.approx(stats.wilcoxon(moved, method="exact").pvalue)


def test_every_two_settings_are_a_pair(given: Given) -> None:
    rows = [row for setting in ("fixed", "finetuned", "scratch") for row in results(setting, FIXED)]
    by_dataset = given(results=rows).query("settings_by_dataset").to_pylist()
    pairs = [("finetuned", "fixed"), ("finetuned", "scratch"), ("fixed", "scratch")]
    assert [(row["setting"], row["other"]) for row in by_dataset] == pairs
    assert [(row["n_equal"], row["p"]) for row in by_dataset] == [(5, 1)] * 3


def test_cells_are_counted_over_all_datasets(given: Given) -> None:
    rows = [*results("finetuned", FINETUNED), *results("fixed", FIXED), *results("scratch", {"a": 0.1})]
    rows += [*results("finetuned", {"a": 0.9, "b": 0.1}, "d1"), *results("fixed", {"a": 0.8, "c": 0.1}, "d1")]
    cells = {(row["setting"], row["other"]): row for row in given(results=rows).query("settings_cells").to_pylist()}
    row = cells["finetuned", "fixed"]
    assert (row["n_cells"], row["n_higher"], row["n_lower"], row["n_equal"]) == (6, 4, 1, 1)
    assert (row["n_models"], row["n_datasets"]) == (5, 2)
    assert cells["fixed", "scratch"]["n_cells"] == 1
    assert cells["fixed", "scratch"]["mean_difference"] == pytest.approx(logit(0.8) - logit(0.1))


def test_settings_of_other_probes_are_not_mixed(given: Given) -> None:
    rows = [*results("finetuned", FINETUNED, probe="knn"), *results("fixed", FIXED)]
    database = given(results=rows)
    for question in ("settings_by_dataset", "settings_cells", "pretraining_gain"):
        assert database.query(question).num_rows == 0
        assert database.query(question, probe="knn").num_rows == 0


def test_the_gain_from_pretraining_is_listed_from_the_smallest_training_set(given: Given) -> None:
    finetuned, scratch = {"a": 0.9, "b": 0.8}, {"a": 0.6, "b": 0.7}
    rows = [*results("finetuned", finetuned, "large"), *results("scratch", scratch, "large")]
    rows += [*results("finetuned", {"a": 0.9}, "small"), *results("scratch", scratch, "small")]
    rows += [*results("fixed", {"a": 0.7}, "small"), *results("fixed", {"a": 0.7}, "alone")]
    datasets = [
        {"dataset": name, "n_train": n, "n_val": 10, "recorded_at": NOW} for name, n in (("large", 990), ("small", 90))
    ]
    small, large = given(results=rows, datasets=datasets).query("pretraining_gain").to_pylist()
    gains = [logit(finetuned[name]) - logit(scratch[name]) for name in finetuned]
    assert (small["dataset"], small["n_train"], large["dataset"], large["n_train"]) == ("small", 100, "large", 1000)
    assert large["finetuned_gain"] == pytest.approx(np.mean(gains))
    assert large["finetuned_standard_error"] == pytest.approx(np.std(gains, ddof=1) / math.sqrt(2))
    assert (large["finetuned_models"], large["fixed_models"], large["fixed_gain"]) == (2, 0, None)
    assert (small["finetuned_standard_error"], small["finetuned_models"]) == (None, 1)
    assert small["fixed_gain"] == pytest.approx(logit(0.7) - logit(0.6))


def test_a_dataset_of_unknown_size_comes_last(given: Given) -> None:
    unknown = {"n_train": None, "n_val": None}
    rows = [row for name in ("finetuned", "scratch") for row in results(name, FIXED, "b", **unknown)]
    rows += [row for name in ("finetuned", "scratch") for row in results(name, FIXED, "c")]
    found = given(results=rows).query("pretraining_gain").to_pylist()
    assert [(row["dataset"], row["n_train"]) for row in found] == [("c", 100), ("b", None)]


def test_one_setting_has_nothing_to_be_compared_with(given: Given) -> None:
    database = given(results=results("fixed", FIXED))
    for question in ("settings_by_dataset", "settings_cells", "pretraining_gain"):
        assert database.query(question).num_rows == 0


def test_the_published_counts_and_tests_come_out(paper: Database) -> None:
    """Fine-tuned above fixed in 178 of the 192 digitised cells (the paper's own table: 179), above scratch in 189."""
    cells = {(row["setting"], row["other"]): row for row in paper.query("settings_cells").to_pylist()}
    tests = paper.query("settings_by_dataset").to_pylist()
    assert {pair: (row["n_cells"], row["n_higher"]) for pair, row in cells.items()} == {
        ("finetuned", "fixed"): (192, 178),
        ("finetuned", "scratch"): (192, 189),
        ("fixed", "scratch"): (192, 94),
    }
    above = {row["dataset"]: row["p"] for row in tests if (row["setting"], row["other"]) == ("finetuned", "fixed")}
    assert [dataset for dataset, p in above.items() if p >= 0.01] == ["Caltech-101"]
    scratch = [row["p"] for row in tests if (row["setting"], row["other"]) == ("finetuned", "scratch")]
    assert len(scratch) == 12
    assert max(scratch) < 0.01
