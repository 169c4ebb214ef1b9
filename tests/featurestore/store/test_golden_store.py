"""A store that the first version wrote must open for ever, and nobody may touch it; see tests/data/make_store_v1.py."""

import importlib.util
import shutil
from pathlib import Path

import numpy as np
import pytest
from locations import DATA

from featurestore import FeatureSet, FeatureStore
from featurestore.care.verify import verify
from queries.asking.database import connect

GOLDEN = DATA / "store_v1"
DIGEST = "91c5334f25fce002fae4b7a7d92d272cba3efef5087546e8175ef6d66a393022"


def digest(store: Path) -> str:
    """As the script that made it prints it."""
    spec = importlib.util.spec_from_file_location("make_store_v1", DATA / "make_store_v1.py")
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    return script.digest(store)


@pytest.fixture
def store() -> FeatureStore:
    return FeatureStore.open(str(GOLDEN))


def test_the_golden_store_is_as_it_was_made():
    """Its making is part of no test: if this fails, put its files back."""
    assert digest(GOLDEN) == DIGEST


def test_its_features_are_read(store):
    items = [item for item in store.sets() if isinstance(item, FeatureSet)]
    assert {(item.model, item.tap) for item in items} == {
        (model, tap) for model in ("tiny_0", "tiny_1") for tap in ("penultimate", "block:0")
    }
    features = [store.read(item) for item in items]
    assert sum(len(read.X) for read in features) == 4 * 39  # one of forty images cannot be read
    assert {read.X.shape[1] for read in features} == {32, 8}
    assert all(read.X.dtype == np.float16 and np.isfinite(read.X).all() for read in features)


def test_it_is_sound(store):
    assert verify(store).findings == []


def test_it_answers_questions():
    with connect(str(GOLDEN)) as database:
        board = database.query("leaderboard").to_pylist()
        coverage = database.query("coverage").to_pylist()
        unreadable = database.sql("select source, reason is not null as said from samples where not readable")
    assert {row["model"]: row["mean_value"] for row in board} == {"tiny_0": 0.375, "tiny_1": 0.375}
    assert [row["status"] for row in coverage] == ["done"] * 8
    assert unreadable.to_pylist() == [{"source": "cats/000.png", "said": True}]


def test_reading_it_changes_nothing(tmp_path):
    """On a copy, so that a reader that writes spoils no more than that."""
    copy = shutil.copytree(GOLDEN, tmp_path / "store")
    store = FeatureStore.create(str(copy))
    store.read(*[item for item in store.sets() if isinstance(item, FeatureSet)][:1])
    verify(store)
    with connect(str(copy)) as database:
        database.query("leaderboard")
    assert digest(copy) == DIGEST
