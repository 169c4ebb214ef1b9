"""Questions about correlation: against SciPy, a replay of the same draws, exact enumeration, and the published grid."""

from __future__ import annotations

import hashlib
import itertools
import math
from collections.abc import Iterator, Sequence

import numpy as np
import pytest
from given import NOW, Given, Row, Rows, grid, logit, model, score
from numpy.typing import NDArray
from scipy import stats

from featurestore import FeatureStore
from featurestore.store.feature_store import rows_table
from queries import describe
from queries.asking.database import Database

Array = NDArray[np.float64]

SIX = {
    "a": [0.62, 0.71, 0.90, 0.55],
    "b": [0.65, 0.60, 0.88, 0.50],
    "c": [0.70, 0.80, 0.91, 0.58],
    "d": [0.75, 0.70, 0.93, 0.61],
    "e": [0.72, 0.83, 0.92, 0.66],
    "f": [0.90, 0.85, 0.97, 0.80],
}
TOPS = {"a": 0.70, "b": 0.72, "c": 0.75, "d": 0.78, "e": 0.77, "f": 0.80}
PARAMS = {"a": 10_000_000, "b": 3_000_000, "c": 30_000_000, "d": 20_000_000, "e": 80_000_000, "f": 50_000_000}
SIZES = {"d0": 900, "d1": 10_000, "d2": 50_000, "d3": None}

X = np.array([logit(top) for top in TOPS.values()])
CELLS = np.array([[logit(value) for value in row] for row in SIX.values()])
Y = CELLS.mean(axis=1)

QUESTIONS = (
    "transfer_correlation", "correlation_by_dataset", "correlation_by_setting", "correlation_by_training_size",
    "correlation_by_source", "leave_one_out", "transfer_residuals", "transfer_points", "transfer_band",
)  # fmt: skip


def database_of(tables: dict[str, Rows], uri: str) -> Database:
    store = FeatureStore.create(uri)
    for table, rows in tables.items():
        store.publish(table, "given", rows_table(table, rows))
    return Database(store)


def six_models() -> dict[str, Rows]:
    known = [{**model(n, TOPS[n]), "params": PARAMS[n], "source_metrics": [("vtab", TOPS[n] / 2)]} for n in SIX]
    sizes = [{"dataset": name, "n_train": size, "recorded_at": NOW} for name, size in SIZES.items()]
    scratch = [score(n, "d0", row[0], setting="scratch") for n, row in SIX.items()]
    return {"results": [*without_size(grid(SIX)), *scratch], "models": known, "datasets": sizes}


def without_size(results: Rows) -> list[Row]:
    """As of an import that does not know what d3 was trained on."""
    return [{**row, "n_train": None, "n_val": None} if row["dataset"] == "d3" else {**row} for row in results]


@pytest.fixture(scope="module")
def six(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Database]:
    """Six models on four datasets, one of which was also trained on from scratch."""
    with database_of(six_models(), str(tmp_path_factory.mktemp("six"))) as database:
        yield database


def the_row(database: Database, question: str, **parameters: object) -> Row:
    (row,) = database.query(question, **parameters).to_pylist()
    return row


def rows_by(database: Database, question: str, column: str, **parameters: object) -> dict[str, Row]:
    return {row[column]: row for row in database.query(question, **parameters).to_pylist()}


# ---- one coefficient after the other ----------------------------------------------------------------------------


def test_coefficients_and_the_line_are_those_of_scipy(six: Database) -> None:
    row = the_row(six, "transfer_correlation")
    line = stats.linregress(X, Y)
    assert row["r"] == pytest.approx(stats.pearsonr(X, Y).statistic, abs=1e-10)
    assert row["spearman"] == pytest.approx(stats.spearmanr(X, Y).statistic, abs=1e-10)
    assert row["kendall"] == pytest.approx(stats.kendalltau(X, Y).statistic, abs=1e-10)
    assert [row["slope"], row["intercept"]] == pytest.approx([line.slope, line.intercept], abs=1e-9)
    expected = stats.pearsonr(X, Y).confidence_interval()
    assert [row["fisher_low"], row["fisher_high"]] == pytest.approx(list(expected), abs=1e-5)
    assert (row["n_models"], row["n_datasets"]) == (6, 4)


