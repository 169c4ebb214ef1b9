"""What no study needs is listed, and nothing else; it goes only when it is told to."""

import os
import shutil
import time
from datetime import timedelta
from pathlib import Path

import pytest
from sound_store import CELL, FEATURES, NOW, SAMPLES, features_of, make, want, write_features, write_images

from featurestore import FeatureSet, FeatureStore, SampleSet
from featurestore.care import garbage
from featurestore.care.verify import verify
from featurestore.errors import StoreError
from featurestore.store import layout
from featurestore.store.feature_store import rows_table
from featurestore.store.storage import Storage

AT_ONCE = timedelta(0)
OLD = FeatureSet("net", "pets", "train", "of-older-weights")
OTHER = FeatureSet("other", "pets", "train", "features")


@pytest.fixture
def store(tmp_path: Path) -> FeatureStore:
    return make(str(tmp_path / "store"))


def places(store: FeatureStore) -> set[str]:
    time.sleep(0.01)  # what was written in this instant is not older than nothing
    return {item.place for item in garbage.find(store, older_than=AT_ONCE)}


def test_what_a_study_needs_is_no_garbage(store):
    assert places(store) == set()


def test_features_that_no_cell_reads_are_garbage_complete_or_not(store):
    write_features(store, OLD, samples=SAMPLES["train"].key)
    store.write_shard(OTHER, 0, 2, features_of(0, 4))
    assert places(store) == {OLD.folder, OTHER.folder}


def test_results_go_before_what_they_say_is_there(store, monkeypatch):
    """A removal that is killed leaves nothing that would be missed."""
    want(store, "study", cell="c2")
    found = garbage.find(store, older_than=AT_ONCE)
    removed = []
    monkeypatch.setattr(store.storage, "delete", removed.append)
    garbage.remove(store, found)
    assert removed == [f"{table}/c1.parquet" for table in ("results", "predictions", "tuning")]


def test_the_same_key_at_another_tap_is_garbage(store):
    item = FeatureSet("net", "pets", "train", FEATURES["train"].key, tap="cls")
    write_features(store, item, samples=SAMPLES["train"].key)
    assert places(store) == {item.folder}


def test_image_tables_stay_while_a_set_that_is_read_or_the_dataset_names_them(store):
    of_dataset, of_nothing = SampleSet("pets", "train", "now"), SampleSet("pets", "train", "before")
    for item in (of_dataset, of_nothing):
        write_images(store, item)
    row = {
        "dataset": "pets",
        "source": "s",
        "n_classes": 2,
        "class_names": ["a", "b"],
        **{f"n_{split}": 7 for split in SAMPLES},
        "metric": "top1",
        "multilabel": False,
        **{f"{split}_made": "all" for split in SAMPLES},
        "fingerprint": "f",
        **{f"{split}_samples": "now" for split in SAMPLES},
        "recorded_at": NOW,
    }
    store.publish("datasets", "pets", rows_table("datasets", [row]))
    assert places(store) == {of_nothing.folder}


def test_what_was_fitted_for_no_study_is_garbage_and_so_are_models_that_no_cell_uses(store):
    for table, name, column in (("results", "c1", "cell"), ("tuning", "c1", "cell"), ("heads", "weights", "model_key")):
        rows = store.read_record(table, name)
        place = rows.column_names.index(column)
        store.publish(table, "c0", rows.set_column(place, rows.schema.field(column), [["c0"]]))
    assert places(store) == {"results/c0.parquet", "tuning/c0.parquet", "heads/c0.parquet"}


def test_what_was_analysed_is_garbage_with_the_features_that_it_is_of(store):
    analysed = {
        "analysis": "a",
        "setting": "fixed",
        "model": "net",
        "tap": "penultimate",
        "dataset": "pets",
        "n_images": 7,
        "dim": 4,
    }
    for name, key in (("now", FEATURES["test"].key), ("former", "of-older-weights")):
        keys = {"train_key": FEATURES["train"].key, "val_key": FEATURES["val"].key, "test_key": key}
        row = {**analysed, **keys, "seconds": 1.0, "created_at": NOW}
        store.publish("representations", name, rows_table("representations", [row]))
    assert places(store) == {"representations/former.parquet"}


