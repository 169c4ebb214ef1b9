"""The same store on an object store: a real S3 endpoint on loopback."""

import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from urllib.parse import unquote

import numpy as np
import pytest
from faulty_s3 import CUT, FLIP, HALF, STALL, FaultyS3, faulty
from shard_rows import SET, feature_rows
from storage_contract import StorageContract

from featurestore import FeatureSet, FeatureStore
from featurestore.care.verify import verify
from featurestore.errors import DamagedFileError, StoreError
from featurestore.store.backends.object_store import ONE_PUT_BYTES
from featurestore.store.feature_store import rows_table
from featurestore.store.storage import Storage
from queries.asking.database import Database, connect
from queries.asking.views_script import views_script

HEAD = {"model": "m", "model_key": "k", "source_class": 0, "weight": [1.0], "bias": 0.0}


def test_a_store_on_s3_reads_back_what_was_written(bucket):
    store = FeatureStore.create(f"{bucket}/store")
    X = np.random.default_rng(0).normal(size=(5, 4)).astype(np.float16)
    store.write_shard(SET, 0, 1, feature_rows(0, X))
    assert not store.has(SET)
    store.finish(SET, 1, {})
    np.testing.assert_array_equal(FeatureStore.open(f"{bucket}/store").read(SET).X, X)
    with connect(f"{bucket}/store") as database:
        assert database.sql("select count(*) as n, sum(list_sum(feature)) as s from features").to_pylist()[0]["n"] == 5


def test_a_store_on_s3_is_opened_by_options_alone(bucket, endpoint, monkeypatch):
    for name in ("AWS_ENDPOINT_URL", "AWS_REGION", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    options = {"endpoint": endpoint, "region": "us-east-1", "access_key": "testing", "secret_key": "testing"}
    store = FeatureStore.create(f"{bucket}/store", storage_options=options)
    store.write_shard(SET, 0, 1, feature_rows(0, np.ones((5, 4), np.float32)))
    store.finish(SET, 1, {})
    assert dict(store.storage_options) == options
    with Database(FeatureStore.open(store.uri, storage_options=dict(store.storage_options))) as database:
        assert database.sql("select count(*) as n from features").to_pylist() == [{"n": 5}]
    with pytest.raises(StoreError):
        FeatureStore.open(store.uri, storage_options={**options, "endpoint": "http://127.0.0.1:9", "retries": "0"})
    stored = b"".join(store.storage.read_bytes(name) for name in store.storage.list_files(""))
    assert b"testing" not in stored


def test_a_tap_with_a_colon_is_read_by_sql_on_s3(bucket):
    store = FeatureStore.create(f"{bucket}/store")
    item = FeatureSet("net", "pets", "train", "key", tap="block:layers.3")
    store.write_shard(item, 0, 1, feature_rows(0, np.ones((2, 4), np.float32)))
    store.finish(item, 1, {})
    assert store.sets() == [item]
    with connect(f"{bucket}/store") as database:
        assert database.sql("select distinct tap from features").to_pylist() == [{"tap": "block:layers.3"}]


def test_sql_on_s3_needs_no_variable(bucket, endpoint, monkeypatch, tmp_path):
    """Credentials and the region come from files, as the store itself finds them."""
    FeatureStore.create(f"{bucket}/store").publish("heads", "k", rows_table("heads", [HEAD]))
    for name in ("AWS_REGION", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    (tmp_path / "credentials").write_text("[lab]\naws_access_key_id = testing\naws_secret_access_key = testing\n")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))
    monkeypatch.setenv("AWS_PROFILE", "lab")
    with connect(f"{bucket}/store") as database:
        assert database.sql("select count(*) as n from stored_heads").to_pylist() == [{"n": 1}]


class TestBucket(StorageContract):
    @pytest.fixture
    def storage(self, bucket):
        return Storage(f"{bucket}/store")


