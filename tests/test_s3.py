"""The same store on an object store: a real S3 endpoint on loopback."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import boto3
import numpy as np
import pytest
from moto.server import ThreadedMotoServer
from test_store import SET, feature_rows

from featurestore import FeatureStore
from featurestore.errors import StoreError
from queries.database import connect


@pytest.fixture(scope="module")
def endpoint() -> Iterator[str]:
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture
def bucket(endpoint, monkeypatch, tmp_path) -> str:
    """URI of an empty bucket; the usual AWS variables say where and who."""
    for name, value in {
        "AWS_ENDPOINT_URL": endpoint,
        "AWS_REGION": "us-east-1",
        "AWS_ACCESS_KEY_ID": "testing",
        "AWS_SECRET_ACCESS_KEY": "testing",
        "AWS_EC2_METADATA_DISABLED": "true",
    }.items():
        monkeypatch.setenv(name, value)
    name = tmp_path.name.replace("_", "-").lower()
    boto3.client("s3", endpoint_url=endpoint, region_name="us-east-1").create_bucket(Bucket=name)
    return f"s3://{name}"


def test_a_store_on_s3_reads_back_what_was_written(bucket):
    store = FeatureStore.create(f"{bucket}/store")
    X = np.random.default_rng(0).normal(size=(5, 4)).astype(np.float16)
    store.write_shard(SET, 0, 1, feature_rows(0, X))
    assert not store.has(SET)
    store.finish(SET, 1, {})
    np.testing.assert_array_equal(FeatureStore.open(f"{bucket}/store").read(SET).X, X)
    with connect(f"{bucket}/store") as database:
        assert database.sql("select count(*) as n, sum(list_sum(feature)) as s from features").to_pylist()[0]["n"] == 5


def test_a_missing_bucket_is_a_clear_error(bucket):
    with pytest.raises(StoreError, match="nowhere"):
        FeatureStore.create("s3://nowhere/store")


@pytest.mark.ray
@pytest.mark.slow
def test_a_study_runs_on_s3_and_then_finds_nothing_missing(bucket, study_file):
    """In a process of its own, because its workers must have the variables that are set here."""
    command = [Path(sys.executable).parent / "probestore", "run", study_file(1), "--store", f"{bucket}/store"]
    first = subprocess.run(command, capture_output=True, text=True, check=False)
    assert "Computed 40 image features and 1 new cells; the study has 1." in first.stderr
    again = subprocess.run(command, capture_output=True, text=True, check=False)
    assert "Nothing is missing" in again.stderr
    with connect(f"{bucket}/store") as database:
        assert database.query("leaderboard").num_rows == 1
