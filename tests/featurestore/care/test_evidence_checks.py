"""A result that does not rest on what there is now is an error, which its removal mends."""

from __future__ import annotations

from pathlib import Path

import pytest
from sound_store import CELL, FEATURES, NOW, features_of, make

from featurestore import FeatureStore
from featurestore.care.verify import verify
from featurestore.store.evidence import tuning_digest
from featurestore.store.feature_store import rows_table


@pytest.fixture
def store(tmp_path: Path) -> FeatureStore:
    """A store whose result names what it rests on."""
    store = make(str(tmp_path / "store"))
    digests = {
        "features_digests": [store.features_digest(item) for item in FEATURES.values()],
        "predictions_digest": store.record_seal("predictions", "c1"),
        "tuning_digest": tuning_digest(store.read_record("tuning", "c1")),
    }
    row = {**CELL, "metric": "top1", "headline": True, "value": 0.5, "n_test": 6, "versions": "{}", "created_at": NOW}
    store.publish("results", "c1", rows_table("results", [row | digests]))
    return store


def said(store: FeatureStore) -> list[tuple[str, str, tuple[str, ...]]]:
    return [(finding.place, finding.what, finding.remove) for finding in verify(store).findings]


def test_a_result_that_rests_on_what_there_is_is_sound(store):
    assert said(store) == []


@pytest.mark.parametrize("table", ["predictions", "tuning"])
def test_a_result_of_other_records_is_an_error(store, table):
    rows = store.read_record(table, "c1").to_pylist()
    changed = {"predicted": 0} if table == "predictions" else {"validation": 0.75}
    store.publish(table, "c1", rows_table(table, [row | changed for row in rows]))
    what = {"predictions": "other predictions than there are", "tuning": "another tuning than there is"}[table]
    assert said(store) == [("results/c1.parquet", f"it rests on {what}", ("results/c1.parquet",))]


def test_a_result_of_other_features_is_an_error_even_beside_a_record_that_cannot_be_read(store):
    item = FEATURES["val"]
    manifest = store.manifest(item)
    name = manifest["parts"][0]["name"]
    store.storage.delete(f"{item.folder}/{name}")
    part = store.write_shard(item, 0, 2, features_of(0, 4).replace_schema_metadata({"made": "elsewhere"}))
    store.finish(item, 2, manifest, parts=[part])
    store.storage.publish("results/c2.parquet", b"PAR1")
    found = {place: what for place, what, _ in said(store)}
    assert found["results/c1.parquet"] == "it rests on other features of val than there are"
    assert len(found) == 2