def test_ties_on_either_side_are_those_of_scipy(given: Given) -> None:
    tops = {"a": 0.7, "b": 0.7, "c": 0.75, "d": 0.75, "e": 0.8, "f": 0.72}
    # d and e have the same mean, summed in another order
    values = {**SIX, "d": [0.7, 0.8, 0.6], "e": [0.6, 0.7, 0.8], "f": SIX["f"][:3], "a": [0.5] * 3, "b": [0.5] * 3}
    values["c"] = values["c"][:3]
    database = given(results=grid(values), models=[model(n, top) for n, top in tops.items()])
    x = [logit(tops[n]) for n in sorted(tops)]
    y = [round(sum(map(logit, values[n])) / 3, 12) for n in sorted(tops)]
    assert len(set(y)) == 4
    row = the_row(database, "transfer_correlation")
    assert row["spearman"] == pytest.approx(stats.spearmanr(x, y).statistic, abs=1e-10)
    assert row["kendall"] == pytest.approx(stats.kendalltau(x, y).statistic, abs=1e-10)
    of_dataset = rows_by(database, "correlation_by_dataset", "dataset")["d1"]
    y = [logit(values[n][1]) for n in sorted(tops)]
    assert of_dataset["kendall"] == pytest.approx(stats.kendalltau(x, y).statistic, abs=1e-10)


# ---- resampling -------------------------------------------------------------------------------------------------


def number(seed: int, replicate: int, draw: object) -> int:
    """The macro random_number: the last eight bytes of an MD5 as a little-endian number."""
    return int.from_bytes(hashlib.md5(f"{seed}/{replicate}/{draw}".encode()).digest()[8:], "little")


def interval(values: Sequence[float]) -> list[float]:
    return list(np.quantile([v for v in values if not math.isnan(v)], [0.025, 0.975]))


def r_of(x: Array, y: Array) -> float:
    return float(np.corrcoef(x, y)[0, 1]) if np.ptp(x) > 0 and np.ptp(y) > 0 else math.nan


def test_the_intervals_and_p_are_those_of_numpy_with_the_same_draws(six: Database) -> None:
    of_models, of_both, as_far = [], [], 0
    for replicate in range(300):
        numbers = [number(7, replicate, draw) for draw in range(6)]
        drawn = [n % 6 for n in numbers]
        datasets = [number(7, replicate, f"dataset {draw}") % 4 for draw in range(4)]
        of_models.append(r_of(X[drawn], Y[drawn]))
        of_both.append(r_of(X[drawn], CELLS[drawn][:, datasets].mean(axis=1)))
        as_far += abs(r_of(X, Y[np.argsort(numbers)])) >= abs(r_of(X, Y)) - 1e-12
    row = the_row(six, "transfer_correlation", seed=7, replicates=300)
    assert [row["r_low"], row["r_high"]] == pytest.approx(interval(of_models), abs=1e-9)
    assert [row["r_low_both"], row["r_high_both"]] == pytest.approx(interval(of_both), abs=1e-9)
    assert row["permutation_p"] == pytest.approx((as_far + 1) / 301, abs=1e-12)


def test_the_permutation_p_is_near_that_of_all_permutations(six: Database) -> None:
    for dataset, row in rows_by(six, "correlation_by_dataset", "dataset", replicates=20_000).items():
        y = CELLS[:, int(dataset[1:])]
        exact = np.mean([abs(r_of(X, y[list(p)])) >= abs(r_of(X, y)) - 1e-12 for p in itertools.permutations(range(6))])
        assert row["permutation_p"] == pytest.approx(exact, abs=4 * math.sqrt(exact / 20_000))


def test_a_single_dataset_has_no_interval_over_datasets(six: Database) -> None:
    row = the_row(six, "transfer_correlation", setting="scratch")
    assert (row["n_models"], row["n_datasets"]) == (6, 1)
    assert (row["r_low_both"], row["r_high_both"]) == (None, None)
    assert -1 <= row["r_low"] < row["r_high"] <= 1


