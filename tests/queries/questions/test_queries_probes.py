"""Questions about probes: their agreement, and what the precision of the features does to them."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import stored
from given import Given, Row, logit, score, wanted
from scipy import stats

from cluster.pool.local_pool import LocalPool
from cluster.runs.study_run import run_study
from cluster.study.study_file import read_study
from featurestore import FeatureStore
from queries.asking.database import Database

# ---- agreement --------------------------------------------------------------------------------------------------

LOGISTIC = {"a": [0.9, 0.8], "b": [0.8, 0.85], "c": [0.6, 0.75], "d": [0.8, 0.85]}
KNN = {"a": [0.7, 0.8], "b": [0.8, 0.7], "c": [0.5, 0.6], "d": [0.9, 0.6]}


def fitted(probe: str, values: dict[str, list[float]], **changes: object) -> list[Row]:
    return [
        score(name, f"d{j}", value, probe=probe, **changes)
        for name, row in values.items()
        for j, value in enumerate(row)
    ]


def means(values: dict[str, list[float]]) -> list[float]:
    return [round(sum(map(logit, row)) / len(row), 12) for row in values.values()]


def test_probes_agree_as_scipy_says(given: Given) -> None:
    (row,) = given(results=[*fitted("logistic", LOGISTIC), *fitted("knn", KNN)]).query("probe_agreement").to_pylist()
    x, y = means(KNN), means(LOGISTIC)
    assert (row["probe"], row["other"], row["n_models"], row["n_datasets"]) == ("knn", "logistic", 4, 2)
    assert row["spearman"] == pytest.approx(stats.spearmanr(x, y).statistic)
    assert row["kendall"] == pytest.approx(stats.kendalltau(x, y).statistic)
    assert row["mean_difference"] == pytest.approx(np.mean(y) - np.mean(x))


def test_the_best_is_the_same_where_each_has_one_best_model(given: Given) -> None:
    def same_best(other: dict[str, list[float]]) -> object:
        database = given(results=[*fitted("logistic", {"a": [0.9], "b": [0.8]}), *fitted("ncm", other)])
        return database.query("probe_agreement")["same_best"].to_pylist()

    assert same_best({"a": [0.6], "b": [0.5]}) == [True]
    assert same_best({"a": [0.5], "b": [0.6]}) == [False]
    assert same_best({"a": [0.5], "b": [0.5]}) == [None]


def test_probes_are_compared_on_the_largest_block_that_both_have(given: Given) -> None:
    holes = {"a": [0.7, 0.8], "b": [0.8, 0.7], "c": [0.5]}
    others = [*fitted("logistic", LOGISTIC, setting="scratch"), *fitted("lda", LOGISTIC, n_per_class=5)]
    database = given(results=[*fitted("logistic", LOGISTIC), *fitted("knn", holes), *others])
    (row,) = database.query("probe_agreement").to_pylist()
    assert (row["n_models"], row["n_datasets"], row["kendall"]) == (2, 2, None)
    assert database.query("probe_agreement", n_per_class=5).num_rows == 0


def test_a_probe_that_tells_no_models_apart_agrees_with_none(given: Given) -> None:
    equal = {name: [0.5, 0.5] for name in LOGISTIC}
    rows = given(results=[*fitted("logistic", LOGISTIC), *fitted("ncm", equal)]).query("probe_agreement").to_pylist()
    assert [(row["spearman"], row["kendall"], row["same_best"]) for row in rows] == [(None, None, None)]


# ---- precision --------------------------------------------------------------------------------------------------


def made_in(compute: str | None, value: float, **changes: object) -> Row:
    """A cell of its own that is equal but for what it was computed in."""
    row = score("a", "d0", value, standard_error=0.02, inputs_key="same", compute=compute, options="{}", **changes)
    return {**row, "cell": f"{row['cell']}-{compute}"}


def test_cells_that_differ_in_precision_only_are_compared(given: Given) -> None:
    database = given(results=[made_in("fp32", 0.9), made_in("bf16", 0.89), made_in("fp16", 0.91)])
    rows = database.query("precision_effect").to_pylist()
    assert [(row["compute"], row["value"], row["fp32_value"]) for row in rows] == [
        ("bf16", 0.89, 0.9), ("fp16", 0.91, 0.9)
    ]  # fmt: skip
    assert [row["difference"] for row in rows] == pytest.approx([-0.01, 0.01])
    assert [row["standard_errors"] for row in rows] == pytest.approx([-0.5, 0.5])


@pytest.mark.parametrize(
    "other",
    [{"inputs_key": "images have changed"}, {"options": '{"scaling": "unit"}'}, {"seed": 1}, {"solver": "sklearn"},
     {"inputs_key": None}, {"compute": None}, {"metric": "mean_per_class"}, {"headline": False}],
)  # fmt: skip
def test_cells_that_differ_in_more_are_not_compared(other: Row, given: Given) -> None:
    database = given(results=[made_in("fp32", 0.9), {**made_in("bf16", 0.89), **other}])
    assert database.query("precision_effect").num_rows == 0


def test_a_study_says_what_an_old_result_was_computed_in(given: Given) -> None:
    old = {**made_in(None, 0.9), "inputs_key": None}
    wish = {**wanted("a", "d0"), "cell": old["cell"], "compute": "fp32", "inputs_key": "same"}
    database = given(results=[old, made_in("bf16", 0.8)], cells=[wish])
    assert database.query("precision_effect")["fp32_value"].to_pylist() == [0.9]


def test_a_score_without_standard_error_has_a_difference(given: Given) -> None:
    rows = [{**made_in(compute, 1.0), "standard_error": 0.0} for compute in ("fp32", "bf16")]
    (row,) = given(results=rows).query("precision_effect").to_pylist()
    assert (row["difference"], row["standard_errors"]) == (0, None)


def test_saying_what_a_cell_is_computed_in_does_not_make_it_another_cell() -> None:
    assert stored.cell("ncm").key == stored.cell("ncm", compute="bf16", inputs_key="same").key


def test_a_study_run_in_two_precisions_can_be_compared(
    pool: LocalPool, study_file: Callable[..., Path], store: FeatureStore
) -> None:
    for compute in ("fp32", "bf16"):
        path = study_file(1, '[extract]\ncompute = "' + compute + '"\n[probe]\nprobes = ["ncm"]\n')
        try:
            summary = run_study(read_study(path), store, pool=pool, reporter=Silent())
        finally:
            sys.modules.pop("tiny_network", None)
            sys.path[:] = [folder for folder in sys.path if folder != str(path.parent)]
        assert (summary.counts["cells"], summary.failures) == (1, [])
    with Database(store) as database:
        (row,) = database.query("precision_effect", probe="ncm").to_pylist()
    assert (row["model"], row["dataset"], row["compute"]) == ("tiny_0", "pets", "bf16")
    assert math.isclose(row["value"] - row["fp32_value"], row["difference"])


class Silent:
    """A reporter that nobody hears."""

    def tell(self, event: object) -> None:
        pass
