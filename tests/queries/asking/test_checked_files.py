"""SQL is handed no file that is not as it was written."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import sound_store
from shard_rows import feature_rows

from featurestore import FeatureSet, FeatureStore
from featurestore.errors import DamagedFileError, StoreError
from featurestore.store import layout
from featurestore.store.feature_store import rows_table
from queries.asking.database import Database

PART = f"{sound_store.FEATURES['train'].folder}/{layout.part_name(0, 2)}"
MANIFEST = f"{sound_store.FEATURES['train'].folder}/{layout.MANIFEST}"
IMAGES = f"{sound_store.SAMPLES['train'].folder}/{layout.part_name(0, 2)}"
ASKED = {
    PART: "select sum(list_sum(feature)) from features",
    IMAGES: "select count(distinct sample_id) from samples",
    "predictions/c1.parquet": "select sum(predicted) from predictions",
    "heads/weights.parquet": "select sum(bias) from heads",
}
AT_OPENING = ["results/c1.parquet", "cells/study.parquet", "tuning/c1.parquet"]


@pytest.fixture
def store(tmp_path: Path) -> FeatureStore:
    made = sound_store.make(str(tmp_path / "store=1"))
    model = {"model": "net", "model_key": "weights", "recorded_at": sound_store.NOW}
    made.publish("models", "net", rows_table("models", [model]))
    dataset = {"dataset": "pets", "recorded_at": sound_store.NOW}
    made.publish("datasets", "pets", rows_table("datasets", [dataset]))
    return made


def flip(path: Path, place: float) -> None:
    content = bytearray(path.read_bytes())
    content[int(place * len(content))] ^= 4
    path.write_bytes(content)


@pytest.mark.parametrize("place", [0.1, 0.5, 0.99])
@pytest.mark.parametrize("name", ASKED)
def test_a_flipped_bit_is_an_error_that_names_the_file(store, name, place):
    with Database(store) as database:
        database.sql(ASKED[name])
    flip(Path(store.uri, name), place)
    with Database(store) as database, pytest.raises(DamagedFileError, match=name.replace(".", r"\.")):
        database.sql(ASKED[name])


@pytest.mark.parametrize("name", AT_OPENING)
def test_a_damaged_file_of_a_table_that_is_read_at_once_is_named(store, name):
    flip(Path(store.uri, name), 0.5)
    with pytest.raises(DamagedFileError, match=name.replace(".", r"\.")):
        Database(store)


def test_what_was_not_asked_for_may_be_damaged(store):
    flip(Path(store.uri, PART), 0.5)
    with Database(store) as database:
        assert database.sql("select sum(predicted) as n from predictions").to_pylist() == [{"n": 1}]


def test_after_an_error_the_next_query_is_answered(store):
    flip(Path(store.uri, PART), 0.5)
    with Database(store) as database:
        with pytest.raises(DamagedFileError):
            database.sql(ASKED[PART])
        assert database.sql("select 1 as one").to_pylist() == [{"one": 1}]


@pytest.mark.parametrize("name", [PART, IMAGES])
def test_a_part_in_the_place_of_another_is_an_error(store, name):
    first, second = (Path(store.uri, name.replace("part-00000", f"part-0000{shard}")) for shard in (0, 1))
    shutil.copy(first, second)
    with Database(store) as database, pytest.raises(DamagedFileError, match="part-00001"):
        database.sql(ASKED[name])


def test_a_damaged_manifest_is_an_error(store):
    flip(Path(store.uri, sound_store.FEATURES["train"].folder, layout.MANIFEST), 0.5)
    with Database(store) as database, pytest.raises(DamagedFileError, match=r"manifest\.json"):
        database.sql(ASKED[PART])


def test_a_file_that_changes_between_two_queries_is_checked_again(store):
    with Database(store) as database:
        before = database.sql(ASKED[PART]).to_pylist()
        assert database.sql(ASKED[PART]).to_pylist() == before
        path = Path(store.uri, PART)
        flip(path, 0.5)
        os.utime(path, ns=(1, 1))
        with pytest.raises(DamagedFileError, match="part-00000"):
            database.sql("select sum(list_sum(feature)), 2 from features")


def test_a_file_that_goes_away_is_named(store):
    with Database(store) as database:
        Path(store.uri, "predictions/c1.parquet").unlink()
        with pytest.raises(StoreError, match=r"predictions/c1\.parquet is not in the store"):
            database.sql(ASKED["predictions/c1.parquet"])


@pytest.mark.parametrize("name", ["predictions/c1.parquet", PART, IMAGES, MANIFEST])
def test_a_file_that_was_made_and_is_gone_is_named_by_whoever_asks_for_it(store, name):
    sound_store.want(store, "study", made=True)
    Path(store.uri, name).unlink()
    with Database(store) as database:
        assert database.sql("select count(*) as n from results").to_pylist() == [{"n": 1}]
        with pytest.raises(StoreError, match=f"{name}.*verify --mend"):
            database.sql(ASKED[PART if name == MANIFEST else name])


@pytest.mark.parametrize("name", ["results/c1.parquet", "tuning/c1.parquet"])
def test_a_store_whose_small_tables_lack_a_file_is_refused_until_it_is_made_again(store, name):
    sound_store.want(store, "study", made=True)
    row = {**store.read_record("results", "c1").to_pylist()[0], "chosen": 1.0}
    store.publish("results", "c1", rows_table("results", [row]))
    Path(store.uri, name).unlink()
    with pytest.raises(StoreError, match=f"{name}.*verify --mend"):
        Database(store)
    Database(store, gaps=[name.split("/")[0]]).close()


def test_files_of_an_earlier_version_are_read(store):
    sound_store.made_before_seals(store)
    with Database(FeatureStore.open(store.uri)) as database:
        assert database.sql("select count(*) as n from features").to_pylist() == [{"n": 18}]


@pytest.mark.parametrize("table", ["features", "predictions"])
def test_a_store_on_any_file_system_of_fsspec_is_asked(request, table):
    store = FeatureStore.create(f"memory://{request.node.originalname}-{table}")
    item = FeatureSet("net", "pets", "train", "key", tap="block:layers.3")
    store.write_shard(item, 0, 1, feature_rows(0, np.ones((5, 4), np.float32)))
    store.finish(item, 1, {})
    said = {"sample_id": "id0", "index": 0, "label": 0, "predicted": 1, "top5": [1, 0], "scores": [0.25, 0.75]}
    store.publish("predictions", "c1", rows_table("predictions", [{**sound_store.CELL, **said}] * 5))
    with Database(store) as database:
        assert database.sql(f"select count(*) as n from stored_{table}").to_pylist() == [{"n": 5}]
