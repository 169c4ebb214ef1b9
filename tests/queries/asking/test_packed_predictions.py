"""SQL over predictions, whichever of files and packs hold them, while they are packed."""

from __future__ import annotations

import uuid
from pathlib import Path

import pytest
from given import cell, score

from featurestore import FeatureStore
from featurestore.care.compact import compact
from featurestore.errors import StoreError
from featurestore.store.feature_store import rows_table
from featurestore.store.storage import Storage
from queries.asking.database import Database

COUNTS = "select cell, count(*) as n, sum(probability) as p from stored_predictions group by cell order by cell"


def publish(store: FeatureStore, name: str, probability: float = 0.5) -> None:
    row = cell("m", "pets") | {"cell": name, "predicted": 1, "top5": [1], "scores": [0.5, 0.5]}
    rows = [row | {"sample_id": f"{k}", "index": k, "probability": probability} for k in range(2)]
    store.publish("predictions", name, rows_table("predictions", rows))
    store.publish("results", name, rows_table("results", [score("m", "pets", 0.5, n_test=2) | {"cell": name}]))


def asked(database: Database) -> dict[str, tuple[int, float]]:
    return {row["cell"]: (row["n"], row["p"]) for row in database.sql(COUNTS).to_pylist()}


WHOLE = {"a": (2, 1.0), "b": (2, 1.0), "c": (2, 1.0)}


@pytest.fixture(params=["local", "memory"])
def filled(request: pytest.FixtureRequest, tmp_path: Path) -> FeatureStore:
    place = str(tmp_path / "store") if request.param == "local" else f"memory://{uuid.uuid4().hex}"
    store = FeatureStore.create(place)
    for name in "abc":
        publish(store, name)
    return store


def test_packs_give_the_same_answers(filled):
    compact(filled)
    assert not [name for name in filled.storage.list_files("predictions") if "/packed/" not in name]
    with Database(filled) as database:
        assert asked(database) == WHOLE


def test_what_is_in_a_file_and_in_a_pack_counts_once_and_the_file_counts(filled):
    compact(filled)
    publish(filled, "b", 0.25)
    with Database(filled) as database:
        assert asked(database) == WHOLE | {"b": (2, 0.5)}


@pytest.mark.parametrize("before", [True, False], ids=["asked before", "not asked before"])
def test_what_is_packed_after_the_store_was_opened_is_served_from_the_pack(filled, before):
    with Database(filled) as database:
        database.count_files("predictions")
        if before:
            assert asked(database) == WHOLE
        compact(FeatureStore.open(filled.uri))
        assert asked(database) == WHOLE
        assert asked(database) == WHOLE


def test_a_pack_that_was_replaced_after_the_store_was_opened_is_served_from_the_other(filled):
    compact(filled)
    with Database(filled) as database:
        assert asked(database) == WHOLE
        publish(filled, "b")
        compact(FeatureStore.open(filled.uri))
        assert asked(database) == WHOLE


def test_what_was_removed_after_the_store_was_opened_is_missed(filled):
    with Database(filled) as database:
        database.count_files("predictions")
        filled.delete_records("predictions", ["b"])
        with pytest.raises(StoreError, match=r"predictions/b\.parquet is not in the store"):
            asked(database)


def test_a_file_that_is_packed_while_a_query_runs_is_not_mixed_with_other_bytes(filled, monkeypatch):
    with Database(filled) as database:
        database.count_files("predictions")
        files = database._files
        files.begin({})
        files.open("stored://predictions/b.parquet")
        files._kept.clear()
        compact(FeatureStore.open(filled.uri))
        with pytest.raises(StoreError, match="packed with others while the query ran"):
            files.open("stored://predictions/b.parquet")
        files.begin({})
        assert files.open("stored://predictions/b.parquet").size()
        assert files.modified("stored://predictions/b.parquet") != files.modified("stored://predictions/a.parquet")


def test_a_damaged_pack_is_refused(filled, tmp_path, monkeypatch):
    compact(filled)
    (name,) = filled.storage.list_files("predictions")
    content = bytearray(filled.storage.read_bytes(name))
    content[40] ^= 1
    Storage.publish(filled.storage, name, bytes(content))
    with Database(filled) as database, pytest.raises(StoreError, match="packed/.* is damaged"):
        asked(database)
