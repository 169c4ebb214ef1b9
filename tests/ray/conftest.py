"""One cluster of real nodes for all tests of Ray, and the store that an undisturbed run on it makes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from chaos import Seen, finish, look, write_study
from ray_cluster import RayCluster

from cluster.pool.ray_pool import RayPool

NODES = ({"special": 1.0}, {}, {})
"""What each node has beside its one CPU."""


@pytest.fixture(scope="session")
def whole_cluster() -> Iterator[RayCluster]:
    """Bringing it up takes half a minute."""
    with RayCluster() as cluster:
        yield cluster


@pytest.fixture
def cluster(whole_cluster: RayCluster) -> RayCluster:
    """Three nodes of one CPU, whatever earlier tests did to them; one of them has something that the others lack."""
    whole_cluster.restore(NODES)
    return whole_cluster


@pytest.fixture(scope="session")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two networks that take their time over forty images."""
    return write_study(tmp_path_factory.mktemp("study"), seconds=0.05)


@pytest.fixture(scope="session")
def first_run(whole_cluster: RayCluster, study: Path) -> tuple[Path, Seen]:
    """The store of a run in which nothing happens, and what networks saw in it."""
    whole_cluster.restore(NODES)
    store = study.parent / "undisturbed"
    finish(whole_cluster.driver(study, store))
    return store, look(study)


@pytest.fixture
def undisturbed(first_run: tuple[Path, Seen], study: Path) -> Path:
    """The store that every other one is compared with; what networks saw until now is forgotten."""
    look(study)
    return first_run[0]


@pytest.fixture(scope="session")
def ray_pool() -> Iterator[RayPool]:
    """Ray as it is started where no address is given, for the tests that need no nodes to be lost."""
    with RayPool() as pool:
        yield pool