@pytest.mark.parametrize("question", QUESTIONS)
def test_a_question_asked_twice_has_the_same_answer(question: str, six: Database) -> None:
    assert six.query(question) == six.query(question)


# ---- what is correlated -----------------------------------------------------------------------------------------


def test_each_setting_is_what_transfer_correlation_says_of_it(six: Database) -> None:
    rows = six.query("correlation_by_setting", replicates=100).to_pylist()
    assert [row.pop("setting") for row in rows] == ["fixed", "scratch"]
    assert rows == [the_row(six, "transfer_correlation", setting=s, replicates=100) for s in ("fixed", "scratch")]


def test_a_setting_without_results_in_the_slice_is_a_row_that_says_so(six: Database) -> None:
    rows = six.query("correlation_by_setting", probe="knn").to_pylist()
    assert [(row["setting"], row["r"], row["n_models"]) for row in rows] == [("fixed", None, 0), ("scratch", None, 0)]


def test_datasets_are_grouped_by_their_training_images(six: Database) -> None:
    rows = six.query("correlation_by_training_size").to_pylist()
    groups = [(row["training_images"], row["datasets"], row["n_datasets"], row["n_models"]) for row in rows]
    assert groups == [
        ("under 10,000", "d0", 1, 6),
        ("10,000 and above", "d1, d2", 2, 6),
        ("size not known", "d3", 1, 6),
    ]
    expected = [stats.pearsonr(X, CELLS[:, of].mean(axis=1)).statistic for of in ([0], [1, 2], [3])]
    assert [row["r"] for row in rows] == pytest.approx(expected, abs=1e-9)


def test_the_threshold_of_training_images_is_a_parameter(six: Database) -> None:
    rows = rows_by(six, "correlation_by_training_size", "training_images", threshold=50_000)
    assert {name: row["datasets"] for name, row in rows.items()} == {
        "under 50,000": "d0, d1",
        "50,000 and above": "d2",
        "size not known": "d3",
    }


def test_every_source_metric_is_a_row_on_its_own_axis(six: Database) -> None:
    rows = rows_by(six, "correlation_by_source", "source")
    axes = {
        "imagenet_top1": X,
        "params": np.log10(list(PARAMS.values())),
        "vtab": np.array([logit(top / 2) for top in TOPS.values()]),
    }
    assert {name: row["r"] for name, row in rows.items()} == pytest.approx(
        {name: stats.pearsonr(x, Y).statistic for name, x in axes.items()}, abs=1e-9
    )
    assert (rows["params"]["lowest"], rows["params"]["highest"], rows["params"]["n_known"]) == (3e6, 80e6, 6)


@pytest.mark.parametrize("source", ["params", "vtab"])
def test_another_source_is_a_parameter_everywhere(source: str, six: Database) -> None:
    listed = rows_by(six, "correlation_by_source", "source")[source]
    row = the_row(six, "transfer_correlation", source=source)
    assert row == {name: listed[name] for name in row}
    points = six.query("transfer_points", source=source).to_pylist()
    of_mean = [p for p in points if p["panel"] == "mean over datasets"]
    x, y = ([p[side] for p in of_mean] for side in ("source_x", "logit"))
    assert row["r"] == pytest.approx(stats.pearsonr(x, y).statistic, abs=1e-9)
    band = [p["source_x"] for p in six.query("transfer_band", source=source).to_pylist()]
    assert (min(band), max(band)) == pytest.approx((min(x), max(x)))


def test_a_source_that_there_is_not_has_no_correlation(six: Database) -> None:
    row = the_row(six, "transfer_correlation", source="imagenet_v2")
    assert (row["r"], row["permutation_p"], row["n_models"], row["n_datasets"]) == (None, None, 0, 0)
    for question in ("correlation_by_dataset", "leave_one_out", "transfer_residuals", "transfer_band"):
        assert six.query(question, source="imagenet_v2").num_rows == 0


