"""Metrics from stored predictions: what was left out is added, and nothing else is touched."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from silent import Silent
from sound_store import made_before_seals
from stored import cell, fill, results_of

from cluster.runs.stored_runs import rescore_stored
from featurestore import FeatureStore
from featurestore.errors import UnknownNameError
from probes import methods, metrics
from probes.cells.run import run_cells

ADDED = {"top5", "ece"}


def rescore(store: FeatureStore, names: tuple[str, ...] | list[str] = ()) -> tuple[int, int]:
    """Add metrics; return how many cells got rows, and how many rows."""
    summary = rescore_stored(store, names, reporter=Silent())
    assert summary.failures == []
    return summary.counts["rescored"], summary.counts["rows"]


@pytest.fixture
def forgetful(store, monkeypatch):
    """Returns a store whose results were computed when some metrics did not exist."""

    def make(*cells, multilabel: bool = False, without: set[str] = ADDED) -> FeatureStore:
        fill(store, multilabel=multilabel)
        with monkeypatch.context() as patch:
            patch.setattr(metrics, "METRICS", [metric for metric in metrics.METRICS if metric.name not in without])
            reports = run_cells(store, cells, n_classes=7, device="cpu")
        assert [report.failure for report in reports] == [None] * len(cells)
        return store

    return make


def test_metrics_that_are_missing_are_added_as_if_they_had_been_computed(forgetful, store, monkeypatch, tmp_path):
    asked = cell("knn")
    forgetful(asked)
    before = results_of(store, asked)
    assert not ADDED & set(before)
    monkeypatch.setattr(methods, "load", lambda name: pytest.fail("a probe was loaded"))
    assert rescore(store) == (1, 2)
    after = results_of(store, asked)
    assert {name: after[name] for name in before} == before
    assert set(after) - set(before) == ADDED
    monkeypatch.undo()
    other = FeatureStore.create(str(tmp_path / "whole"))
    fill(other)
    run_cells(other, [asked], n_classes=7, device="cpu")
    whole = results_of(other, asked)
    for name in ADDED:
        for column in ("value", "standard_error"):
            assert after[name][column] == pytest.approx(whole[name][column], rel=1e-5), (name, column)
        shared = {key: value for key, value in after[name].items() if key not in ("metric", "value", "standard_error")}
        assert shared == {key: after["nll"][key] for key in shared}


def test_a_second_time_adds_nothing(forgetful, store):
    asked = cell("knn")
    forgetful(asked)
    rescore(store)
    before = results_of(store, asked)
    assert rescore(store) == (0, 0)
    assert results_of(store, asked) == before


def test_only_the_metrics_that_are_asked_for_are_added(forgetful, store):
    forgetful(cell("knn"))
    assert rescore(store, ["top5"]) == (1, 1)
    assert "ece" not in results_of(store, cell("knn"))
    with pytest.raises(UnknownNameError, match="Did you mean 'top5'"):
        rescore(store, ["top_5"])


def test_scores_that_are_no_probabilities_get_metrics_of_ranks_only(forgetful, store):
    asked = cell("ncm")
    forgetful(asked, without={"top5", "nll", "ece"})
    assert rescore(store) == (1, 1)
    assert {"top5"} == {"top5", "nll", "ece"} & set(results_of(store, asked))


def test_labels_that_are_many_per_image_come_back(forgetful, store):
    asked = cell("knn", metric="map_11point")
    forgetful(asked, multilabel=True, without={"balanced_accuracy", "top5"})
    assert rescore(store) == (1, 1)
    found = results_of(store, asked)["balanced_accuracy"]
    assert 0.5 < found["value"] <= 1
    assert not found["headline"]


def test_results_that_were_written_before_some_columns_existed_are_rescored(forgetful, store):
    asked = cell("knn")
    forgetful(asked)
    (path,) = store.files("results")[1:]
    pq.write_table(pq.read_table(path, partitioning=None).drop_columns(["options", "probabilistic"]), path)
    store = made_before_seals(store)
    assert rescore(store) == (1, 2)
    assert results_of(store, asked)["ece"]["options"] is None


def test_what_has_no_predictions_is_left_alone(store):
    fill(store)
    run_cells(store, [cell("logme")], n_classes=7, device="cpu")
    assert set(results_of(store, cell("logme"))) == {"logme"}
    assert rescore(store) == (0, 0)


def test_the_five_best_classes_count_and_ties_go_to_the_earlier():
    scores = np.array([[0.0, 1, 2, 3, 4, 5, 6], [0.0, 0, 0, 0, 0, 0, 0], [0.0, 0, 0, 0, 0, 0, 0]])
    assert metrics.top5(scores, np.array([2, 4, 5])).value == pytest.approx(2 / 3)
    assert metrics.top5(scores[:, :5], np.array([0, 4, 2])).value == 1
    assert (
        metrics.top5(scores, np.array([1, 0, 1])).standard_error
        == metrics.top1(scores, np.array([6, 0, 1])).standard_error
    )
    assert isinstance(pa.scalar(metrics.top5(scores, np.array([2, 4, 5])).value), pa.DoubleScalar)


def test_metrics_of_other_predictions_are_not_added(forgetful, store):
    asked = cell("knn")
    forgetful(asked)
    rows = store.read_record("predictions", asked.key)
    store.publish("predictions", asked.key, rows.slice(1))
    (failure,) = rescore_stored(store, reporter=Silent()).failures
    assert failure.failure.message.startswith(f"The results of cell {asked.key} were not computed from the predictions")
    assert not ADDED & set(results_of(store, asked))
