import hashlib
import json
import re
import resource
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from shard_rows import SET, feature_rows
from sound_store import made_before_seals

from featurestore import FeatureSet, FeatureStore, SampleSet
from featurestore.errors import (
    ConfigurationError,
    DamagedFileError,
    MissingFeaturesError,
    StoreError,
    StoreVersionError,
)
from featurestore.store import layout, schema
from featurestore.store.feature_store import Part, rows_table


def test_a_set_exists_once_its_manifest_is_written(store):
    X = np.arange(20, dtype=np.float16).reshape(5, 4)
    store.write_shard(SET, 0, 2, feature_rows(0, X[:3]))
    assert store.shards(SET) == {0}
    assert not store.has(SET)
    assert store.files("features") == [name for name in store.files("features") if "_schema" in name]
    store.write_shard(SET, 1, 2, feature_rows(3, X[3:]))
    store.finish(SET, 2, {"weights_digest": "sha256:0"})
    assert store.has(SET)
    assert store.sets() == [SET]
    assert len(store.files("features")) == 3


def test_reading_gives_the_rows_in_order_and_in_their_precision(store):
    X = np.random.default_rng(0).normal(size=(5, 4)).astype(np.float16)
    store.write_shard(SET, 1, 2, feature_rows(3, X[3:]))
    store.write_shard(SET, 0, 2, feature_rows(0, X[:3]))
    store.finish(SET, 2, {})
    read = store.read(SET)
    np.testing.assert_array_equal(read.X, X)
    assert read.X.dtype == np.float16
    assert read.index.tolist() == [0, 1, 2, 3, 4]
    assert read.sample_id.tolist() == ["id0", "id1", "id2", "id3", "id4"]


def test_multilabel_rows_become_an_indicator_matrix(store):
    store.write_shard(SET, 0, 1, feature_rows(0, np.ones((3, 2), np.float32), labels=[[0, 2], [], [1]]))
    store.finish(SET, 1, {})
    assert store.read(SET, n_classes=4).y.astype(int).tolist() == [[1, 0, 1, 0], [0, 0, 0, 0], [0, 1, 0, 0]]


def write_set(store: FeatureStore, split: str, tables: list[pa.Table]) -> FeatureSet:
    item = FeatureSet("net", "pets", split, "key")
    for shard, table in enumerate(tables):
        store.write_shard(item, shard, len(tables), table)
    store.finish(item, len(tables), {})
    return item


def test_several_sets_become_one_matrix_in_order(store):
    X = np.random.default_rng(0).normal(size=(15, 4)).astype(np.float16)
    train = write_set(store, "train", [feature_rows(0, X[:3]), feature_rows(3, X[3:3]), feature_rows(3, X[3:9])])
    val = write_set(store, "val", [feature_rows(9, X[9:])])
    read = store.read(train, val)
    np.testing.assert_array_equal(read.X, X)
    assert read.index.tolist() == list(range(15))
    assert read.sample_id.tolist() == [f"id{i}" for i in range(15)]
    assert read.y.tolist() == [0, 1, 0, 0, 1, 0, 1, 0, 1, 0, 1, 0, 1, 0, 1]
    np.testing.assert_array_equal(store.read(val, train).X, np.concatenate([X[9:], X[:9]]))


def test_sets_of_two_precisions_become_one_matrix_of_the_wider(store):
    half, single = np.full((2, 3), 0.1, np.float16), np.full((1, 3), 1e5, np.float32)
    sets = [write_set(store, "train", [feature_rows(0, half)]), write_set(store, "val", [feature_rows(2, single)])]
    X = store.read(*sets).X
    assert X.dtype == np.float32
    np.testing.assert_array_equal(X, np.concatenate([half.astype(np.float32), single]))


def test_sets_of_two_dimensions_are_both_named(store):
    tables = {
        "train": feature_rows(0, np.ones((2, 3), np.float32)),
        "val": feature_rows(2, np.ones((2, 4), np.float32)),
    }
    sets = [write_set(store, split, [table]) for split, table in tables.items()]
    with pytest.raises(StoreError, match="split=train/key=key has 3 and .*split=val/key=key has 4"):
        store.read(*sets)


