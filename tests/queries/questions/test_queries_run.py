"""Questions about fits and what they cost: few given rows, and a small store of features."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest
import stored
from given import NOW, Given, Row, cell, logit, model, score

from featurestore import FeatureStore
from featurestore.store.feature_store import rows_table
from queries.asking.database import Database

# ---- health of fits ---------------------------------------------------------------------------------------------


def tried(row: Row, *values: float) -> list[Row]:
    grain = {name: row[name] for name in cell("a", "d0")}
    return [{**grain, "hyperparameter": "l2", "value": x, "metric": "top1", "validation": 0.5} for x in values]


def fit(dataset: str, *, chosen: float = 2.0, converged: bool | None = True, **evidence: object) -> Row:
    choice = {"hyperparameter": "l2", "chosen": chosen, "at_grid_edge": chosen != 2}
    return score("a", dataset, 0.9, **choice, converged=converged, **evidence)


def test_fits_are_counted_by_what_is_to_be_distrusted(given: Given) -> None:
    fits = [
        fit("d0", duality_gap=1e-4, gradient_norm=0.5),
        fit("d1", chosen=1, converged=False, duality_gap=0.2, gradient_norm=0.1),
        fit("d2", chosen=4, converged=None),
        fit("d3", chosen=4),
    ]
    other_metric = {**fits[1], "metric": "nll", "headline": False}
    votes = score("a", "d0", 0.8, probe="knn", solver="")
    curves = [row for one in fits for row in tried(one, 1, 2, 4)]
    rows = given(results=[*fits, other_metric, votes], tuning=curves).query("fit_health").to_pylist()
    assert rows == [
        {
            "setting": "fixed", "probe": "logistic", "solver": "path", "fits": 4, "not_converged": 1, "at_low_edge": 1,
            "at_high_edge": 2, "former_choice": 4, "kept_chosen_fit": 0,
            "largest_duality_gap": 0.2, "largest_gradient_norm": 0.5, "without_evidence": 1,
        },
        {
            "setting": "fixed", "probe": "knn", "solver": "", "fits": 1, "not_converged": 0, "at_low_edge": 0,
            "at_high_edge": 0, "former_choice": 0, "kept_chosen_fit": 0,
            "largest_duality_gap": None, "largest_gradient_norm": None, "without_evidence": 1,
        },
    ]  # fmt: skip


# ---- cost -------------------------------------------------------------------------------------------------------

SIZES = {"n_train": 60, "n_val": 20, "n_test": 20}


def extracted(split: str, wanted: int, rate: float | None, **changes: object) -> Row:
    place = {"model": "net", "tap": "penultimate", "dataset": "pets", "split": split}
    counts = {"wanted": wanted, "done": wanted, "images_per_second": rate, "updated_at": NOW}
    return {"study": "s", "stage": "features", **place, **counts, **changes}


def pets(probe: str, seconds: float | None, **changes: object) -> Row:
    return score("net", "pets", 0.9, probe=probe, seconds=seconds, **changes)


def test_cost_adds_up_features_and_cells(store: FeatureStore, tmp_path: Path) -> None:
    stored.fill(store)
    results = [
        pets("logistic", 3.0),
        pets("logistic", 3.0, metric="nll", headline=False),
        pets("knn", 1.0),
        pets("logistic", 50.0, setting="finetuned"),
        score("else", "where", 0.9, seconds=2.0),
    ]
    progress = [extracted("train", 3, 10.0), extracted("test", 1, 5.0), extracted("val", 1, None)]
    store.publish("results", "given", rows_table("results", results))
    store.publish("progress", "s", rows_table("progress", progress))
    store.publish("datasets", "pets", rows_table("datasets", [{"dataset": "pets", **SIZES, "recorded_at": NOW}]))
    with Database(store) as database:
        trained, unknown, fixed = database.query("cost").to_pylist()
        by_model = {(row["setting"], row["model"]): row for row in database.query("cost_by_model").to_pylist()}
        (newest,) = database.query("latest_results", most=1).to_pylist()
    files = (tmp_path / "store" / "features").rglob("part-*.parquet")
    assert (fixed["setting"], fixed["images"], fixed["n_cells"], fixed["cell_seconds"]) == ("fixed", 100, 2, 4)
    summed = by_model["fixed", "net"]
    assert {name: summed[name] for name in ("n_datasets", "images", "n_cells", "cell_seconds")} == {
        "n_datasets": 1, "images": 100, "n_cells": 2, "cell_seconds": 4,
    }  # fmt: skip
    assert summed["feature_seconds"] == pytest.approx(fixed["feature_seconds"])
    assert (newest["metric"], newest["created_at"]) == ("top1", NOW)
    assert fixed["images_per_second"] == pytest.approx(4 / (3 / 10 + 1 / 5))
    assert fixed["feature_seconds"] == pytest.approx(100 / 8)
    assert fixed["seconds"] == pytest.approx(12.5 + 4)
    assert fixed["feature_bytes"] == sum(path.stat().st_size for path in files)
    assert (trained["setting"], trained["seconds"], trained["feature_bytes"]) == ("finetuned", 50, None)
    assert (unknown["model"], unknown["images"], unknown["feature_seconds"], unknown["seconds"]) == (
        "else",
        None,
        None,
        2,
    )


def test_features_without_a_result_have_their_cost_and_imports_have_none(store: FeatureStore) -> None:
    stored.fill(store)
    imported = score("Inception v4", "Pets", 0.9, seconds=None, origin="paper")
    store.publish("results", "given", rows_table("results", [imported]))
    with Database(store) as database:
        (row,) = database.query("cost").to_pylist()
    assert (row["model"], row["n_cells"], row["cell_seconds"], row["images"]) == ("net", 0, None, None)
    assert row["feature_bytes"] > 0
    assert row["seconds"] is None


def test_a_cell_that_does_not_say_its_seconds_has_none(given: Given) -> None:
    rows = given(results=[pets("knn", None), pets("logistic", 2.0), score("a", "b", 0.5, seconds=None)]).query("cost")
    assert [(row["n_cells"], row["cell_seconds"]) for row in rows.to_pylist()] == [(1, None), (2, 2.0)]


# ---- what counts no more ------------------------------------------------------------------------------------------

LATER = {"created_at": NOW + timedelta(days=1)}


CROPPED = '{"geometry": {"crop_pct": 0.875, "interpolation": "bicubic", "resize": "crop", "size": 224}}'
CROPPED_AS_ITS_LIBRARY_DOES = CROPPED.replace("}}", ', "resized": 256}}')


def of_model(key: str, value: float, dataset: str = "d0", **changes: object) -> Row:
    return score("a", dataset, value, cell=f"{key}/{dataset}", model_key=key, **changes)


def test_results_of_a_former_preprocessing_are_in_no_average_and_are_counted(given: Given) -> None:
    former = [of_model("before", 0.1, dataset) for dataset in ("d0", "d1")]
    former.append(of_model("before", 2.0, metric="nll", headline=False))
    now = of_model("now", 0.9, **LATER)
    record = {**model("a", 0.7), "model_key": "now", "preprocessing": CROPPED_AS_ITS_LIBRARY_DOES}
    database = given(models=[record], results=[*former, now])
    assert database.query("leaderboard")["mean_value"].to_pylist() == [0.9]
    points = database.query("transfer_points").to_pylist()
    assert {round(row["logit"], 9) for row in points} == {round(logit(0.9), 9)}
    assert database.query("latest_results")["value"].to_pylist() == [0.9]
    assert database.sql("select count(*) n from stored_results")["n"].to_pylist() == [4]
    (row,) = database.query("superseded_results").to_pylist()
    assert row["reason"] == "weights or preprocessing that the model's name no longer stands for"
    assert (row["model"], row["n_cells"], row["n_datasets"], row["n_replaced"]) == ("a", 2, 2, 1)


def test_results_of_a_crop_that_was_not_the_librarys_leave_every_average_before_they_are_replaced(given: Given) -> None:
    records = [
        {**model("a", 0.7), "model_key": "a-key", "preprocessing": CROPPED},
        {**model("b", 0.7), "model_key": "b-key", "preprocessing": CROPPED_AS_ITS_LIBRARY_DOES},
        {**model("c", 0.7), "model_key": "c-key", "preprocessing": CROPPED.replace('"crop"', '"squash"')},
    ]
    results = [score(name, "d0", 0.5, model_key=f"{name}-key") for name in "abc"]
    imported = score("a", "d1", 0.4, origin="paper", setting="finetuned")
    database = given(models=records, results=[*results, imported])
    assert database.query("leaderboard")["model"].to_pylist() == ["b", "c"]
    (row,) = database.query("superseded_results").to_pylist()
    assert row["reason"] == "cropped otherwise than the library that the model comes from"
    assert (row["model"], row["setting"], row["n_cells"], row["n_replaced"]) == ("a", "fixed", 1, 0)


def test_what_is_stored_is_either_current_or_superseded(given: Given) -> None:
    curve = [score("a", "d", 0.1, cell=f"c{steps}", train_steps=steps) for steps in (100, 200)]
    replaced = [score("a", "d", 0.2, cell="old"), score("a", "d", 0.3, cell="new", **LATER)]
    database = given(results=[*curve, *replaced])
    assert database.query("superseded_results")["n_replaced"].to_pylist() == [1]
    halves = "select cell from results union all select cell from training_curves union all select cell from"
    assert database.sql(f"{halves} superseded_results order by 1")["cell"].to_pylist() == ["c100", "c200", "new", "old"]
