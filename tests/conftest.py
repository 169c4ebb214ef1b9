"""What many tests need: a folder of images, a store, a study over them, one Ray."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from given import Given, Rows
from tiny import TINY_NETWORK, save_images

from cluster.pool.local_pool import LocalPool
from cluster.pool.ray_pool import RayPool
from featurestore import FeatureStore
from featurestore.catalogue.datasets import DatasetSpec
from featurestore.catalogue.models import ModelSpec
from featurestore.store.feature_store import rows_table
from queries.asking.database import Database


@pytest.fixture(scope="session", autouse=True)
def cache_folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Nobody's real cache is touched: the variable is set before Ray starts, and its workers inherit it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PROBESTORE_CACHE", str(tmp_path_factory.mktemp("cache")))
        patch.delenv("PROBESTORE_CACHE_GB", raising=False)
        yield


@pytest.fixture
def given(tmp_path: Path) -> Iterator[Given]:
    """Returns a database over the rows given per table."""
    opened: list[Database] = []

    def make(**tables: Rows) -> Database:
        store = FeatureStore.create(str(tmp_path / f"store{len(opened)}"))
        for table, rows in tables.items():
            store.publish(table, "given", rows_table(table, rows))
        opened.append(Database(store))
        return opened[-1]

    yield make
    for database in opened:
        database.close()


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
def store(tmp_path: Path) -> FeatureStore:
    return FeatureStore.create(str(tmp_path / "store"))


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


@pytest.fixture(scope="session")
def ray_pool() -> Iterator[RayPool]:
    """One Ray, and the same workers, for all tests that test it."""
    with RayPool() as pool:
        yield pool