@pytest.mark.parametrize("first_to_finish", ["early", "late"])
def test_of_two_writers_of_a_part_within_one_upload_the_manifest_has_the_bytes_of_one(bucket, proxy, first_to_finish):
    """Files of one size: with one name for both, the manifest of the early one would have the bytes of the late one."""
    late, early = FeatureStore.create(f"{bucket}/store"), FeatureStore.open(f"{bucket}/store")
    parts, begun = {}, []

    def while_the_late_one_uploads(method: str, path: str) -> None:
        if method == "PUT" and "part-00000" in path and not begun:
            begun.append(path)
            parts["early"] = early.write_shard(SET, 0, 1, feature_rows(0, np.full((5, 4), 1, np.float32)))
            if first_to_finish == "early":
                early.finish(SET, 1, {"driver": "early"}, parts=[parts["early"]])

    proxy.fault = while_the_late_one_uploads
    parts["late"] = late.write_shard(SET, 0, 1, feature_rows(0, np.full((5, 4), 2, np.float32)))
    assert parts["early"].bytes == parts["late"].bytes
    late.finish(SET, 1, {"driver": "late"}, parts=[parts["late"]])
    early.finish(SET, 1, {"driver": "early"}, parts=[parts["early"]])
    manifest = late.manifest(SET)
    assert manifest["driver"] == first_to_finish
    assert next(part["sha256"] for part in manifest["parts"]) in {part.sha256 for part in parts.values()}
    assert len(set(late.read(SET).X.ravel())) == 1
    assert verify(late).sound
    with connect(f"{bucket}/store") as database:
        assert database.sql("select count(*) as n from features").to_pylist() == [{"n": 5}]


def test_a_missing_bucket_is_a_clear_error_at_once(bucket):
    with pytest.raises(StoreError, match="nowhere.*There is no such bucket: make it, or correct its name"):
        FeatureStore.create("s3://nowhere/store")


# ---- what may pass is tried again, what lasts is said --------------------------------------------------------------


@pytest.fixture
def proxy(endpoint, bucket, monkeypatch) -> Iterator[FaultyS3]:
    """The same endpoint behind a proxy that can refuse, stall and cut; the variables lead to the proxy."""
    with faulty(endpoint) as proxy:
        monkeypatch.setenv("AWS_ENDPOINT_URL", proxy.endpoint)
        yield proxy


SMALL, LARGE = b"x" * 1000, bytes(range(256)) * (11 * 4096)  # 12 MB: two parts of an upload


def test_sql_asks_s3_for_the_sets_that_a_query_names(bucket, proxy):
    store = FeatureStore.create(f"{bucket}/store")
    for model in ("net", "wide"):
        for dataset in ("pets", "cars"):
            item = FeatureSet(model, dataset, "train", "key")
            store.write_shard(item, 0, 1, feature_rows(0, np.ones((2, 4), np.float32)))
            store.finish(item, 1, {})
    proxy.requests.clear()
    with connect(f"{bucket}/store") as database:
        assert not [path for path in proxy.requests if "features" in path and "_schema" not in path]
        proxy.requests.clear()
        found = database.sql("select count(*) as n from features where model = 'net' and dataset = 'pets'").to_pylist()
    assert found == [{"n": 2}]
    asked = [unquote(path) for path in proxy.requests]
    assert not [path for path in asked if "model=wide" in path or "dataset=cars" in path]
    assert len(asked) <= 10


@pytest.mark.parametrize(
    ("fault", "count"), [(503, 4), (500, 4), (CUT, 4), pytest.param(STALL, 1, marks=pytest.mark.slow)]
)
def test_an_upload_that_is_refused_for_a_while_succeeds(bucket, proxy, fault, count):
    """A stall takes seconds."""
    storage = Storage(f"{bucket}/store")
    proxy.times(count, fault, "PUT")
    storage.publish("part", SMALL)
    assert storage.read_bytes("part") == SMALL