def test_labels_of_several_sets_share_their_width(store):
    X = np.ones((2, 3), np.float32)
    train = write_set(store, "train", [feature_rows(0, X, labels=[[0], []])])
    val = write_set(store, "val", [feature_rows(2, X, labels=[[2], [0, 1]])])
    assert store.read(train, val).y.astype(int).tolist() == [[1, 0, 0], [0, 0, 0], [0, 0, 1], [1, 1, 0]]


def test_a_set_without_images_is_empty(store):
    item = write_set(store, "test", [])
    assert store.read(item).X.shape == (0, 0)
    train = write_set(store, "train", [feature_rows(0, np.ones((2, 3), np.float32))])
    assert store.read(item, train).X.shape == (2, 3)


def test_ids_of_any_letters_are_read(store):
    table = feature_rows(0, np.ones((2, 3), np.float32))
    ids = pa.array(["é", "日本語"])
    write_set(store, "train", [table.set_column(0, table.schema.field("sample_id"), ids)])
    assert store.read(SET).sample_id.tolist() == ["é", "日本語"]


def test_a_part_that_was_changed_after_its_manifest_is_named(store):
    write_set(store, "train", [feature_rows(0, np.ones((2, 3), np.float32))])
    pq.write_table(feature_rows(0, np.ones((200, 3), np.float32)), Path(store.uri, SET.folder, layout.part_name(0, 1)))
    with pytest.raises(DamagedFileError, match="part-00000-of-00001.parquet in the store .* is damaged"):
        store.read(SET)


def test_a_manifest_holds_rows_and_checksums_and_what_it_was_given(store):
    store.write_shard(SET, 0, 1, feature_rows(0, np.ones((3, 2), np.float32)))
    store.finish(SET, 1, {"weights_digest": "sha256:0"})
    manifest = store.manifest(SET)
    assert manifest["rows"] == 3
    assert manifest["weights_digest"] == "sha256:0"
    assert [part["name"] for part in manifest["parts"]] == ["part-00000-of-00001.parquet"]
    assert len(manifest["parts"][0]["sha256"]) == 64


def test_a_set_with_a_missing_shard_cannot_be_finished(store):
    store.write_shard(SET, 0, 2, feature_rows(0, np.ones((3, 2), np.float32)))
    with pytest.raises(StoreError, match="1 of 2 shards are missing"):
        store.finish(SET, 2, {})
    with pytest.raises(MissingFeaturesError, match="probestore run"):
        store.read(SET)


def test_of_two_writers_of_a_shard_the_first_wins(store):
    first = store.write_shard(SET, 0, 1, feature_rows(0, np.full((3, 2), 1, np.float32)))
    second = store.write_shard(SET, 0, 1, feature_rows(0, np.full((3, 2), 2, np.float32)))
    assert second == first  # what is stored, not what was offered
    store.finish(SET, 1, {}, parts=[second])
    np.testing.assert_array_equal(store.read(SET).X, 1)


def test_many_writers_of_one_shard_agree_on_what_is_stored(store):
    """Processes' worth of threads that all link at once; each must report the one part that is there."""
    start = threading.Barrier(8)

    def write(value: int) -> Part:
        table = feature_rows(0, np.full((50, 8), value, np.float32))
        start.wait()
        return store.write_shard(SET, 0, 1, table)

    with ThreadPoolExecutor(8) as pool:
        parts = set(pool.map(write, range(8)))
    (path,) = Path(store.uri).rglob("part-*.parquet")
    assert {part.sha256 for part in parts} == {hashlib.sha256(path.read_bytes()).hexdigest()}
    assert list((Path(store.uri) / "_staging").iterdir()) == []


