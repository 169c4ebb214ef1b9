"""The table `sets` says what is complete, and never more than manifests do."""

from __future__ import annotations

import pytest
from sound_store import FEATURES, SAMPLES, SHARDS, features_of, make

from featurestore import FeatureStore
from featurestore.care.verify import verify
from featurestore.store import layout
from featurestore.store.digests import digest_of_parts
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
    assert digest_of_parts(store.manifest(SET))
    assert SET.key not in {row["key"] for row in rows(store).values()}


def test_of_two_manifests_at_once_the_row_tells_of_the_one_that_stayed(store, monkeypatch):
    """The other writer's manifest comes between ours and our row."""
    ours = store.manifest(SET)
    theirs = {**ours, "parts": [{**part, "sha256": "0" * 64} for part in ours["parts"]]}
    monkeypatch.setattr(store, "manifest", lambda item: theirs)
    store._note_complete(SET, ours)
    assert rows(store)[layout.COMPLETE, "features", "train", SET.key]["parts_digest"] == digest_of_parts(theirs)


def test_mending_a_set_forgets_it(store):
    from featurestore.care.mend import mend

    part = store.manifest(SET)["parts"][0]["name"]
    store.storage.publish(f"{SET.folder}/{part}", b"damage")
    mend(store, verify(store))
    assert SET.key not in {row["key"] for row in rows(store).values()}


def test_a_damaged_row_is_removed_and_nothing_is_to_be_run(store):
    from featurestore.care.mend import mend

    name = layout.record_path("sets", layout.set_id(SET, layout.COMPLETE))
    store.storage.publish(name, b"damage")
    (finding,) = verify(store).findings
    assert finding.place == name
    assert "nothing is lost" in finding.advice
    mended = mend(store, verify(store))
    assert (list(mended.removed), mended.remaking.commands, mended.remaking.notes) == ([name], [], [])
    assert verify(store).findings == []
