"""Several units are on their way at a time, and their outcomes come in any order."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
from silent import Silent
from stored import cell, fill

from cluster.pool.units import Hands, Lane, run_unit, take
from cluster.reporting.events import Failed, StageEnded, StageStarted
from cluster.runs.stored_runs import rescore_stored
from cluster.runs.study_run import run_study
from cluster.study.study_file import read_study
from featurestore import FeatureSet, FeatureStore
from featurestore.extraction import extract
from probes import metrics
from probes.cells import rescore
from probes.cells.run import run_cells
from queries.asking.database import Database


class InFlight:
    """A pool that hands out so many units before it tells what came of them, the last one first."""

    def __init__(self, count: int) -> None:
        self.count = count

    def run(self, lanes: Sequence[Lane], *, note: Callable[[str], None]) -> None:
        hands = Hands("cpu", 1)
        while any(lane.queue.n_waiting(1) for lane in lanes):
            flight = []
            while len(flight) < self.count and (taken := take(lanes)):
                taken[0].running += 1
                flight.append(taken)
            outcomes = [(lane, attempt.task, run_unit(attempt.task, hands)) for lane, attempt in flight]
            for lane, _, _ in outcomes:
                lane.running -= 1
                lane.untold += 1
            for lane, unit, outcome in reversed(outcomes):
                lane.untold -= 1
                lane.on_outcome(unit, outcome, "here")


@pytest.fixture
def loud_in_training(monkeypatch: pytest.MonkeyPatch) -> None:
    """float16 cannot hold the training features of tiny_0, which is seen when its other splits are there already."""
    check = extract._check_range

    def checked(matrix: np.ndarray, storage: str, target: FeatureSet) -> None:
        if (storage, target.split, target.model) == ("float16", "train", "tiny_0"):
            raise extract._BeyondFloat16Error("the largest feature is 1e6")
        check(matrix, storage, target)

    monkeypatch.setattr(extract, "_check_range", checked)


def run(path: Path, store: FeatureStore, count: int, **options: bool) -> Silent:
    reporter = Silent()
    reporter.summary = run_study(read_study(path), store, pool=InFlight(count), reporter=reporter, **options)
    sys.modules.pop("tiny_network", None)
    return reporter


@pytest.mark.slow
@pytest.mark.parametrize("count", [1, 2, 4, 8, 32])
def test_what_float16_cannot_hold_is_extracted_again_whatever_is_on_its_way(
    loud_in_training: None, study_file, store: FeatureStore, count: int
) -> None:
    told = run(study_file(2), store, count, analyse=True)
    assert told.summary.failures == []
    assert (told.summary.counts["cells"], told.summary.counts["cells_wanted"]) == (2, 2)
    assert (told.summary.counts["measured"], told.summary.counts["compared"]) == (2, 1)
    sets = [item for item in store.sets() if isinstance(item, FeatureSet)]
    dtypes = {(item.model, item.split): store.read(item).X.dtype for item in sets}
    assert {dtype for (model, _), dtype in dtypes.items() if model == "tiny_1"} == {np.dtype(np.float16)}
    with Database(store) as database:
        assert set(database.query("coverage")["status"].to_pylist()) == {"done"}
        read = database.sql("select train_key, val_key, test_key from cells where model = 'tiny_0'").to_pylist()[0]
    for split in ("train", "val", "test"):
        (own,) = [item for item in sets if (item.model, item.key) == ("tiny_0", read[f"{split}_key"])]
        assert store.read(own).X.dtype == np.float32
    again = run(study_file(2), store, count, analyse=True)
    assert (again.summary.counts["passes"], again.summary.counts["cells"]) == (0, 0)


@pytest.mark.slow
@pytest.mark.parametrize("count", [1, 4])
def test_the_other_models_are_compared_when_one_is_lost(study_file, store: FeatureStore, count: int) -> None:
    more = '[[model]]\nname = "broken"\nbackbone = "python:tiny_network:broken"\nweights = "none"\ninput_size = 16\n'
    told = run(study_file(2, f"{more}[extract]\nmodel_memory_gb = 0.3\n"), store, count, analyse=True)
    assert [(event.stage, event.model) for event in told.events if isinstance(event, Failed)] == [("extract", "broken")]
    assert (told.summary.counts["measured"], told.summary.counts["compared"]) == (2, 1)


@pytest.mark.slow
def test_every_stage_that_has_begun_ends_once_and_nothing_comes_after_it(study_file, store: FeatureStore) -> None:
    told = run(study_file(2), store, 4)
    for stage in ("features", "probes"):
        own = [event for event in told.events if getattr(event, "stage", None) == stage]
        assert isinstance(own[0], StageStarted)
        assert [number for number, event in enumerate(own) if isinstance(event, StageEnded)] == [len(own) - 1]


def test_a_cell_that_cannot_be_scored_again_spares_the_others(store: FeatureStore, monkeypatch) -> None:
    fill(store)
    cells = [cell("knn"), cell("ridge"), cell("ncm")]
    with monkeypatch.context() as patch:
        patch.setattr(metrics, "METRICS", [metric for metric in metrics.METRICS if metric.name != "top5"])
        run_cells(store, cells, n_classes=7, device="cpu")
    score = rescore.rescore_cell

    def broken(store: FeatureStore, name: str, wanted: Sequence[str]) -> int:
        if name == cells[1].key:
            raise ValueError("no")
        return score(store, name, wanted)

    monkeypatch.setattr(rescore, "rescore_cell", broken)
    first = rescore_stored(store, pool=InFlight(1), reporter=Silent())
    assert (first.counts["rescored"], [work.cell for work in first.failures]) == (2, [cells[1].key])
    again = rescore_stored(store, pool=InFlight(1), reporter=Silent())
    assert [(work.cell, work.before) for work in again.failures] == [(cells[1].key, True)]