def test_a_part_that_is_no_parquet_is_replaced(store):
    """Nothing that writes to a store leaves half a file; a power failure or another program may."""
    part = store.write_shard(SET, 0, 1, feature_rows(0, np.ones((3, 2), np.float32)))
    path = Path(store.uri, SET.folder, part.name)
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(
        StoreError, match=r"part-00000-of-00001\.parquet in the store .* is damaged.* verify --mend --store"
    ):
        store.finish(SET, 1, {})
    assert store.write_shard(SET, 0, 1, feature_rows(0, np.ones((3, 2), np.float32))) == part
    store.finish(SET, 1, {}, parts=[part])
    assert store.read(SET).X.shape == (3, 2)


def test_finishing_reads_back_only_the_parts_that_it_was_not_given(store):
    parts = [store.write_shard(SET, i, 2, feature_rows(3 * i, np.ones((3, 2), np.float32))) for i in range(2)]
    given, other = (Path(store.uri, SET.folder, part.name) for part in parts)
    given.write_bytes(b"not read")
    store.finish(SET, 2, {}, parts=parts[:1])
    assert [part["sha256"] for part in store.manifest(SET)["parts"]] == [part.sha256 for part in parts]
    assert parts[1].bytes == other.stat().st_size


def test_a_manifest_that_another_driver_has_written_stays(store):
    part = store.write_shard(SET, 0, 1, feature_rows(0, np.ones((3, 2), np.float32)))
    store.finish(SET, 1, {"driver": "first"}, parts=[part])
    store.finish(SET, 1, {"driver": "second"}, parts=[part])
    assert store.manifest(SET)["driver"] == "first"


def test_a_stock_answers_for_every_set_from_one_listing(store):
    other, samples = FeatureSet("net", "pets", "test", "key"), SampleSet("pets", "train", "key")
    store.write_shard(SET, 0, 1, feature_rows(0, np.ones((3, 2), np.float32)))
    store.finish(SET, 1, {})
    store.write_shard(other, 1, 3, feature_rows(0, np.ones((3, 2), np.float32)))
    store.mark_overflow(other, "too large")
    stock = store.stock()
    for item in (SET, other, samples):
        assert (stock.has(item), stock.shards(item)) == (store.has(item), store.shards(item))
    assert (stock.overflowed(SET), stock.overflowed(other)) == (False, True)
    assert stock.shards(other) == {1}


def test_columns_that_are_newer_than_a_record_are_null(store):
    row = {"study": "s", "stage": "probe", "error": "E", "message": "m", "failed_at": datetime.now(UTC)}
    old = rows_table("failures", [row]).drop_columns(["cell"])
    pq.write_table(old, Path(store.uri, "failures.parquet"))
    Path(store.uri, "failures").mkdir()
    Path(store.uri, "failures.parquet").rename(Path(store.uri, "failures", "one.parquet"))
    store = made_before_seals(store)
    read = store.read_record("failures", "one")
    assert read.schema == schema.TABLES["failures"].schema
    assert read.column("cell").null_count == 1
    assert store.read_record("failures", "one", columns=["message"]).to_pylist() == [{"message": "m"}]


def test_a_record_that_is_gone_is_a_clear_error(store):
    with pytest.raises(StoreError, match=r"results/nothing.parquet is not in the store"):
        store.read_record("results", "nothing")


def test_any_parquet_reader_can_read_the_features(store):
    store.write_shard(SET, 0, 1, feature_rows(0, np.ones((3, 2), np.float16)))
    (path,) = Path(store.uri).rglob("part-*.parquet")
    assert pq.read_table(path, partitioning=None).column("feature").to_pylist() == [[1.0, 1.0]] * 3


def test_publishing_a_record_replaces_it_whole(store):
    row = {"study": "s", "stage": "probe", "error": "E", "message": "first", "failed_at": datetime.now(UTC)}
    store.publish("failures", "one", rows_table("failures", [row]))
    store.publish("failures", "one", rows_table("failures", [{**row, "message": "second"}]))
    assert store.names("failures") == {"one"}
    (_, path) = store.files("failures")
    assert pq.read_table(path).column("message").to_pylist() == ["second"]


