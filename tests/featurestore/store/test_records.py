"""Records in packs: what readers see, whichever of files and packs hold them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from given import cell, score

from featurestore import FeatureStore
from featurestore.care.verify import verify
from featurestore.errors import DamagedFileError, MissingFileError, StoreError
from featurestore.store import node_cache, packs, schema
from featurestore.store.feature_store import rows_table
from featurestore.store.packs import Record
from featurestore.store.storage import StoredFile
from queries.asking.database import Database

EARLY = datetime(2026, 1, 1, tzinfo=UTC)


def rows(name: str, *values: float):
    grain = {"cell": name}
    return rows_table(
        "results", [score("m", "pets", value, metric=f"m{k}", n_test=0) | grain for k, value in enumerate(values)]
    )


def predicted(name: str, n: int):
    row = cell("m", "pets") | {"cell": name, "predicted": 1, "top5": [1], "scores": [0.5, 0.5]}
    return rows_table("predictions", [row | {"sample_id": f"{name}-{k}", "index": k} for k in range(n)])


def pack(store: FeatureStore, table: str = "results", **records: tuple) -> StoredFile:
    """Write a pack of records: name -> rows, time of change and perhaps seal."""
    made = [Record(name, given[0], *given[2:], modified=given[1]) for name, given in records.items()]
    (written,) = [pack for pack, _ in packs.write(store.storage, table, made)]
    return written


def values(store: FeatureStore) -> dict[str, list[float]]:
    """What each way of reading says; they must agree."""
    tables = {name: found["value"].to_pylist() for name, found in store.record_tables("results").items()}
    flat: dict[str, list[float]] = {}
    for row in store.record_rows("results", ["value"]).to_pylist():
        flat.setdefault(row["record"], []).append(row["value"])
    singles = {name: store.read_record("results", name)["value"].to_pylist() for name in store.names("results")}
    with Database(store) as database:
        asked: dict[str, list[float]] = {}
        for row in database.sql("select cell, value from stored_results order by cell, metric").to_pylist():
            asked.setdefault(row["cell"], []).append(row["value"])
    assert tables == flat == singles == asked
    assert sorted(row["value"] for row in store.read_records("results")) == sorted(
        value for own in tables.values() for value in own
    )
    return tables


def test_records_of_packs_and_files_are_read_alike(store):
    store.publish("results", "c", rows("c", 0.3))
    pack(store, a=(rows("a", 0.1, 0.2), EARLY, "seal of a"), b=(rows("b", 0.25), None))
    assert values(store) == {"a": [0.1, 0.2], "b": [0.25], "c": [0.3]}
    assert store.record_times("results")["a"] == EARLY
    assert store.record_times("results")["b"] is None
    assert store.has_record("results", "a")
    assert not store.has_record("results", "d")
    assert store.record_seal("results", "a") == "seal of a"
    with pytest.raises(MissingFileError, match=r"results/d\.parquet is not in the store"):
        store.read_record("results", "d")


def test_without_a_cache_the_answers_are_the_same(store, monkeypatch):
    monkeypatch.setenv("PROBESTORE_CACHE_GB", "0")
    pack(store, a=(rows("a", 0.1), EARLY), b=(rows("b", 0.2), EARLY))
    store.publish("results", "b", rows("b", 0.9))
    assert values(store) == {"a": [0.1], "b": [0.9]}


def test_a_file_counts_more_than_packs(store):
    pack(store, a=(rows("a", 0.1), EARLY), b=(rows("b", 0.2), EARLY))
    store.publish("results", "a", rows("a", 0.7, 0.8))
    assert values(store) == {"a": [0.7, 0.8], "b": [0.2]}
    store.storage.delete("results/a.parquet")
    assert values(store) == {"a": [0.1], "b": [0.2]}


def test_of_two_packs_the_later_record_counts_whichever_pack_was_written_first(store):
    pack(store, a=(rows("a", 0.9), EARLY + timedelta(hours=1)))
    pack(store, a=(rows("a", 0.1), EARLY))
    assert values(store) == {"a": [0.9]}


def test_of_equal_records_in_two_packs_one_is_read(store):
    for _ in range(2):
        pack(store, a=(rows("a", 0.5), EARLY), b=(rows("b", 0.6), EARLY))
    assert values(store) == {"a": [0.5], "b": [0.6]}


def test_a_removed_record_is_in_no_file_and_no_pack(store):
    pack(store, a=(rows("a", 0.1), EARLY, "seal"), b=(rows("b", 0.2), EARLY, "its seal"))
    pack(store, b=(rows("b", 0.3), EARLY))
    store.publish("results", "b", rows("b", 0.4))
    store.publish("results", "c", rows("c", 0.5))
    store.delete_records("results", ["b", "never there"])
    assert values(store) == {"a": [0.1], "c": [0.5]}
    assert (store.record_seal("results", "a"), store.record_times("results")["a"]) == ("seal", EARLY)
    assert len(store.storage.list_files("results/packed")) == 1


def test_a_bare_reader_of_parquet_reads_packs(store, tmp_path):
    pack(store, "predictions", a=(predicted("a", 3), EARLY), b=(predicted("b", 2), EARLY))
    found = pq.read_table(Path(store.uri) / "predictions", partitioning=None)
    assert found.schema.remove_metadata() == schema.PREDICTIONS
    assert found["sample_id"].to_pylist() == ["a-0", "a-1", "a-2", "b-0", "b-1"]
    (path,) = (Path(store.uri) / "predictions" / "packed").iterdir()
    assert pq.read_metadata(path).num_row_groups == 2


def test_of_a_large_table_one_record_is_read_and_checked_alone(store, monkeypatch):
    pack(store, "predictions", a=(predicted("a", 3), EARLY), b=(predicted("b", 2), EARLY))
    (path,) = (Path(store.uri) / "predictions" / "packed").iterdir()
    content = bytearray(path.read_bytes())
    content[10] ^= 1  # in the rows of a
    path.write_bytes(content)
    assert store.read_record("predictions", "b", columns=["index"]).to_pydict() == {"index": [0, 1]}
    with pytest.raises(DamagedFileError, match="predictions/packed/.* is damaged"):
        store.read_record("predictions", "a")


def test_a_damaged_list_is_told_unless_the_node_knows_it(store):
    pack(store, a=(rows("a", 0.1), EARLY))
    assert store.names("results") == {"a"}
    (path,) = (Path(store.uri) / "results" / "packed").iterdir()
    content = bytearray(path.read_bytes())
    content[-200] ^= 1
    path.write_bytes(content)
    assert FeatureStore.open(store.uri).names("results") == {"a"}
    for kept in node_cache.folder().glob("packs-*.json"):
        kept.write_text(kept.read_text()[:-3] + "]]}")
    with pytest.raises(DamagedFileError, match="results/packed/.* is damaged"):
        FeatureStore.open(store.uri).names("results")
    assert [finding.place for finding in verify(store).findings] == [f"results/packed/{path.name}"]


def test_a_list_of_another_form_asks_for_the_version_that_wrote_it(store, monkeypatch):
    monkeypatch.setattr(packs, "_LIST", "another list")
    pack(store, a=(rows("a", 0.1), EARLY))
    monkeypatch.undo()
    with pytest.raises(StoreError, match="Use the version of probestore that wrote it"):
        FeatureStore.open(store.uri).names("results")
    assert [finding.severity for finding in verify(store).findings] == ["unread"]


def test_many_new_records_are_published_as_one_file(store):
    store.publish("results", "c007", rows("c007", 0.1))
    store.publish_records("results", {f"c{k:03}": rows(f"c{k:03}", k / 100) for k in range(40)})
    found = values(store)
    assert (len(found), found["c007"], found["c039"]) == (40, [0.07], [0.39])
    assert len(store.storage.list_files("results")) == 2


def test_verify_finds_packs_sound(store):
    pack(store, a=(rows("a", 0.1), EARLY), b=(rows("b", 0.2, 0.3), EARLY))
    assert verify(store).findings == []
