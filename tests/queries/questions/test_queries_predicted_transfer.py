"""Where a model lies on the line of an import, against SciPy and by hand."""

import math
from collections.abc import Mapping

import numpy as np
import pytest
from given import NOW, Given, Row, logit, model, score
from scipy import stats

SOURCES = {"r0": 0.6, "r1": 0.65, "r2": 0.7, "r3": 0.75, "r4": 0.8}
REFERENCE = {
    "r0": {"A": 0.60, "B b": 0.50},
    "r1": {"A": 0.66, "B b": 0.52},
    "r2": {"A": 0.68, "B b": 0.60},
    "r3": {"A": 0.77, "B b": 0.61},
    "r4": {"A": 0.79, "B b": 0.70},
}


def published(values: Mapping[str, Mapping[str, float]] = REFERENCE, origin: str = "paper") -> list[Row]:
    return [
        score(name, dataset, value, origin=origin, cell=f"{origin}/{name}/{dataset}", solver="")
        for name, row in values.items()
        for dataset, value in row.items()
    ]


def models(**more: float | None) -> list[Row]:
    return [model(name, value) for name, value in {**SOURCES, **more}.items()]


def ask(given: Given, results: list[Row], known: list[Row], **parameters: object) -> list[Row]:
    return given(results=results, models=known).query("predicted_transfer", **parameters).to_pylist()


def test_the_prediction_is_that_of_simple_regression(given: Given) -> None:
    mine = [score("mine", "A", 0.9), score("mine", "b_b", 0.8), score("mine", "elsewhere", 0.1)]
    (row,) = ask(given, [*published(), *mine], models(mine=0.82))
    x = np.array([logit(SOURCES[name]) for name in REFERENCE])
    y = np.array([np.mean([logit(value) for value in values.values()]) for values in REFERENCE.values()])
    line = stats.linregress(x, y)
    at, n = logit(0.82), len(x)
    s = math.sqrt(((y - line.intercept - line.slope * x) ** 2).sum() / (n - 2))
    margin = stats.t.ppf(0.975, n - 2) * s * math.sqrt(1 + 1 / n + (at - x.mean()) ** 2 / ((x - x.mean()) ** 2).sum())
    predicted = line.intercept + line.slope * at
    observed = (logit(0.9) + logit(0.8)) / 2
    assert (row["model"], row["reference"], row["n_datasets"], row["n_reference"]) == ("mine", "paper", 2, 5)
    assert (row["source_value"], row["source_x"]) == (0.82, pytest.approx(at))
    assert row["predicted"] == pytest.approx(predicted)
    assert row["predicted_low"] == pytest.approx(predicted - margin, rel=1e-4)
    assert row["predicted_high"] == pytest.approx(predicted + margin, rel=1e-4)
    assert (row["observed"], row["residual"]) == (pytest.approx(observed), pytest.approx(observed - predicted))
    assert (row["inside"], row["extrapolated"]) == (False, True)
    assert (row["slope"], row["intercept"]) == (pytest.approx(line.slope), pytest.approx(line.intercept))


def test_a_model_on_the_line_is_inside_and_says_nothing_new(given: Given) -> None:
    values = {name: {"A": value} for name, value in SOURCES.items()}  # transfer is the source accuracy itself
    (row,) = ask(given, [*published(values), score("mine", "A", 0.72)], models(mine=0.72))
    assert row["residual"] == pytest.approx(0, abs=1e-9)
    assert (row["extrapolated"], row["n_datasets"]) == (False, 1)


def test_what_is_not_shared_or_not_known_predicts_nothing(given: Given) -> None:
    results = [*published(), score("far", "Z", 0.9), score("unknown", "A", 0.9), score("shares", "A", 0.7)]
    rows = {row["model"]: row for row in ask(given, results, models(far=0.7, shares=0.7, unknown=None))}
    said = ("n_datasets", "observed", "predicted", "inside")
    assert [rows["far"][name] for name in said] == [0, None, None, None]
    assert [rows["unknown"][name] for name in said] == [1, pytest.approx(logit(0.9)), None, None]
    assert rows["shares"]["predicted"] is not None


def test_a_dataset_of_another_metric_is_another_dataset(given: Given) -> None:
    (row,) = ask(given, [*published(), score("mine", "A", 0.7, metric="mean_per_class")], models(mine=0.7))
    assert (row["n_datasets"], row["predicted"]) == (0, None)


