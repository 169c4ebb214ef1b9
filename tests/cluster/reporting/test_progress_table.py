"""The table `progress`: what a run writes down, and the question over it."""

from dataclasses import replace

import pytest

from cluster.reporting.events import Note, Part, StageEnded, StageStarted
from cluster.reporting.progress_table import ProgressTable
from cluster.work.kinds.features import Made, ShardDone
from cluster.work.kinds.probes import CellDone
from featurestore import FeatureStore
from queries.asking.database import Database

STAGE = StageStarted(
    "features",
    64,
    "images x models",
    "shards",
    (Part("net", "penultimate", "pets", "train", 3, 1), Part("net", "penultimate", "pets", "test", 1, 0)),
)
SHARD = ShardDone("pets", "train", 1, 8, 2.0, "node", (Made("net", ("penultimate",), 1.0),))


def rows(store: FeatureStore, question: str = "from progress order by stage, split desc") -> list[dict]:
    with Database(store, gaps=["cells"]) as database:
        return database.sql(question).to_pylist()


def told(store: FeatureStore, *events: object, study: str = "pets") -> None:
    table = ProgressTable(study, store)
    for event in events:
        table.tell(event)


def test_what_is_wanted_is_there_as_soon_as_a_stage_begins(store):
    told(store, STAGE)
    found = [
        (row["study"], row["stage"], row["model"], row["split"], row["wanted"], row["done"]) for row in rows(store)
    ]
    assert found == [("pets", "features", "net", "train", 3, 1), ("pets", "features", "net", "test", 1, 0)]


@pytest.mark.slow
def test_a_running_stage_is_written_down_now_and_then_and_at_its_end(store, monkeypatch):
    table = ProgressTable("pets", store)
    table.tell(STAGE)
    table.tell(SHARD)
    assert rows(store)[0]["done"] == 1, "too soon"
    monkeypatch.setattr("cluster.reporting.progress_table._EVERY_SECONDS", 0.0)
    table.tell(Note("time goes by"))
    assert (rows(store)[0]["done"], rows(store)[0]["images_per_second"]) == (2, 4.0)
    monkeypatch.setattr("cluster.reporting.progress_table._EVERY_SECONDS", 1000.0)
    table.tell(replace(SHARD, shard=2))
    table.tell(StageEnded("features", 3.0))
    assert rows(store)[0]["done"] == 3


def test_stages_stand_side_by_side(store):
    probes = StageStarted("probes", 2, "cells", "cells", (Part("net", "penultimate", "pets", None, 2, 0),))
    cell = CellDone("key", "net", "penultimate", "pets", "knn", 1.0, "node")
    told(store, STAGE, SHARD, StageEnded("features", 1.0), probes, cell, StageEnded("probes", 1.0))
    assert [(row["stage"], row["split"], row["done"]) for row in rows(store)] == [
        ("features", "train", 2),
        ("features", "test", 0),
        ("probes", None, 1),
    ]


def test_a_later_run_keeps_the_rates_that_it_does_not_measure(store):
    told(store, STAGE, SHARD, StageEnded("features", 1.0))
    nothing = replace(STAGE, total=0, parts=tuple(replace(part, done=part.wanted) for part in STAGE.parts))
    told(store, nothing, StageEnded("features", 0.0))
    assert [(row["done"], row["images_per_second"]) for row in rows(store)] == [(3, 4.0), (1, None)]


def test_what_a_study_no_longer_wants_is_no_part_of_its_progress(store):
    told(store, STAGE)
    told(store, replace(STAGE, parts=STAGE.parts[:1]))
    assert [row["split"] for row in rows(store)] == ["train"]


def test_the_question_adds_up_splits_and_can_be_asked_of_one_study(store):
    told(store, STAGE, SHARD, replace(SHARD, split="test", seconds=8.0), StageEnded("features", 1.0))
    told(store, STAGE, study="other")
    with Database(store) as database:
        answer = database.query("progress", study="pets").to_pylist()
        assert database.query("progress").num_rows == 2
    (row,) = answer
    assert (row["wanted"], row["done"], row["share"]) == (4, 3, 0.75)
    assert row["images_per_second"] == pytest.approx(4 / (3 / 4 + 1 / 1))
