"""Two writers of one shard, where a new file may replace another one: a file each, of which the manifest names one."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from gone_files import gone
from shard_rows import SET, feature_rows
from sound_store import CELL, FEATURES, SAMPLES, features_of, image, make

from featurestore import FeatureStore
from featurestore.care import garbage
from featurestore.care.mend import mend
from featurestore.care.verify import verify
from featurestore.errors import DamagedFileError
from featurestore.store import layout, schema
from featurestore.store.commit import encode_by_content, encode_table
from featurestore.store.feature_store import Part, rows_table
from queries.asking.database import Database


@pytest.fixture
def uri(tmp_path: Path) -> str:
    return f"local://{tmp_path}/store"  # a driver of fsspec, which promises no new files


def rows(value: int) -> pa.Table:
    return feature_rows(0, np.full((3, 2), value, np.float32))


def images(start: int, stop: int) -> pa.Table:
    return pa.Table.from_pylist([image(position) for position in range(start, stop)], schema=schema.SAMPLES)


def written_at_once(store: FeatureStore, *values: int, shard: int = 0, n_shards: int = 1) -> list[Part]:
    """Parts of writers each of which saw no other's, in the order of their names."""
    parts = []
    for value in values:
        part = store.write_shard(SET, shard, n_shards, rows(value))
        parts.append((part, store.storage.read_bytes(f"{SET.folder}/{part.name}")))
        store.storage.delete(f"{SET.folder}/{part.name}")
    for part, content in parts:
        store.storage.publish(f"{SET.folder}/{part.name}", content)
    return sorted((part for part, _ in parts), key=lambda part: part.name)


def test_other_bytes_have_another_name_and_the_same_ones_the_same(uri):
    store = FeatureStore.create(uri)
    first, second = written_at_once(store, 1, 2)
    assert first.bytes == second.bytes
    assert first.name != second.name
    assert store.shards(SET) == store.stock().shards(SET) == {0}
    assert len(store.storage.list_files(SET.folder)) == 2
    store.storage.delete(f"{SET.folder}/{second.name}")
    assert store.write_shard(SET, 0, 1, rows(3)) == first  # the first writer wins where the second one sees its file


@pytest.mark.parametrize("known", [0, 1])
def test_the_manifest_names_one_of_them_with_its_own_bytes(uri, known):
    store = FeatureStore.create(uri)
    parts = written_at_once(store, 1, 2)
    store.finish(SET, 1, {}, parts=parts[known : known + 1])
    assert [part["name"] for part in store.manifest(SET)["parts"]] == [parts[0].name]
    assert len(set(store.read(SET).X.ravel())) == 1
    assert list(store.file_sizes("features")) == [f"{SET.folder}/{parts[0].name}"]
    assert gone(store) == []


def test_a_manifest_stays_whatever_another_driver_knows(uri):
    store = FeatureStore.create(uri)
    first, second = written_at_once(store, 1, 2)
    store.storage.delete(f"{SET.folder}/{first.name}")
    store.finish(SET, 1, {"driver": "first"}, parts=[second])
    written_at_once(store, 1)
    store.finish(SET, 1, {"driver": "second"}, parts=[first])
    assert store.manifest(SET)["driver"] == "first"
    assert [part["name"] for part in store.manifest(SET)["parts"]] == [second.name]


def test_a_manifest_whose_file_is_gone_gets_the_one_that_is_there_and_keeps_the_others(uri):
    store = FeatureStore.create(uri)
    for shard in (0, 1):
        written_at_once(store, 1, 2, shard=shard, n_shards=2)
    store.finish(SET, 2, {})
    before = [part["name"] for part in store.manifest(SET)["parts"]]
    store.storage.delete(f"{SET.folder}/{before[0]}")
    assert [lost.file for lost in gone(store)] == [f"{SET.folder}/{before[0]}"]
    assert (store.has_part(SET, 0), store.has_part(SET, 1)) == (False, True)
    store.finish(SET, 2, {})
    after = [part["name"] for part in store.manifest(SET)["parts"]]
    assert after[0] != before[0]
    assert after[1] == before[1]
    assert store.read(SET).X.shape == (6, 2)


def test_a_damaged_file_does_not_count_where_there_is_a_whole_one(uri):
    store = FeatureStore.create(uri)
    first, second = written_at_once(store, 1, 2)
    path = f"{SET.folder}/{first.name}"
    store.storage.publish(path, store.storage.read_bytes(f"{SET.folder}/{second.name}"))  # of the same size
    assert store.write_shard(SET, 0, 1, rows(3)) == second
    store.finish(SET, 1, {})
    assert [part["name"] for part in store.manifest(SET)["parts"]] == [second.name]
    store.storage.delete(f"{SET.folder}/{second.name}")
    store.storage.delete(f"{SET.folder}/{layout.MANIFEST}")
    with pytest.raises(DamagedFileError, match=first.name):
        store.finish(SET, 1, {})