def test_reads_and_listings_that_are_refused_for_a_while_succeed(bucket, proxy):
    storage = Storage(f"{bucket}/store")
    storage.publish("part", SMALL)
    for read in (
        lambda: storage.read_bytes("part") == SMALL,
        lambda: storage.list_files("") == ["part"],
    ):
        proxy.times(4, 503, "GET")
        assert read()
    proxy.times(4, 500, "HEAD")
    assert storage.kind("part") == "file"


@pytest.fixture
def stored(bucket, proxy) -> FeatureStore:
    """A store with a record and one feature set of one part, read through the proxy."""
    store = FeatureStore.create(f"{bucket}/store")
    store.publish("heads", "k", rows_table("heads", [HEAD]))
    store.write_shard(SET, 0, 1, feature_rows(0, np.ones((4, 3), np.float32)))
    store.finish(SET, 1, {})
    return store


@pytest.mark.parametrize("fault", [HALF, FLIP])
@pytest.mark.parametrize("file", ["heads/k", "manifest.json", "part-", "store.json"])
def test_a_body_that_is_damaged_on_its_way_is_read_again(stored, proxy, fault, file):
    proxy.times(1, fault, "GET", file)
    again = FeatureStore.open(stored.uri)
    assert again.read_record("heads", "k").to_pylist() == [HEAD]
    assert again.read(SET).X.sum() == 12
    assert proxy.fault("GET", file) is None, "no body was damaged"


def test_what_is_damaged_at_rest_is_said_after_a_second_look(stored, proxy):
    proxy.times(100, FLIP, "GET", "heads/k")
    before = len(proxy.requests)
    with pytest.raises(DamagedFileError, match="heads/k.parquet"):
        stored.read_record("heads", "k")
    assert sum(request.startswith("GET") for request in proxy.requests[before:]) == 2


def test_verify_blames_no_file_for_what_happened_on_its_way(stored, proxy):
    seen = Counter()

    def every_other(method: str, path: str) -> str | None:
        if method != "GET" or "list-type" in path:
            return None
        seen[path] += 1
        return FLIP if seen[path] == 1 else None

    proxy.fault = every_other
    found = [(finding.severity, finding.place) for finding in verify(stored).findings]
    assert len(seen) > 3
    assert [place for severity, place in found if severity in ("error", "unread")] == []


def test_a_small_file_is_one_put(bucket, proxy):
    """An upload in parts could be completed with half of them."""
    Storage(f"{bucket}/store").publish("part", b"x" * ONE_PUT_BYTES)
    assert [request.split("?")[0].split()[0] for request in proxy.requests] == ["PUT", "HEAD"]


@pytest.mark.parametrize("method_and_part", [("PUT", "partNumber=2"), ("POST", "?uploads"), ("POST", "?uploadId")])
def test_a_large_upload_that_fails_half_way_shows_nothing_and_succeeds_later(bucket, proxy, method_and_part):
    storage = Storage(f"{bucket}/store", {"retries": "0"})
    proxy.times(1, 500, *method_and_part)
    with pytest.raises(StoreError, match="Nothing that was already stored is lost"):
        storage.publish("part", LARGE)
    assert storage.kind("part") == "absent"
    storage.publish("part", LARGE)
    assert storage.read_bytes("part") == LARGE


def test_a_large_upload_is_tried_again_and_leaves_nothing_in_the_staging_folder(bucket, proxy):
    storage = Storage(f"{bucket}/store")
    proxy.times(1, CUT, "PUT", "partNumber=2")
    storage.publish("part", LARGE)
    assert storage.list_files("") == ["part"]


def test_a_refusal_that_lasts_fails_at_once(bucket, proxy):
    storage = Storage(f"{bucket}/store")
    proxy.times(100, 403, "PUT")
    with pytest.raises(StoreError, match="The credentials do not allow it: have them allowed, or give others"):
        storage.publish("part", SMALL)
    assert len(proxy.requests) == 1


