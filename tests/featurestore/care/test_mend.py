"""What is damaged is removed and nothing else, and the commands that make it anew are named."""

import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from sound_store import FEATURES, SAMPLES, made_before_seals, make

from featurestore import FeatureStore
from featurestore.care.mend import Mended, mend
from featurestore.care.verify import verify
from featurestore.errors import DamagedFileError, StoreError
from featurestore.store import layout, schema
from featurestore.store.commit import publish_record
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