def test_a_model_whose_cell_is_missing_is_left_out_of_the_mean_only(given: Given) -> None:
    results = [row for row in grid(SIX) if (row["model"], row["dataset"]) != ("b", "d2")]
    database = given(results=results, models=[model(n, top) for n, top in TOPS.items()])
    rest = [0, 2, 3, 4, 5]
    row = the_row(database, "transfer_correlation")
    assert (row["n_models"], row["n_datasets"]) == (5, 4)
    assert row["r"] == pytest.approx(stats.pearsonr(X[rest], Y[rest]).statistic, abs=1e-9)
    by_dataset = rows_by(database, "correlation_by_dataset", "dataset")
    assert {name: found["n_models"] for name, found in by_dataset.items()} == {"d0": 6, "d1": 6, "d2": 5, "d3": 6}
    assert {found["model"] for found in database.query("leave_one_out").to_pylist()} == set("acdef")


# ---- single models ----------------------------------------------------------------------------------------------


def test_leaving_a_model_out_is_a_fit_of_the_others(six: Database) -> None:
    rows = rows_by(six, "leave_one_out", "model")
    assert set(rows) == set(SIX)
    whole = stats.linregress(X, Y)
    variance = np.sum((Y - whole.intercept - whole.slope * X) ** 2) / 4
    for place, name in enumerate(SIX):
        rest = np.arange(6) != place
        fit = stats.linregress(X[rest], Y[rest])
        row = rows[name]
        assert row["r_without"] == pytest.approx(fit.rvalue, abs=1e-9)
        assert row["r_change"] == pytest.approx(fit.rvalue - whole.rvalue, abs=1e-9)
        assert row["slope_change"] == pytest.approx(fit.slope - whole.slope, abs=1e-9)
        moved = (fit.intercept + fit.slope * X) - (whole.intercept + whole.slope * X)
        assert row["cooks_distance"] == pytest.approx(np.sum(moved**2) / (2 * variance), abs=1e-9)
    assert sum(row["leverage"] for row in rows.values()) == pytest.approx(2)
    changes = [abs(row["r_change"]) for row in rows.values()]
    assert changes == sorted(changes, reverse=True)


def test_residuals_are_studentised_and_tested_against_the_line_through_the_others(six: Database) -> None:
    rows = rows_by(six, "transfer_residuals", "model")
    design = np.column_stack([np.ones(6), X])
    hat = design @ np.linalg.inv(design.T @ design) @ design.T
    residuals = Y - hat @ Y
    s = math.sqrt(float(residuals @ residuals) / 4)
    for place, name in enumerate(SIX):
        row = rows[name]
        assert row["predicted"] == pytest.approx(float((hat @ Y)[place]), abs=1e-9)
        assert row["residual"] == pytest.approx(residuals[place], abs=1e-9)
        assert row["odds_ratio"] == pytest.approx(math.exp(residuals[place]), abs=1e-9)
        assert row["studentised"] == pytest.approx(residuals[place] / s / math.sqrt(1 - hat[place, place]), abs=1e-9)
        assert row["p"] == pytest.approx(p_of_prediction(place), abs=1e-9)
    smallest = min(rows.values(), key=lambda row: row["p"])
    assert smallest["p_holm"] == pytest.approx(min(1, 6 * smallest["p"]))
    assert sorted(rows, key=lambda name: -rows[name]["residual"]) == list(rows)


def p_of_prediction(place: int) -> float:
    """Of a new point at this model's place, from the line through the others."""
    rest = np.arange(6) != place
    x, y = X[rest], Y[rest]
    fit = stats.linregress(x, y)
    s = math.sqrt(float(np.sum((y - fit.intercept - fit.slope * x) ** 2)) / 3)
    error = s * math.sqrt(1 + 1 / 5 + (X[place] - x.mean()) ** 2 / np.sum((x - x.mean()) ** 2))
    return float(2 * stats.t.sf(abs(Y[place] - fit.intercept - fit.slope * X[place]) / error, 3))


