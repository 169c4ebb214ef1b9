"""Records of analyses that have ended and are gone: missed where the same features were analysed, and nowhere else."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
from given_features import analyse, dataset_record, save, subject, want

from featurestore import FeatureStore
from featurestore.errors import StoreError
from featurestore.store.feature_store import rows_table
from probes.analysis.gone_analyses import TABLES, gone_analyses
from queries.asking.database import Database

MODELS = ("a", "b")
FOLDERS = (*TABLES, "cells", "datasets", "progress")


@pytest.fixture
def analysed(store: FeatureStore) -> FeatureStore:
    """Two models, analysed; the cells of their features are there."""
    seen = [subject(name) for name in MODELS]
    X = np.random.default_rng(0).standard_normal((6, 3))
    for one in seen:
        for split in ("train", "val", "test"):
            save(store, one, split, X, [0, 1, 2, 0, 1, 2])
    store.publish("datasets", "pets", rows_table("datasets", [dataset_record()]))
    want(store, *seen, made=True)
    assert not analyse(store, seen)
    ended(store, done=3)
    return store


def ended(store: FeatureStore, *, done: int) -> None:
    """Say how many of three analyses of each model the last run has made."""
    place = {"study": "analyse", "stage": "analysis", "tap": "penultimate", "dataset": "pets"}
    rows = [{**place, "model": name, "wanted": 3, "done": done, "updated_at": datetime.now(UTC)} for name in MODELS]
    store.publish("progress", "analyse", rows_table("progress", rows))


def lost(store: FeatureStore) -> list[str]:
    return [item.file for item in gone_analyses(store, {name: store.storage.files(name) for name in FOLDERS})]


@pytest.mark.parametrize("table", TABLES)
def test_a_deleted_record_is_missed_by_its_name(analysed, table):
    assert lost(analysed) == []
    path = next(Path(analysed.uri, table).glob("*.parquet"))
    path.unlink()
    assert lost(analysed) == [f"{table}/{path.name}"]
    with (
        pytest.raises(StoreError, match=f"{table}/{path.name}.*verify --mend"),
        Database(analysed, gaps=["models", "results"]) as db,
    ):
        db.sql(f"from {table}")


@pytest.mark.parametrize("table", TABLES)
def test_nothing_is_missed_of_an_analysis_that_has_not_ended(analysed, table):
    ended(analysed, done=2)
    next(Path(analysed.uri, table).glob("*.parquet")).unlink()
    assert lost(analysed) == []


def test_nothing_is_missed_where_cells_read_other_features_since(analysed):
    want(analysed, *(subject(name, train_key="newer", test_key="newer") for name in MODELS), made=True)
    assert lost(analysed) == []


def test_nothing_is_missed_where_another_set_of_models_was_compared_last(analysed):
    next(Path(analysed.uri, "similarities").glob("*.parquet")).unlink()
    want(analysed, subject("a"), made=True)
    assert lost(analysed) == []


def test_what_was_written_after_the_files_were_listed_is_not_missed(analysed):
    listed = {name: analysed.storage.files(name) for name in FOLDERS} | {"neighbours": []}
    assert gone_analyses(analysed, listed) == []
