"""What a run will need of a bucket is tried before it begins; servers that know less are written to as they can."""

from collections.abc import Iterator

import pytest
from faulty_s3 import FaultyS3, faulty

from featurestore import FeatureStore
from featurestore.errors import StoreError
from featurestore.store.feature_store import rows_table
from featurestore.store.storage import Storage

HEAD = {"model": "m", "model_key": "k", "source_class": 0, "weight": [1.0], "bias": 0.0}


@pytest.fixture
def proxy(endpoint: str, bucket: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[FaultyS3]:
    """The endpoint behind a proxy; the variables lead there."""
    with faulty(endpoint) as proxy:
        monkeypatch.setenv("AWS_ENDPOINT_URL", proxy.endpoint)
        yield proxy


def test_a_trial_takes_few_requests_once_and_leaves_nothing(bucket, proxy):
    storage = Storage(f"{bucket}/store")
    storage.check_usable()
    assert len(proxy.requests) <= 20
    storage.check_usable()
    assert len(proxy.requests) <= 20
    assert storage.list_files("") == []


@pytest.mark.parametrize(
    ("method", "part", "message"),
    [
        ("PUT", "", "need to write a file to .* The permission s3:PutObject is missing"),
        ("GET", "list-type", "need to list the files of .* The permission s3:ListBucket is missing"),
        ("HEAD", "", "The permission s3:GetObject is missing"),
        ("DELETE", "", "need to remove a file of .* The permission s3:DeleteObject is missing"),
        ("POST", "?uploads", "need to write a file of more than 8 MiB to .* The permission s3:PutObject is missing"),
    ],
)
def test_a_permission_that_is_missing_is_named(bucket, proxy, method, part, message):
    proxy.times(1000, 403, method, part)
    with pytest.raises(StoreError, match=message):
        Storage(f"{bucket}/store").check_usable()


def test_a_store_is_not_begun_where_something_is_not_allowed(bucket, proxy):
    proxy.times(1000, 403, "POST")
    with pytest.raises(StoreError, match="s3:PutObject is missing"):
        FeatureStore.create(f"{bucket}/store")
    assert Storage(f"{bucket}/store").list_files("") == []


@pytest.mark.parametrize(
    "refusal",
    [
        (501, "NotImplemented"),
        (400, "XAmzContentSHA256Mismatch"),
        (400, "InvalidRequest"),
        (403, "SignatureDoesNotMatch"),
        (403, "AccessDenied"),
        (411, "MissingContentLength"),
    ],
)
def test_a_server_that_does_not_know_trailing_checksums_is_written_to_without_and_this_is_said(bucket, proxy, refusal):
    proxy.on_trailers = refusal
    store = FeatureStore.create(f"{bucket}/store")
    assert [remark for remark in store.storage.remarks if "does not know checksums" in remark]
    store.publish("heads", "k", rows_table("heads", [HEAD]))
    store.storage.publish("large", b"x" * (9 * 1024**2))
    assert store.storage.read_buffer("large").size == 9 * 1024**2
    proxy.requests.clear()
    other = FeatureStore.open(store.uri, storage_options=dict(store.storage_options))  # as a worker opens it
    other.publish("heads", "l", rows_table("heads", [HEAD]))
    assert [request.split()[0] for request in proxy.requests].count("PUT") == 1
    assert not other.storage.remarks


def test_a_store_that_moved_to_such_a_server_is_written_to_without(bucket, proxy):
    FeatureStore.create(f"{bucket}/store")
    proxy.on_trailers = (501, "NotImplemented")
    store = FeatureStore.open(f"{bucket}/store")
    store.publish("heads", "k", rows_table("heads", [HEAD]))
    assert len(store.storage.remarks) == 1


def test_a_wrong_secret_key_is_still_called_so(bucket, proxy):
    proxy.fault = lambda method, path: (403, "SignatureDoesNotMatch")
    storage = Storage(f"{bucket}/store")
    with pytest.raises(StoreError, match="The secret key is wrong: correct the credentials"):
        storage.publish("part", b"x")
    with pytest.raises(StoreError, match="The secret key is wrong: correct the credentials"):
        storage.kind("part")  # the answer to HEAD has no reason, so a listing is asked for one
    assert storage.remarks == []


@pytest.mark.parametrize("refusal", [(400, "ExpiredToken"), (403, "ExpiredToken"), (400, "TokenRefreshRequired")])
def test_credentials_that_have_expired_are_to_be_renewed_whatever_the_request_is(bucket, proxy, refusal):
    proxy.fault = lambda method, path: refusal
    storage = Storage(f"{bucket}/store", {"retries": "0"})
    for asked in (lambda: storage.kind("part"), lambda: storage.publish("part", b"x"), storage.check_usable):
        with pytest.raises(StoreError, match="The credentials have expired: renew them"):
            asked()


def test_the_proxy_of_the_environment_is_taken_but_for_hosts_that_it_leaves_out(bucket, proxy, monkeypatch):
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://storage.example")
    monkeypatch.setenv("HTTP_PROXY", proxy.endpoint)
    monkeypatch.setenv("NO_PROXY", "other.example")
    proxy.fault = lambda method, path: (403, "AccessDenied")
    with pytest.raises(StoreError, match="s3:ListBucket is missing"):
        Storage(f"{bucket}/store").list_files("")
    assert proxy.requests[0].startswith(f"GET http://storage.example/{bucket[5:]}")
    proxy.requests.clear()
    monkeypatch.setenv("NO_PROXY", "storage.example")
    with pytest.raises(StoreError, match="See to it that the place can be reached"):
        Storage(f"{bucket}/store", {"retries": "0"}).list_files("")
    assert not proxy.requests