@pytest.mark.parametrize(("lift", "named"), [(1.5, "better"), (-1.5, "worse"), (0.0, "as predicted")])
def test_a_model_far_from_the_line_of_many_is_named(lift: float, named: str, given: Given) -> None:
    wobble = [0.03, -0.02, 0.01, -0.03, lift, -0.01, 0.02, -0.02, 0.01, -0.01]
    tops = {f"m{i}": 0.7 + i / 100 for i in range(10)}
    transfer = [logit(top) + off for top, off in zip(tops.values(), wobble, strict=True)]
    values = {name: [1 / (1 + math.exp(-y))] for name, y in zip(tops, transfer, strict=True)}
    database = given(results=grid(values), models=[model(name, top) for name, top in tops.items()])
    found = {name: row["transfers"] for name, row in rows_by(database, "transfer_residuals", "model").items()}
    assert found == dict.fromkeys(tops, "as predicted") | {"m4": named}


def test_models_on_a_line_have_no_studentised_residual(given: Given) -> None:
    values = {name: [top] for name, top in TOPS.items()}
    database = given(results=grid(values), models=[model(n, top) for n, top in TOPS.items()])
    rows = database.query("transfer_residuals").to_pylist()
    assert [row["residual"] for row in rows] == pytest.approx([0] * 6, abs=1e-9)
    assert {(row["studentised"], row["p"], row["transfers"]) for row in rows} == {(None, None, None)}
    assert the_row(database, "transfer_correlation")["r"] == pytest.approx(1)
    assert {row["cooks_distance"] for row in database.query("leave_one_out").to_pylist()} == {None}


# ---- little or nothing ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("count", [0, 1, 2, 3])
@pytest.mark.slow
def test_few_models_have_answers_without_error_or_infinity(count: int, given: Given) -> None:
    names = list(SIX)[:count]
    models = [model(name, TOPS[name]) for name in names]
    database = given(results=grid({name: SIX[name] for name in names}), models=models)
    assert_finite(database)
    row = the_row(database, "transfer_correlation")
    assert row["n_models"] == count
    assert (row["r"] is None) == (count < 3)
    assert database.query("leave_one_out").num_rows == database.query("transfer_residuals").num_rows == count


@pytest.mark.parametrize("equal", ["source", "transfer", "both"])
@pytest.mark.slow
def test_sides_that_do_not_vary_have_answers_without_error_or_infinity(equal: str, given: Given) -> None:
    values = SIX if equal == "source" else dict.fromkeys(SIX, SIX["a"])
    tops = TOPS if equal == "transfer" else dict.fromkeys(SIX, 0.7)
    database = given(results=grid(values), models=[model(n, top) for n, top in tops.items()])
    assert_finite(database)
    row = the_row(database, "transfer_correlation")
    undefined = ("r", "r_low", "r_high", "fisher_low", "permutation_p", "spearman", "kendall")
    assert {name: row[name] for name in undefined} == dict.fromkeys(undefined)


def assert_finite(database: Database) -> None:
    for question in QUESTIONS:
        few = {"replicates": 50} if "$replicates" in describe(question).sql else {}
        rows = database.query(question, **few).to_pylist()
        assert all(math.isfinite(value) for row in rows for value in row.values() if isinstance(value, float))


# ---- the published grid -----------------------------------------------------------------------------------------


def test_the_published_correlations_come_out(paper: Database) -> None:
    rows = rows_by(paper, "correlation_by_setting", "setting")
    assert {name: round(row["r"], 2) for name, row in rows.items()} == {
        "fixed": 0.99,
        "finetuned": 0.96,
        "scratch": 0.55,
    }
    assert {(row["n_models"], row["n_datasets"]) for row in rows.values()} == {(16, 12)}


def test_the_published_correlations_of_small_and_large_datasets_come_out(paper: Database) -> None:
    rows = paper.query("correlation_by_training_size", setting="scratch").to_pylist()
    assert [(row["training_images"], row["n_datasets"], round(row["r"], 2)) for row in rows] == [
        ("under 10,000", 7, 0.29),
        ("10,000 and above", 5, 0.86),
    ]