def test_a_store_that_stays_away_ends_in_a_clear_failure(bucket, proxy):
    storage = Storage(f"{bucket}/store", {"retries": "1"})
    proxy.times(100, 503, "PUT")
    with pytest.raises(StoreError, match="SLOW_DOWN.*See to it that the place can be reached, and run the same comm"):
        storage.publish("part", SMALL)
    assert len(proxy.requests) == 2  # no try of ours is several of the S3 client's


def listings(proxy) -> list[str]:
    return [request for request in proxy.requests if "list-type" in request]


def test_a_page_of_a_listing_that_fails_is_asked_for_again_and_not_those_before_it(bucket, proxy):
    storage = Storage(f"{bucket}/store")
    names = [f"results/{i}" for i in range(8)]
    for name in names:
        storage.publish(name, SMALL)
    proxy.page_keys = 2
    assert storage.list_files("results") == names
    n_pages = len(listings(proxy))
    proxy.requests.clear()
    proxy.times(2, 503, "GET", "continuation-token")
    assert storage.list_files("results") == names
    assert (n_pages, len(listings(proxy))) == (4, 6)


def test_features_are_listed_model_by_model_and_one_that_fails_is_listed_again_alone(bucket, proxy):
    storage = Storage(f"{bucket}/store")
    names = [f"features/model={model}/tap=t/{i}" for model in "abc" for i in range(4)]
    for name in ["store.json", *names]:
        storage.publish(name, SMALL)
    proxy.page_keys = 2
    for folder, found in (("", [*names, "store.json"]), ("features", names)):
        proxy.requests.clear()
        proxy.times(1, CUT, "GET", "model%3Db")
        assert storage.list_files(folder) == found
        per_model = Counter(model for request in listings(proxy) for model in "abc" if f"model%3D{model}" in request)
        assert per_model == {"a": 2, "b": 3, "c": 2}


def test_a_listing_that_always_fails_costs_no_more_than_two_rounds_of_tries(bucket, proxy):
    storage = Storage(f"{bucket}/store", {"retries": "2"})
    proxy.times(100, 503, "GET")
    with pytest.raises(StoreError, match="SLOW_DOWN"):
        storage.list_files("results")
    assert len(listings(proxy)) == 2 * 3


@pytest.mark.slow
def test_a_study_runs_where_every_third_page_of_a_listing_fails(bucket, proxy, study_file):
    pages = count()
    proxy.page_keys = 3
    proxy.fault = lambda method, path: 503 if "list-type" in path and next(pages) % 3 == 2 else None
    arguments = ["run", study_file(1), "--local", "--store", f"{bucket}/store"]
    done = subprocess.run(
        [Path(sys.executable).parent / "probestore", *arguments], capture_output=True, text=True, check=False
    )
    assert "Computed 40 image features and 1 new cell; the study has 1." in done.stderr
    assert next(pages) > 20


def test_a_study_runs_on_s3_and_then_finds_nothing_missing(bucket, study_file):
    command = [
        Path(sys.executable).parent / "probestore",
        "run",
        study_file(1),
        "--local",
        "--store",
        f"{bucket}/store",
    ]
    first = subprocess.run(command, capture_output=True, text=True, check=False)
    assert "Computed 40 image features and 1 new cell; the study has 1." in first.stderr
    again = subprocess.run(command, capture_output=True, text=True, check=False)
    assert "Nothing is missing" in again.stderr
    with connect(f"{bucket}/store") as database:
        assert database.query("leaderboard").num_rows == 1


def test_views_sql_names_objects_as_they_are_and_says_what_it_takes(bucket):
    script = views_script(FeatureStore.create(f"{bucket}/store"))
    assert f"set variable features_files = ['{bucket}/store/_schema/features" in script
    assert "load httpfs; create secret (type s3, provider credential_chain)" in script
    assert "testing" not in script