def test_a_study_that_wants_less_frees_what_only_it_needed(store):
    want(store, "another")
    store.publish("cells", "study", rows_table("cells", []))
    assert places(store) == set()
    row = {**CELL, "cell": "c2", **{f"{split}_key": "elsewhere" for split in SAMPLES}, "study": "another"}
    store.publish("cells", "another", rows_table("cells", [{**row, "wanted_at": NOW}]))
    sets = {item.folder for item in (*FEATURES.values(), *SAMPLES.values())}
    records = {f"{table}/c1.parquet" for table in ("results", "tuning", "predictions")}
    assert places(store) == sets | records | {"heads/weights.parquet"}


def test_the_mark_of_an_overflow_stays_while_the_model_is_used(store):
    store.mark_overflow(OLD, "too large")
    store.mark_overflow(OTHER, "too large")
    assert places(store) == {OTHER.folder}
    store.write_shard(OLD, 0, 2, features_of(0, 4))
    (item,) = [item for item in garbage.find(store, older_than=AT_ONCE) if item.place == OLD.folder]
    assert item.files == (f"{OLD.folder}/{layout.part_name(0, 2)}",)


def test_what_is_young_is_no_garbage(store):
    write_features(store, OLD, samples=SAMPLES["train"].key)
    for path in Path(store.uri, OLD.folder).iterdir():
        os.utime(path, (time.time() - 100_000,) * 2)
    assert [item.place for item in garbage.find(store)] == [OLD.folder]
    os.utime(Path(store.uri, OLD.folder, layout.MANIFEST))
    assert garbage.find(store) == []


def test_staged_files_of_dead_writers_are_garbage(store):
    staged = Path(store.uri, layout.STAGING, "0-part")
    staged.write_bytes(b"12345")
    (item,) = (time.sleep(0.01), *garbage.find(store, older_than=AT_ONCE))[1:]
    assert (item.kind, item.place, item.n_bytes) == ("staging", "_staging/0-part", 5)


def test_removing_takes_manifests_first_and_leaves_a_sound_store(store):
    write_features(store, OLD, samples=SAMPLES["train"].key)
    write_features(store, OTHER, samples=SAMPLES["train"].key)
    time.sleep(0.01)
    found = garbage.find(store, older_than=AT_ONCE)
    assert all(item.files[0].endswith(layout.MANIFEST) for item in found)
    assert sum(item.n_bytes for item in found) == sum(
        path.stat().st_size for item in found for path in Path(store.uri, item.place).iterdir()
    )
    garbage.remove(store, found)
    assert places(store) == set()
    assert set(store.sets()) == {*FEATURES.values(), *SAMPLES.values()}
    assert verify(store).findings == []
    assert not Path(store.uri, "features", "model=other").exists()


def test_where_nothing_is_garbage_no_manifest_is_opened(store, monkeypatch):
    row = {"dataset": "pets", "source": "s", "n_classes": 2, "class_names": ["a", "b"], "metric": "top1"}
    of_splits = {f"n_{split}": 7 for split in SAMPLES} | {f"{split}_made": "all" for split in SAMPLES}
    named = {f"{split}_samples": item.key for split, item in SAMPLES.items()}
    more = {"multilabel": False, "fingerprint": "f", "recorded_at": NOW}
    store.publish("datasets", "pets", rows_table("datasets", [{**row, **of_splits, **named, **more}]))
    opened = []
    read = Storage.read
    monkeypatch.setattr(Storage, "read", lambda self, name, reader: opened.append(name) or read(self, name, reader))
    assert places(store) == set()
    assert [name for name in opened if name.endswith(layout.MANIFEST)] == []


def test_rows_of_sets_go_before_manifests_and_manifests_before_parts(store, monkeypatch):
    for item in (OLD, OTHER):
        write_features(store, item, samples=SAMPLES["train"].key)
    time.sleep(0.01)
    found = garbage.find(store, older_than=AT_ONCE)
    removed = []
    delete = Storage.delete
    monkeypatch.setattr(Storage, "delete", lambda self, name: removed.append(name) or delete(self, name))
    garbage.remove(store, found)
    kinds = ["row" if name.startswith("sets/") else name.endswith(layout.MANIFEST) for name in removed]
    assert kinds == ["row"] * 2 + [True] * 2 + [False] * 4


def test_without_any_study_nothing_is_known_to_be_garbage(store):
    shutil.rmtree(Path(store.uri, "cells"))
    with pytest.raises(StoreError, match="nothing says what is needed"):
        garbage.find(store)


def test_unreadable_wishes_stop_it(store):
    Path(store.uri, "cells", "study.parquet").write_bytes(b"broken")
    with pytest.raises(StoreError, match=r"cells/study\.parquet in the store .* is damaged"):
        garbage.find(store)
