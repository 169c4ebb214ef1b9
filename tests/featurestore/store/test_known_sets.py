"""The table `sets` says what is complete, and never more than manifests do."""

from __future__ import annotations

import pytest
from sound_store import FEATURES, SAMPLES, SHARDS, features_of, make

from featurestore import FeatureStore
from featurestore.care.mend import mend
from featurestore.care.verify import verify
from featurestore.store import layout
from featurestore.store.digests import digest_of_parts
from featurestore.store.feature_store import rows_table
from featurestore.store.sets_there import SetsThere
from queries.asking.database import Database

SET = FEATURES["train"]


@pytest.fixture
def store(tmp_path) -> FeatureStore:
    return make(str(tmp_path / "store"))


def rows(store: FeatureStore) -> dict[tuple[str, ...], dict]:
    found = store.read_records("sets")
    assert all(store.has_record("sets", row["set_id"]) for row in found)
    return {(row["state"], row["kind"], row["split"], row["key"]): row for row in found}


def test_every_complete_set_has_a_row(store):
    every = {(layout.COMPLETE, item.folder.split("/")[0], item.split, item.key): item for item in store.sets()}
    found = rows(store)
    assert found.keys() == every.keys()
    for name, row in found.items():
        manifest = store.manifest(every[name])
        assert row["n_shards"] == len(SHARDS)
        assert row["n_rows"] == manifest["rows"]
        assert row["n_bytes"] == sum(part["bytes"] for part in manifest["parts"])
        assert row["parts_digest"] == digest_of_parts(manifest)
        assert row["completed_at"] == store.stock().completed_at(every[name])
    samples = found[layout.COMPLETE, "samples", "val", SAMPLES["val"].key]
    assert (samples["model"], samples["tap"], samples["dataset"]) == (None, None, "pets")


def test_an_overflow_has_a_row_of_its_own(store):
    store.mark_overflow(SET, "too large")
    row = rows(store)[layout.OVERFLOWED, "features", "train", SET.key]
    assert (row["model"], row["n_shards"], row["completed_at"]) == ("net", None, None)
    assert (layout.COMPLETE, "features", "train", SET.key) in rows(store)
    assert verify(store).findings == []


def test_sql_reads_the_table(store):
    with Database(store) as database:
        counts = database.sql("select kind, count(*) as n, sum(n_rows) as n_rows from sets group by kind order by kind")
    assert counts.to_pylist() == [
        {"kind": "features", "n": 3, "n_rows": 18},
        {"kind": "samples", "n": 3, "n_rows": 21},
    ]


@pytest.mark.parametrize("several", [1, 6])
def test_rows_are_forgotten_and_no_others(store, several):
    store.mark_overflow(SET, "too large")
    doomed = [SET, *FEATURES.values(), *SAMPLES.values()][:several]
    store.forget_sets(doomed)
    keys = {item.key for item in doomed}
    left = {item.key for item in (*FEATURES.values(), *SAMPLES.values())} - keys
    assert {row["key"] for row in rows(store).values()} == left


def test_a_row_that_its_writer_could_not_write_any_more_comes_with_the_next_completion(store):
    store.forget_sets([SET])
    store.finish(SET, len(SHARDS), {"model": SET.model})
    assert rows(store)[layout.COMPLETE, "features", "train", SET.key]["n_rows"] == 6


def test_no_row_tells_of_a_manifest_that_is_about_to_be_replaced(store, monkeypatch):
    """A writer that is killed between the two leaves no row rather than a wrong one."""
    part = store.manifest(SET)["parts"][0]
    store.storage.delete(f"{SET.folder}/{part['name']}")
    written = store.write_shard(SET, 0, len(SHARDS), features_of(*SHARDS[0]).slice(1))
    monkeypatch.setattr(store, "_note_complete", lambda *_: None)
    store.finish(SET, len(SHARDS), {"model": SET.model}, parts=[written])
    assert (layout.COMPLETE, "features", "train", SET.key) not in rows(store)
    assert not SetsThere(store).digest(SET)


def test_of_two_manifests_at_once_the_row_tells_of_the_one_that_stayed(store, monkeypatch):
    """The other writer's manifest comes between ours and our row."""
    ours = store.manifest(SET)
    theirs = {**ours, "parts": [{**part, "sha256": "0" * 64} for part in ours["parts"]]}
    monkeypatch.setattr(store, "manifest", lambda item: theirs)
    store._note_complete(SET, ours)
    assert rows(store)[layout.COMPLETE, "features", "train", SET.key]["parts_digest"] == digest_of_parts(theirs)


def test_mending_a_set_forgets_it(store):
    part = store.manifest(SET)["parts"][0]["name"]
    store.storage.publish(f"{SET.folder}/{part}", b"damage")
    mend(store, verify(store))
    assert SET.key not in {row["key"] for row in rows(store).values()}


def test_a_damaged_row_is_removed_and_nothing_is_to_be_run(store):
    name = layout.record_path("sets", layout.set_id(SET, layout.COMPLETE))
    store.storage.publish(name, b"damage")
    (finding,) = verify(store).findings
    assert finding.place == name
    assert "nothing is lost" in finding.advice
    mended = mend(store, verify(store))
    assert (list(mended.removed), mended.remaking.commands, mended.remaking.notes) == ([name], [], [])
    assert verify(store).findings == []


@pytest.mark.parametrize("item", [SET, SAMPLES["val"]])
def test_a_set_that_has_a_row_is_missed_when_all_of_it_is_gone(store, item):
    """Somebody has removed a folder by hand: on an object store nothing would make it again."""
    for name in store.storage.list_files(item.folder):
        store.storage.delete(name)
    assert f"{item.folder}/{layout.MANIFEST}" in {finding.place for finding in verify(store).findings}
    mended = mend(store, verify(store))
    assert any("study" in text for text in (*mended.remaking.commands, *mended.remaking.notes))
    assert item.key not in {row["key"] for row in rows(store).values()}


def test_the_mark_of_an_overflow_that_has_a_row_is_written_again(store):
    store.mark_overflow(SET, "too large")
    store.storage.delete(mark := f"{SET.folder}/{layout.OVERFLOW}")
    (finding,) = verify(store).findings
    assert (finding.place, finding.gone) == (mark, True)
    assert mend(store, verify(store)).rewritten == (mark,)
    assert store.overflowed(SET)
    assert (layout.OVERFLOWED, "features", "train", SET.key) in rows(store)


def test_mending_forgets_a_set_that_has_lost_a_shard(store):
    store.storage.delete(f"{SET.folder}/{store.manifest(SET)['parts'][0]['name']}")
    mend(store, verify(store))
    assert SET.key not in {row["key"] for row in rows(store).values()}


def test_a_row_that_tells_of_other_files_than_results_can_rest_on_is_found(store):
    """An earlier version, which does not know the table, has made features again."""
    row = rows(store)[layout.COMPLETE, "features", "train", SET.key]
    store.publish("sets", row["set_id"], rows_table("sets", [{**row, "parts_digest": "of others"}]))
    digests = [store.features_digest(item) for item in FEATURES.values()]
    result = store.read_record("results", "c1").to_pylist()[0] | {"features_digests": digests}
    store.publish("results", "c1", rows_table("results", [result]))
    (finding,) = verify(store).findings
    assert finding.what == f"it tells of other files than {SET.folder} has"
    mend(store, verify(store))
    assert SetsThere(store)[SET].is_whole
    assert SetsThere(store).digest(SET) is None
    assert verify(store).findings == []
