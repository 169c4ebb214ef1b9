"""Whether results rest on what there is now."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sound_store import FEATURES, NOW, make

from featurestore import FeatureStore, SplitSets
from featurestore.store.evidence import Evidence, tuning_digest
from featurestore.store.feature_store import rows_table

SETS = SplitSets.of(FEATURES)


@pytest.fixture
def store(tmp_path: Path) -> FeatureStore:
    return make(str(tmp_path / "store"))


def result(store: FeatureStore, **changes: object) -> dict[str, Any]:
    """A row of the cell that rests on what the store has."""
    row = {
        "cell": "c1",
        "origin": None,
        "replaced": None,
        "features_digests": [store.features_digest(item) for item in SETS.sets()],
        "predictions_digest": store.record_seal("predictions", "c1"),
        "tuning_digest": tuning_digest(store.read_record("tuning", "c1")),
        "created_at": NOW,
    }
    return {**row, **changes}


def objection(store: FeatureStore, **changes: object) -> str | None:
    return Evidence(store).objection(result(store, **changes), SETS)


def test_there_is_no_objection_to_what_rests_on_what_there_is(store):
    assert objection(store) is None
    assert objection(store, features_digests=[*result(store)["features_digests"][:2], None]) is None


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"features_digests": [None, "other", None]}, "other features of val than there are"),
        ({"predictions_digest": "other"}, "other predictions than there are"),
        ({"tuning_digest": "other"}, "another tuning than there is"),
    ],
)
def test_an_objection_names_what_is_another(store, changes, said):
    assert objection(store, **changes) == said


def test_how_long_a_choice_took_does_not_matter(store):
    slower = [row | {"seconds": 9.0} for row in store.read_record("tuning", "c1").to_pylist()]
    assert tuning_digest(rows_table("tuning", slower)) == result(store)["tuning_digest"]


@pytest.mark.parametrize("table", ["predictions", "tuning"])
def test_what_is_not_there_is_no_objection(store, table):
    row = result(store)
    store.storage.delete(f"{table}/c1.parquet")
    store.storage.delete(f"{FEATURES['val'].folder}/manifest.json")
    assert Evidence(store).objection(row, SETS) is None


def test_a_result_without_digests_must_be_younger_than_its_features(store):
    without = dict.fromkeys(("features_digests", "predictions_digest", "tuning_digest"))
    made = max(store.manifest(item)["created_at"] for item in SETS.sets())
    assert objection(store, **without) == "features that were made anew since"
    assert objection(store, **without, created_at=NOW.fromisoformat(made) + timedelta(seconds=1)) is None


@pytest.mark.parametrize("changes", [{"origin": "paper"}, {"replaced": "why"}])
def test_what_was_imported_or_replaced_rests_on_nothing(store, changes):
    assert objection(store, tuning_digest="other", **changes) is None