def test_a_part_of_an_earlier_version_keeps_its_name(uri):
    store = FeatureStore.create(uri)
    path = f"{SET.folder}/{layout.part_name(0, 2)}"
    store.storage.publish(path, encode_table(rows(1), path))
    assert store.write_shard(SET, 0, 2, rows(2)).name == layout.part_name(0, 2)
    store.write_shard(SET, 1, 2, rows(2))
    store.finish(SET, 2, {})
    assert store.read(SET).X[:, 0].tolist() == [1, 1, 1, 2, 2, 2]


def copy(store: FeatureStore, folder: Path) -> FeatureStore:
    """The same files on a local disk, as somebody makes who leaves a bucket."""
    for name in store.storage.list_files(""):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(store.storage.read_bytes(name))
    return FeatureStore.open(str(folder))


def test_a_bucket_that_was_copied_to_a_disk_is_a_store(uri, tmp_path):
    store = copy(make(uri), tmp_path / "copy")
    assert verify(store).findings == []
    with Database(store) as database:
        assert database.sql("select count(*) as n from features").to_pylist() == [{"n": 18}]
    part = store.write_shard(FEATURES["train"], 0, 2, features_of(0, 4))
    store.finish(FEATURES["train"], 2, {}, parts=[part])
    assert verify(store).sound


@pytest.fixture
def doubled(uri) -> FeatureStore:
    """A sound store, in which a part of features and one of images have a second file."""
    store = make(uri)
    for item, table in ((FEATURES["test"], features_of(0, 4)), (SAMPLES["test"], images(0, 4))):
        path, content = encode_by_content(
            table.replace_schema_metadata({"another": "node"}),
            lambda own, item=item: f"{item.folder}/{layout.part_name(0, 2, own)}",
        )
        store.storage.publish(path, content)
    return store


def second_files(store: FeatureStore) -> list[str]:
    items = (FEATURES["test"], SAMPLES["test"])
    named = {f"{item.folder}/{part['name']}" for item in items for part in store.manifest(item)["parts"]}
    return [
        name
        for item in items
        for name in store.storage.list_files(item.folder)
        if name.endswith(".parquet") and name not in named
    ]


def test_sql_reads_each_shard_once(doubled):
    with Database(doubled) as database:
        counts = database.sql("select (select count(*) from features) as f, (select count(*) from samples) as s")
        assert counts.to_pylist() == [{"f": 18, "s": 21}]


def test_verify_remarks_on_the_second_file_and_gc_removes_it_when_it_is_old(doubled):
    verified = verify(doubled)
    assert verified.sound
    assert [(found.severity, found.place) for found in verified.findings] == [
        ("warning", name) for name in second_files(doubled)
    ]
    assert {found.advice for found in verified.findings} == {"remove it: probestore gc --delete"}
    assert garbage.find(doubled) == []
    found = garbage.find(doubled, older_than=timedelta(0))
    assert [file for item in found for file in item.files] == second_files(doubled)
    garbage.remove(doubled, found)
    assert verify(doubled).findings == []


def test_a_set_that_is_mended_takes_the_second_file(doubled):
    (second,) = (name for name in second_files(doubled) if name.startswith("features"))
    item = FEATURES["test"]
    first = f"{item.folder}/{doubled.manifest(item)['parts'][0]['name']}"
    doubled.storage.publish(first, b"damaged")
    mended = mend(doubled, verify(doubled))
    assert {first, f"{item.folder}/{layout.MANIFEST}"} <= mended.removed.keys()
    doubled.finish(item, 2, {"samples": SAMPLES["test"].key})
    assert f"{item.folder}/{doubled.manifest(item)['parts'][0]['name']}" == second


def test_a_classifier_that_is_gone_takes_every_file_of_the_first_shard(doubled):
    doubled.storage.delete("heads/weights.parquet")
    row = {"metric": "top1", "headline": True, "value": 0.5, "n_train": 6, "n_val": 6, "n_test": 6, "seconds": 0.1}
    result = {**CELL, **row, "model_key": "weights", "versions": "{}", "created_at": datetime.now(UTC)}
    doubled.publish("results", "c1", rows_table("results", [result]))
    mended = mend(doubled, verify(doubled, asking=["ncm"]), asking=["ncm"])
    folders = {name.rpartition("/")[0] for name in mended.removed if "part-" in name}
    assert len(folders) == 1
    (folder,) = folders
    assert 0 not in layout.files_of_shards(name.rpartition("/")[2] for name in doubled.storage.list_files(folder))
