"""What the rows of a store say was made, and what follows from nothing."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pyarrow as pa
import pytest
from gone_files import gone
from locations import DATA
from sound_store import CELL, FEATURES, NOW, SAMPLES, make, want

from featurestore import FeatureStore
from featurestore.care import garbage
from featurestore.care.mend import mend
from featurestore.care.verify import verify
from featurestore.store import expected, layout
from featurestore.store.expected import LISTED
from featurestore.store.feature_store import rows_table
from featurestore.store.wishes import put_wishes, removed_for_good, wishes_of

MANIFESTS = {split: f"{item.folder}/{layout.MANIFEST}" for split, item in (FEATURES | SAMPLES).items()}
RESULT = {**CELL, "metric": "top1", "headline": True, "value": 0.5, "versions": "{}", "created_at": NOW}


def want_today(store: FeatureStore, study: str = "study", **changes: object) -> None:
    """The cell as a run of today wants it."""
    want(store, study, **{"study_file": "/data/study.toml", "made": True, **changes})


def record_dataset(store: FeatureStore, **changes: object) -> None:
    samples = {f"{split}_samples": item.key for split, item in SAMPLES.items()}
    store.publish(
        "datasets", "pets", rows_table("datasets", [{"dataset": "pets", "recorded_at": NOW, **samples, **changes}])
    )


@pytest.fixture
def made(tmp_path: Path) -> FeatureStore:
    """A store whose study is finished."""
    store = make(str(tmp_path / "made"))
    store.publish("models", "net", rows_table("models", [{"model": "net", "recorded_at": NOW}]))
    record_dataset(store)
    want_today(store)
    store.publish("results", "c1", rows_table("results", [{**RESULT, "n_test": 6, "chosen": 1.0}]))
    part = {"model": "net", "tap": "penultimate", "dataset": "pets", "wanted": 1, "done": 1, "updated_at": NOW}
    store.publish("progress", "study", rows_table("progress", [{"study": "study", "stage": "probes", **part}]))
    return store


def files(store: FeatureStore) -> list[str]:
    return [lost.file for lost in gone(store)]


def test_of_a_finished_study_nothing_is_gone(made):
    assert gone(made) == []


def test_what_was_written_after_the_files_were_listed_is_not_gone(made):
    listed = {table: made.storage.files(table) for table in LISTED} | {"results": [], "predictions": []}
    assert expected.gone(made, listed=listed) == []


@pytest.mark.parametrize(
    ("file", "why"),
    [
        ("results/c1.parquet", "it was there when a run of study ended"),
        ("predictions/c1.parquet", "it was there when results/c1.parquet was written"),
        ("tuning/c1.parquet", "it was there when results/c1.parquet was written"),
        ("models/net.parquet", "the study study wants cells of it"),
        ("datasets/pets.parquet", "the study study wants cells of it"),
        ("cells/study.parquet", "progress/study.parquet counts the cells that it wants"),
        (f"{FEATURES['val'].folder}/manifest.json", "cells of the study study were fitted on these features"),
        (f"{SAMPLES['test'].folder}/manifest.json", "datasets/pets.parquet names it"),
        (f"{FEATURES['val'].folder}/part-00001-of-00002.parquet", "the manifest of the set is there"),
        (f"{SAMPLES['test'].folder}/part-00000-of-00002.parquet", "the manifest of the set is there"),
    ],
)  # fmt: skip
def test_a_file_that_was_made_is_missed(made, file, why):
    made.storage.delete(file)
    (lost,) = gone(made)
    assert (lost.file, lost.table, lost.why) == (file, file.split("/")[0], why)


def test_without_any_part_the_manifest_says_what_is_gone(made):
    parts = [name for name in made.storage.list_files(FEATURES["val"].folder) if name.endswith(".parquet")]
    for name in parts:
        made.storage.delete(name)
    assert files(made) == parts


@pytest.mark.parametrize("store", [DATA / "store_v1", DATA / "study_v1" / "store"], ids=["small", "large"])
def test_of_a_store_of_an_earlier_version_nothing_is_gone(store):
    assert gone(FeatureStore.open(str(store))) == []


def test_what_a_run_has_not_ended_with_is_not_missed(made):
    want_today(made, made=None)
    for name in ("results/c1.parquet", MANIFESTS["val"], "predictions/c1.parquet", "tuning/c1.parquet"):
        made.storage.delete(name)
    assert gone(made) == []


def test_what_a_killed_removal_of_garbage_leaves_is_not_missed(made):
    """It takes the results first: nothing is expected of those that are not there and that no study wants."""
    want_today(made, cell="c2", made=None)
    made.storage.delete("results/c1.parquet")
    made.storage.delete("predictions/c1.parquet")
    assert gone(made) == []


def test_images_that_only_a_younger_record_names_are_not_missed(made):
    record_dataset(made, recorded_at=NOW + timedelta(seconds=1), test_samples="other")
    assert gone(made) == []
    want_today(made, wanted_at=NOW + timedelta(seconds=2))
    assert files(made) == ["samples/dataset=pets/split=test/key=other/manifest.json"]


def test_probes_that_were_added_do_not_prove_that_there_were_images(made):
    record_dataset(made, recorded_at=NOW + timedelta(seconds=1), test_samples="other")
    want_today(made, "probe+knn", study_file="probestore probe --probe knn", wanted_at=NOW + timedelta(seconds=2))
    assert gone(made) == []


def test_of_results_that_were_replaced_the_predictions_are_not_missed(made):
    rows = [{**RESULT, "cell": "former", "n_test": 6, "chosen": 1.0, "replaced": "why"}]
    made.publish("results", "former", rows_table("results", rows))
    assert files(made) == ["tuning/former.parquet"]


def test_of_imported_results_nothing_is_missed(made):
    made.publish_import("results", "paper", rows_table("results", [{**RESULT, "n_test": 6, "origin": "paper"}]))
    assert gone(made) == []


def test_features_that_are_not_there_at_all_are_not_missed(made):
    for name in made.storage.list_files(FEATURES["val"].folder):
        made.storage.delete(name)
    assert gone(made) == []


# ---- results that no study wants any more ---------------------------------------------------------------------------


@pytest.fixture
def former(made: FeatureStore) -> FeatureStore:
    """The study wants another cell now; the results of the former one count in answers still."""
    rows = wishes_of(made, "study")
    other = rows.set_column(0, rows.schema.field(0), pa.array(["c2"])).set_column(
        rows.column_names.index("made"), "made", pa.array([None], pa.bool_())
    )
    put_wishes(made, "study", other, former=rows)
    assert gone(made) == []
    Path(made.uri, "results/c1.parquet").unlink()
    return made


def test_results_of_a_dropped_cell_are_missed(former):
    assert files(former) == ["results/c1.parquet"]


def test_results_of_a_dropped_cell_that_are_removed_for_good_are_not_missed(former):
    removed_for_good(former, {"c1"})
    assert gone(former) == []


def test_a_mending_says_that_nothing_makes_results_of_a_dropped_cell_again(former):
    (note,) = mend(former, verify(former)).remaking.notes
    assert note == "No study wants results/c1.parquet any more, so nothing makes them again: answers lack them."
    assert gone(former) == []


def test_garbage_is_not_missed_when_it_is_removed(made):
    put_wishes(made, "study", wishes_of(made, "study").slice(1), former=wishes_of(made, "study"))
    want_today(made, "other", cell="c9", made=None)
    items = garbage.find(made, older_than=timedelta(0))
    garbage.remove(made, [item for item in items if item.kind in ("results", "predictions", "tuning")])
    assert "results/c1.parquet" not in files(made)
    assert not made.has_record("results", "c1")
