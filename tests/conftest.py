"""What many tests need: a folder of images, a store, a study over them; and which test runs when."""

from __future__ import annotations

import os
import shutil
import signal
import sys
import uuid
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

# Before NumPy and PyTorch are loaded, and for all processes that tests start: there are as many of these as cores.
os.environ["OMP_NUM_THREADS"] = os.environ["OPENBLAS_NUM_THREADS"] = "1"

import pytest
from given import Given, Rows
from locations import MARKED_FOLDERS, TESTS
from published import published_store
from tiny import TINY_NETWORK, save_images

from cluster.pool.local_pool import LocalPool
from featurestore import FeatureStore
from featurestore.catalogue.datasets import DatasetSpec
from featurestore.catalogue.models import ModelSpec
from featurestore.networks import user_modules
from featurestore.store.feature_store import rows_table
from featurestore.store.storage import Storage
from queries.asking.database import Database

OPEN_DATABASES = 8

signal.signal(signal.SIGHUP, signal.SIG_DFL)  # under nohup it is ignored, also by the commands that tests start


@pytest.hookimpl(tryfirst=True)  # before -m selects by marker, and before xdist asks for groups
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark tests by their folder, and keep those of a file together; Ray goes first, because it takes longest."""
    for item in items:
        folder = item.path.relative_to(TESTS).parts[0]
        if marker := MARKED_FOLDERS.get(folder):
            item.add_marker(marker)
        # What a module makes once is made once, and there is one Ray for all that need it.
        item.add_marker(pytest.mark.xdist_group("ray" if item.get_closest_marker("ray") else str(item.path)))
    items.sort(key=lambda item: item.get_closest_marker("ray") is None)


@pytest.fixture(autouse=True)
def no_former_study() -> Iterator[None]:
    """No test finds modules in the folder of the study of another one."""
    yield
    user_modules._folders.clear()
    user_modules._instead.clear()


@pytest.fixture(scope="session", autouse=True)
def surroundings(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Nobody's real cache is touched, and no test waits for a disk; Ray's workers inherit the variables."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PROBESTORE_CACHE", str(tmp_path_factory.mktemp("cache")))
        patch.delenv("PROBESTORE_CACHE_GB", raising=False)
        patch.setenv("PROBESTORE_FSYNC", "0")
        yield


@pytest.fixture(scope="session")
def empty_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with nothing in it, to be copied: copying takes a tenth of the time of making."""
    return Path(FeatureStore.create(str(tmp_path_factory.mktemp("empty") / "store")).uri)


@pytest.fixture(scope="session")
def databases() -> Iterator[dict[str, Database]]:
    """Databases that are open, by what they were given."""
    opened: dict[str, Database] = {}
    yield opened
    for database in opened.values():
        database.close()


@pytest.fixture
def given(
    tmp_path_factory: pytest.TempPathFactory, empty_store: Path, databases: dict[str, Database]
) -> Iterator[Given]:
    """Returns a database over the rows given per table.

    It only reads, so tests that give the same rows get the same one: to open it takes longer than most questions.
    """

    def make(**tables: Rows) -> Database:
        rows = repr(sorted(tables.items()))
        if rows not in databases:
            databases[rows] = Database(_store_of(tables, empty_store, tmp_path_factory.mktemp("given") / "store"))
        return databases[rows]

    yield make
    for oldest in list(databases)[:-OPEN_DATABASES]:
        databases.pop(oldest).close()


@pytest.fixture(scope="session")
def paper(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Database]:
    """A database over the published grid; a test that asks for it is skipped where the files are not there."""
    with Database(published_store(tmp_path_factory.mktemp("paper"))) as database:
        yield database


def _store_of(tables: Mapping[str, Rows], empty_store: Path, place: Path) -> FeatureStore:
    store = FeatureStore.open(str(shutil.copytree(empty_store, place)))
    for table, rows in tables.items():
        store.publish(table, "given", rows_table(table, rows))
    return store


@pytest.fixture(scope="session")
def endpoint() -> Iterator[str]:
    """Address of a real S3 endpoint on loopback."""
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture
def bucket(endpoint: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """URI of an empty bucket; the usual AWS variables say where and who."""
    import boto3

    for name, value in {
        "AWS_ENDPOINT_URL": endpoint,
        "AWS_REGION": "us-east-1",
        "AWS_ACCESS_KEY_ID": "testing",
        "AWS_SECRET_ACCESS_KEY": "testing",
        "AWS_EC2_METADATA_DISABLED": "true",
    }.items():
        monkeypatch.setenv(name, value)
    name = f"bucket-{uuid.uuid4().hex}"
    boto3.client("s3", endpoint_url=endpoint, region_name="us-east-1").create_bucket(Bucket=name)
    return f"s3://{name}"


@pytest.fixture
def listed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The folders that stores list from now on with all that is below them."""
    folders: list[str] = []
    files = Storage.files
    monkeypatch.setattr(Storage, "files", lambda storage, folder: folders.append(folder) or files(storage, folder))
    return folders


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """Forty images in two classes, not split."""
    return save_images(tmp_path / "images", {"cats": 20, "dogs": 20})


@pytest.fixture
def image_spec(images: Path) -> DatasetSpec:
    return DatasetSpec(name="pets", source=f"image_folder:{images}", shard_images=8)


@pytest.fixture
def tiny(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., ModelSpec]]:
    """Returns models whose network is a function of TINY_NETWORK."""
    (tmp_path / "tiny_network.py").write_text(TINY_NETWORK)
    monkeypatch.syspath_prepend(tmp_path)

    def make(function: str = "build", **fields: Any) -> ModelSpec:
        fields = {"name": function, "weights": "none", "input_size": 16, **fields}
        return ModelSpec(backbone=f"python:tiny_network:{function}", **fields)

    yield make
    sys.modules.pop("tiny_network", None)


@pytest.fixture
def store(tmp_path: Path, empty_store: Path) -> FeatureStore:
    """An empty store."""
    return FeatureStore.open(str(shutil.copytree(empty_store, tmp_path / "store")))


@pytest.fixture
def study_file(tmp_path: Path, images: Path) -> Callable[..., Path]:
    """Write a study of `n_models` tiny random networks over the forty images; more TOML goes at the end."""
    (tmp_path / "tiny_network.py").write_text(TINY_NETWORK)

    def write(n_models: int = 1, more: str = "", head: str = "") -> Path:
        models = "".join(
            f'[[model]]\nname = "tiny_{seed}"\nbackbone = "python:tiny_network:build"\nweights = "none"\n'
            f"input_size = 16\nseed = {seed}\nimagenet_top1 = 0.{5 + seed}\n"
            for seed in range(n_models)
        )
        dataset = '[[dataset]]\nname = "pets"\nsource = "image_folder:images"\nshard_images = 8\n'
        path = tmp_path / "study.toml"
        path.write_text(head + models + dataset + more)
        return path

    return write


@pytest.fixture(scope="session")
def pool() -> Iterator[LocalPool]:
    """The pool in this process, and what it holds, for all tests that do not test Ray."""
    with LocalPool() as pool:
        yield pool
