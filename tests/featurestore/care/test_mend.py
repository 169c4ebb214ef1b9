"""What is damaged is removed and nothing else, and the commands that make it anew are named."""

import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from sound_store import FEATURES, NOW, SAMPLES, made_before_seals, make

from featurestore import FeatureStore
from featurestore.care.mend import Mended, mend
from featurestore.care.verify import verify
from featurestore.errors import DamagedFileError, StoreError
from featurestore.store import layout, schema
from featurestore.store.commit import publish_record
from featurestore.store.feature_store import rows_table
from featurestore.store.storage import Storage

PART = layout.part_name(0, 2)


@pytest.fixture
def store(tmp_path: Path) -> FeatureStore:
    store = make(str(tmp_path / "a store"))
    store.save_study("study", "[study]\n", str(tmp_path / "study.toml"))
    (tmp_path / "study.toml").write_text("")
    return store


def damage(store: FeatureStore, name: str) -> Path:
    path = Path(store.uri, name)
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2] + bytes(len(content) - len(content) // 2))
    return path


def mended(store: FeatureStore) -> Mended:
    opened = FeatureStore.open(store.uri, to_mend=True)
    return mend(opened, verify(opened))


def run_of(store: FeatureStore) -> str:
    return f"probestore run {Path(store.uri).parent}/study.toml --store '{store.uri}'"


@pytest.mark.parametrize(
    ("name", "removed"),
    [
        ("predictions/c1.parquet", {"results/c1.parquet", "predictions/c1.parquet"}),
        ("tuning/c1.parquet", {"results/c1.parquet", "tuning/c1.parquet"}),
        ("results/c1.parquet", {"results/c1.parquet"}),
        ("cells/study.parquet", {"cells/study.parquet"}),
        ("studies/study.toml", {"studies/study.toml"}),
        (
            f"{SAMPLES['train'].folder}/{PART}",
            {f"{SAMPLES['train'].folder}/{file}" for file in (PART, layout.MANIFEST)},
        ),
        (f"{SAMPLES['train'].folder}/{layout.MANIFEST}", {f"{SAMPLES['train'].folder}/{layout.MANIFEST}"}),
    ],
)
def test_what_is_damaged_is_removed_and_its_study_is_named(store, name, removed):
    damage(store, name)
    done = mended(store)
    assert set(done.removed) == removed
    if name.startswith("studies/"):  # of this small store, nothing else says where the file is
        assert "does not say where the file of the study study is" in done.remaking.notes[0]
    else:
        assert done.remaking.commands == [run_of(store)]
    assert verify(store).sound


def test_a_damaged_part_takes_results_without_digests_along(store):
    damage(store, f"{FEATURES['train'].folder}/{PART}")
    removed = mended(store).removed
    assert list(removed) == [
        "results/c1.parquet",
        f"{FEATURES['train'].folder}/{layout.MANIFEST}",
        f"{FEATURES['train'].folder}/{PART}",
    ]
    assert removed["results/c1.parquet"] == "nobody can tell whether it rests on features that were damaged"


def test_a_damaged_classifier_takes_a_first_shard_along_by_which_it_is_written_again(store):
    damage(store, "heads/weights.parquet")
    removed = mended(store).removed
    assert {"heads/weights.parquet", f"{FEATURES['test'].folder}/{PART}"} <= set(removed)


def test_parts_without_a_seal_go_with_a_damaged_manifest(store):
    """Its digests were the only ones that they had."""
    store = made_before_seals(store)
    part = Path(store.uri, FEATURES["val"].folder, PART)
    pq.write_table(pq.ParquetFile(part).read().replace_schema_metadata(), part)
    Path(store.uri, FEATURES["val"].folder, layout.MANIFEST).write_text("{")
    assert f"{FEATURES['val'].folder}/{PART}" in mended(store).removed


@pytest.mark.parametrize("content", [None, "", "{", '{"format": "probestore", "schema_version": 7, "sealed": true}'])
def test_a_lost_or_damaged_store_file_is_named_and_written_again(store, content):
    path = Path(store.uri, layout.STORE_FILE)
    if content == "":
        path.write_bytes(path.read_bytes().replace(b'"schema_version": 1', b'"schema_version": 3'))
    elif content is None:
        path.unlink()
    else:
        path.write_text(content.replace("7", "true"))
    for call in (FeatureStore.open, FeatureStore.create):
        with pytest.raises(
            DamagedFileError, match=r"store\.json .*Mend it: probestore verify --mend --store '.*a store'"
        ):
            call(store.uri)
    assert mended(store).rewritten == (layout.STORE_FILE,)
    opened = FeatureStore.open(store.uri)
    assert (opened.storage.all_sealed, verify(opened).sound) == (True, True)


def test_a_store_with_files_without_seals_is_not_said_to_be_sealed(store):
    path = Path(store.uri, "results", "c1.parquet")
    pq.write_table(pq.read_table(path).replace_schema_metadata(), path)
    Path(store.uri, layout.STORE_FILE).unlink()
    mended(store)
    assert not FeatureStore.open(store.uri).storage.all_sealed


@pytest.mark.parametrize("lost", [True, False])
def test_a_file_of_no_rows_gets_the_columns_that_all_files_have(store, lost):
    path = Path(store.uri, "results", "c1.parquet")
    rows = pq.read_table(path).drop_columns(["tuning_digest"])
    store.storage.delete("results/c1.parquet")
    publish_record(store.storage, "results/c1.parquet", rows)
    for table in ("results", "samples"):
        path = damage(store, layout.empty_path(table))
        if lost:
            path.unlink()
    assert set(mended(store).rewritten) == {layout.empty_path("results"), layout.empty_path("samples")}
    opened = FeatureStore.open(store.uri)
    assert (opened.lacks_columns("results"), opened.lacks_columns("samples")) == (True, False)
    assert verify(opened).sound


def test_what_cannot_be_read_now_is_never_removed(store, monkeypatch):
    read = Storage.read_buffer

    def refused(self: Storage, name: str) -> object:
        if name.startswith(("results/", "features/", "samples/", "studies/", "store.json")):
            raise StoreError(f"Cannot read {name}: HTTP status 403")
        return read(self, name)

    opened = FeatureStore.open(store.uri)
    monkeypatch.setattr(Storage, "read_buffer", refused)
    verified = verify(opened)
    assert not verified.sound
    assert {finding.severity for finding in verified.findings} == {"unread"}
    done = mend(opened, verified)
    assert (done.removed, done.rewritten, done.remaking.commands) == ({}, (), [])


def test_a_study_whose_file_nobody_knows_is_named_with_its_text(store):
    store.save_study("study", "[study]\n")
    damage(store, "results/c1.parquet")
    (note,) = mended(store).remaking.notes
    assert note.startswith("The store does not say where the file of the study study is. Its text is kept in ")
    assert note.endswith(f"Run it: probestore run STUDY.toml --store '{store.uri}'")


def test_commands_repeat_options_without_their_secrets():
    storage = Storage("memory://bucket/store", {"retries": "2"})
    assert storage.mend() == "probestore verify --mend --store memory://bucket/store --storage-option retries=2"
    options = {"access_key": "known", "secret_key": "hidden", "region": "eu", "endpoint": "http://host"}
    storage = Storage("s3://bucket/store", options)
    assert storage.command("run", "a b.toml") == (
        "probestore run 'a b.toml' --store s3://bucket/store --storage-option access_key=... "
        "--storage-option endpoint=http://host --storage-option region=eu --storage-option secret_key=..."
    )


def test_every_table_of_a_new_store_is_known_to_have_its_file_of_no_rows(store):
    record = json.loads(Path(store.uri, layout.STORE_FILE).read_text())
    assert record["tables"] == sorted([*schema.SETS, *schema.TABLES])


def findings(store: FeatureStore, **asking: object) -> dict[str, str]:
    return {found.place: found.what for found in verify(store, **asking).findings if found.severity == "error"}


def test_a_missing_image_table_is_an_error_and_its_study_writes_it_again(store):
    for path in Path(store.uri, SAMPLES["test"].folder).iterdir():
        path.unlink()
    place = f"{SAMPLES['test'].folder}/{layout.MANIFEST}"
    assert findings(store) == {
        place: f"the image table is missing, but {FEATURES['test'].folder} was extracted from its images"
    }
    assert mended(store).remaking.commands == [run_of(store)]


def test_results_without_their_predictions_are_made_again(store):
    rows = store.read_record("results", "c1").to_pylist()
    store.publish("results", "c1", rows_table("results", [row | {"chosen": 1.0} for row in rows]))
    for table in ("predictions", "tuning"):
        store.storage.delete(f"{table}/c1.parquet")
    assert set(findings(store)) == {"predictions/c1.parquet", "tuning/c1.parquet"}
    done = mended(store)
    assert (list(done.removed), done.remaking.commands) == (["results/c1.parquet"], [run_of(store)])


def test_what_is_gone_shows_once_what_is_damaged_is_removed(store):
    store.storage.delete("predictions/c1.parquet")
    damage(store, "cells/study.parquet")
    assert set(findings(store)) == {"cells/study.parquet"}
    assert set(mended(store).removed) == {"cells/study.parquet", "results/c1.parquet"}


def test_results_that_rest_on_other_features_than_there_are_are_an_error(store):
    rows = store.read_record("results", "c1").to_pylist()
    digests = [store.features_digest(FEATURES[split]) for split in ("train", "val")] + ["another"]
    store.publish("results", "c1", rows_table("results", [row | {"features_digests": digests} for row in rows]))
    assert findings(store) == {"results/c1.parquet": "it rests on other features of test than there are"}
    assert list(mended(store).removed) == ["results/c1.parquet"]


def test_a_classifier_is_missed_where_results_were_computed_with_it(store):
    rows = store.read_record("results", "c1").to_pylist()
    store.publish("results", "c1", rows_table("results", [row | {"model_key": "weights"} for row in rows]))
    store.storage.delete("heads/weights.parquet")
    assert findings(store) == {}
    assert set(findings(store, asking=["ncm"])) == {"heads/weights.parquet"}


def analysis(table: str) -> dict[str, object]:
    keys = {f"{split}_key": FEATURES[split].key for split in schema.SPLITS}
    place = {"dataset": "pets", "setting": "fixed", "tap": "penultimate", "model": "net"}
    return {"analysis": f"of-{table}", **place, **keys, "created_at": NOW}


def test_what_an_analysis_has_made_is_missed(store):
    row = {**analysis("representations"), "n_images": 12, "dim": 4, "seconds": 0.1}
    store.publish("representations", "of-representations", rows_table("representations", [row]))
    assert "the neighbours of net on pets (penultimate) are missing" in findings(store)["neighbours"]
    near = {"sample_id": "a", "index": 0, "near_split": "val", "near_sample_id": "b", "near_index": 0}
    row = {**analysis("neighbours"), **near, "similarity": 0.5, "same_label": True}
    store.publish("neighbours", "of-neighbours", rows_table("neighbours", [row]))
    part = {"study": "analyse", "stage": "analysis", "model": "net", "tap": "penultimate", "dataset": "pets"}
    row = {**part, "wanted": 1, "done": 1, "updated_at": NOW}
    store.publish("progress", "analyse", rows_table("progress", [row]))
    assert findings(store) == {}
    store.storage.delete("representations/of-representations.parquet")
    assert "the representations of net on pets (penultimate) are missing" in findings(store)["representations"]
    assert mended(store).remaking.commands == [f"probestore analyse --store '{store.uri}'"]


def test_the_results_of_an_import_are_missed_where_its_models_are_there(store):
    row = {"model": "other", "origin": "paper", "recorded_at": NOW}
    store.publish_import("models", "paper", rows_table("models", [row]))
    assert set(findings(store)) == {"results/imported/paper.parquet"}
    (note,) = mended(store).remaking.notes
    assert note.endswith(f": probestore import results paper.csv --origin paper --store '{store.uri}'")


def test_a_damaged_mark_of_an_overflow_is_written_again(store):
    store.mark_overflow(FEATURES["val"], "too large")
    name = f"{FEATURES['val'].folder}/{layout.OVERFLOW}"
    damage(store, name)
    assert mended(store).rewritten == (name,)
    assert (store.overflowed(FEATURES["val"]), findings(store)) == (True, {})


def test_a_manifest_of_an_earlier_version_that_says_nonsense_is_damaged(store):
    path = Path(store.uri, FEATURES["val"].folder, layout.MANIFEST)
    manifest = json.loads(path.read_text())
    del manifest["checksum"]
    for change in ({"parts": [{}]}, {"created_at": "never"}, {"rows": 3}, {"parts": None}):
        path.write_text(json.dumps({**manifest, **change}))
        with pytest.raises(DamagedFileError, match=r"split=val/.*manifest\.json .* verify --mend"):
            store.manifest(FEATURES["val"])