def test_datasets_that_some_of_the_reference_lack_cost_as_little_as_possible(given: Given) -> None:
    """Five models on one dataset beat two on two."""
    values = {name: dict(row) if name in ("r0", "r1") else {"A": row["A"]} for name, row in REFERENCE.items()}
    mine = [score("mine", "A", 0.7), score("mine", "B b", 0.7)]
    (row,) = ask(given, [*published(values), *mine], models(mine=0.7))
    assert (row["n_datasets"], row["n_reference"], row["observed"]) == (1, 5, pytest.approx(logit(0.7)))


def test_fewer_than_three_models_or_equal_ones_make_no_line(given: Given) -> None:
    two = {name: REFERENCE[name] for name in ("r0", "r1")}
    (row,) = ask(given, [*published(two), score("mine", "A", 0.7)], models(mine=0.7))
    assert (row["n_reference"], row["predicted"], row["inside"]) == (2, None, None)
    equal = [model(name, 0.7) for name in (*REFERENCE, "mine")]
    (row,) = ask(given, [*published(), score("mine", "A", 0.7)], equal)
    assert (row["n_reference"], row["predicted"], row["extrapolated"]) == (5, None, None)


def test_the_largest_import_is_the_reference_unless_another_is_asked_for(given: Given) -> None:
    other = published({"o0": {"A": 0.6}, "o1": {"A": 0.7}, "o2": {"A": 0.75}}, origin="other")
    results, known = [*published(), *other], models(o0=0.6, o1=0.7, o2=0.8)
    rows = ask(given, results, known)
    assert {row["reference"] for row in rows} == {"paper"}
    assert sorted(row["model"] for row in rows) == ["o0", "o1", "o2"]
    rows = ask(given, results, known, origin="other")
    assert sorted(row["model"] for row in rows) == list(REFERENCE)
    assert {row["n_reference"] for row in rows} == {3}


def test_without_an_import_there_is_nothing_to_be_compared_with(given: Given) -> None:
    (row,) = ask(given, [score("mine", "A", 0.7)], models(mine=0.7))
    assert (row["reference"], row["n_datasets"], row["observed"], row["predicted"]) == (None, 0, None, None)


def test_another_source_metric_gives_another_line(given: Given) -> None:
    known = [{**model(name, None), "params": 10 ** (6 + i)} for i, name in enumerate([*REFERENCE, "mine"])]
    (row,) = ask(given, [*published(), score("mine", "A", 0.7)], known, source="params")
    assert (row["source_value"], row["source_x"]) == (10**11, pytest.approx(11))
    assert row["predicted"] > logit(0.79)


def test_a_network_of_the_import_that_was_computed_here_is_held_against_the_others(given: Given) -> None:
    later = score("r4", "A", 0.5, created_at=NOW.replace(year=2030))
    (row,) = ask(given, [*published({name: {"A": row["A"]} for name, row in REFERENCE.items()}), later], models())
    assert (row["model"], row["n_reference"], row["residual"] < 0) == ("r4", 4, True)
    assert row["observed"] == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize("year", [2020, 2030])
def test_a_network_that_was_computed_here_keeps_its_row_whenever_the_import_was_made(given: Given, year: int) -> None:
    here = [score("r4", name, 0.5, created_at=NOW.replace(year=year)) for name in ("A", "B b")]
    (row,) = ask(given, [*published(), *here], models())
    assert (row["model"], row["n_reference"], row["n_datasets"]) == ("r4", 4, 2)
    assert row["observed"] == pytest.approx(0, abs=1e-12)


def test_a_later_import_of_the_same_networks_does_not_shrink_the_reference(given: Given) -> None:
    later = [{**row, "value": 0.5, "created_at": NOW.replace(year=2030)} for row in published(origin="later")]
    rows = ask(given, [*published(), *later[:4], score("mine", "A", 0.7)], models(mine=0.7))
    found = {row["model"]: (row["reference"], row["n_reference"]) for row in rows}
    assert found == {"mine": ("paper", 5), "r0": ("paper", 4), "r1": ("paper", 4)}


def test_the_same_question_has_the_same_answer(given: Given) -> None:
    database = given(results=[*published(), score("mine", "A", 0.7)], models=models(mine=0.7))
    assert database.query("predicted_transfer").equals(database.query("predicted_transfer"))
