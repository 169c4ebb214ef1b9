"""The same store on Google Cloud Storage: an emulator of it on loopback."""

from __future__ import annotations

import sys
import time
import urllib.request
import uuid
from collections.abc import Callable, Iterator

import pytest
from dashboards import running
from google_emulator import google_emulator
from storage_contract import StorageContract

from cluster.cli import main
from featurestore import FeatureStore
from featurestore.errors import StoreError
from featurestore.store.storage import Storage
from queries.asking.database import Database
from queries.asking.views_script import views_script
from queries.dashboard.serving import DashboardServer


@pytest.fixture(scope="module")
def emulator() -> Iterator[dict[str, str]]:
    """Storage options that lead to an emulator with the bucket ``bucket``."""
    with google_emulator() as options:
        yield options


@pytest.fixture
def uri() -> str:
    return f"gs://bucket/{uuid.uuid4().hex}/a store, 100% ünïcode"


class TestGoogleBucket(StorageContract):
    @pytest.fixture
    def storage(self, emulator: dict[str, str], uri: str) -> Storage:
        return Storage(uri, emulator)


def test_a_missing_bucket_is_a_clear_error(emulator):
    with pytest.raises(StoreError, match="There is no such bucket: make it, or correct its name"):
        FeatureStore.create("gs://nowhere/store", storage_options=emulator)


def test_an_error_of_the_client_is_an_error_of_the_store():
    """Google's client raises an error that is no OSError where it knows no better."""
    options = {"anonymous": "true", "endpoint": "127.0.0.1:9", "scheme": "nothing", "retries": "0"}
    with pytest.raises(StoreError, match="Cannot read store.json"):
        FeatureStore.open("gs://bucket/store", storage_options=options)


@pytest.fixture
def probestore(
    emulator: dict[str, str], uri: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., str]:
    """Run a command on the store in this process, which must succeed, and return what it writes."""

    def call(*words: object) -> str:
        options = [f"--storage-option={name}={value}" for name, value in emulator.items()]
        monkeypatch.setattr(sys, "argv", ["probestore", *map(str, words), "--store", uri, *options])
        code = 0
        try:
            main()
        except SystemExit as stop:
            code = int(stop.code or 0)
        said = capsys.readouterr()
        assert code == 0, said.err
        return said.out + said.err

    return call


def test_a_study_is_run_checked_asked_and_reported(probestore, emulator, uri, study_file, tmp_path):
    assert "Computed 40 image features and 1 new cell" in probestore("run", study_file(1), "--local")
    assert "no errors, no warnings" in probestore("verify")
    assert "40" in probestore("sql", "select count(*) from samples", "--format", "csv")
    probestore("report", "--out", tmp_path / "report.html")
    assert "tiny_0" in (tmp_path / "report.html").read_text()
    store = FeatureStore.open(uri, storage_options=emulator)
    assert f"'{uri}/results/" in views_script(store)
    with running(DashboardServer(store)) as server:
        cookie = urllib.request.urlopen(server.url).headers["Set-Cookie"].split(";")[0]
        page = urllib.request.Request(f"{server.url.split('?')[0]}report", headers={"Cookie": cookie})
        while not (report := urllib.request.urlopen(page).read()):  # it is being made
            time.sleep(0.2)
        assert b"tiny_0" in report
    with Database(store) as database:
        assert database.query("leaderboard").num_rows == 1