def test_a_failed_write_leaves_nothing_behind(store):
    """A real refusal of the kernel: no file may grow beyond a few bytes."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, limits[1]))
    try:
        with pytest.raises(StoreError, match="Cannot write .* run the same command again"):
            store.write_shard(SET, 0, 1, feature_rows(0, np.ones((300, 20), np.float32)))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert store.shards(SET) == set()
    assert list((Path(store.uri) / "_staging").iterdir()) == []


def test_creating_opens_what_is_there(store):
    store.publish("failures", "one", rows_table("failures", []))
    assert FeatureStore.create(store.uri).names("failures") == {"one"}


def test_opening_nothing_says_how_to_make_a_store(tmp_path):
    with pytest.raises(StoreError, match="There is no store .*PROBESTORE_STORE"):
        FeatureStore.open(str(tmp_path / "nowhere"))


def test_a_store_is_not_made_where_other_things_lie(tmp_path):
    (tmp_path / "thesis.tex").write_text("")
    with pytest.raises(StoreError, match=r"holds thesis\.tex"):
        FeatureStore.create(str(tmp_path))
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


def test_a_path_that_is_a_file_is_no_store(tmp_path):
    (tmp_path / "file").write_text("")
    for make in (FeatureStore.create, FeatureStore.open):
        with pytest.raises(StoreError, match="is a file"):
            make(str(tmp_path / "file"))


def test_a_store_of_a_newer_version_is_not_touched(store):
    path = Path(store.uri) / "store.json"
    path.write_text(json.dumps({"format": "probestore", "schema_version": schema.FORMAT_VERSION + 1}))
    for make in (FeatureStore.create, FeatureStore.open):
        with pytest.raises(StoreVersionError, match=r"format 3; .* formats up to 2\..*Upgrade probestore"):
            make(store.uri)


@pytest.mark.parametrize("name", ["a*", "x/[1]", "model=b"])
def test_a_url_that_sql_would_read_as_a_pattern_is_refused(name):
    place = f"memory://{name}/store"
    with pytest.raises(StoreError, match=re.escape(f"Got '{place}', which holds")):
        FeatureStore.create(place)


def test_a_path_that_is_no_text_is_refused(tmp_path):
    with pytest.raises(ConfigurationError, match=r"must be text in UTF-8.*'\\udcff'.*make a link to it"):
        FeatureStore.create(f"{tmp_path}/\udcff")


@pytest.mark.parametrize("url", ["file://host/a", "file:///a?b", "file:///a#b", "file://[1]/a", "s3://[1]/a"])
def test_a_file_url_of_which_a_part_would_be_ignored_is_refused(url):
    with pytest.raises(
        ConfigurationError, match=r"without a host, and with %23 for #|must be one, such as s3://bucket"
    ):
        FeatureStore.create(url)


def test_a_home_that_there_is_not_is_a_folder_of_that_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert FeatureStore.create("~no-such-user/store").uri == str(tmp_path / "~no-such-user" / "store")
    assert FeatureStore.create("./~").uri == str(tmp_path / "~")


@pytest.mark.parametrize(
    "content", ["not json", "[]", "{}", '{"schema_version": true}', '{"schema_version": -5}', "[" * 100_000]
)
def test_a_broken_store_file_is_named(store, content):
    (Path(store.uri) / "store.json").write_text(content)
    with pytest.raises(StoreError, match="names no schema_version"):
        FeatureStore.open(store.uri)


def test_paths_with_spaces_and_percent_signs_work(tmp_path):
    store = FeatureStore.create(str(tmp_path / "a store, 100% ünïcode"))
    store.write_shard(SET, 0, 1, feature_rows(0, np.ones((3, 2), np.float32)))
    store.finish(SET, 1, {})
    assert FeatureStore.open(store.uri).read(SET).X.shape == (3, 2)
