"""Kill anything, in any order: the finished store is that of an undisturbed run. The long form is bench_chaos.py."""

import pytest
from chaos import (
    N_MODELS,
    SHARD_IMAGES,
    add_to_study,
    disturb,
    finish,
    look,
    lost_and_surplus,
    n_parts,
    wait_until,
    write_study,
)
from ray_cluster import RayCluster, killed_at_the_end

pytestmark = [pytest.mark.ray, pytest.mark.slow]


@pytest.fixture(scope="module")
def cluster():
    """Two nodes of one CPU."""
    with RayCluster() as cluster:
        cluster.add()
        cluster.add()
        yield cluster


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    return write_study(tmp_path_factory.mktemp("study"), seconds=0.05)


@pytest.fixture(scope="module")
def undisturbed(cluster, study):
    """The store that every other one is compared with, and what networks saw of it."""
    store = study.parent / "undisturbed"
    finish(cluster.driver(study, store))
    return store, look(study)


def test_a_driver_is_killed_and_started_again_with_another_number_of_nodes(cluster, study, undisturbed, tmp_path):
    driver = cluster.driver(study, tmp_path / "store")
    with killed_at_the_end(driver):
        assert wait_until(lambda: n_parts(tmp_path / "store") >= 3, driver), driver.communicate()[1]
    cluster.add()
    finish(cluster.driver(study, tmp_path / "store"))
    cluster.remove(cluster.nodes[-1])
    assert lost_and_surplus(tmp_path / "store", undisturbed[0]) == (0, 0)


def test_two_drivers_fill_one_store(cluster, study, undisturbed, tmp_path):
    modest = add_to_study(study, "[cluster]\nextract = { max_workers = 1 }\nprobe = { max_workers = 1 }\n")
    drivers = [cluster.driver(modest, tmp_path / "store") for _ in range(2)]
    with killed_at_the_end(*drivers):
        for driver in drivers:
            finish(driver)
    assert lost_and_surplus(tmp_path / "store", undisturbed[0]) == (0, 0)


@pytest.mark.parametrize("seed", range(2))
def test_random_kills_lose_nothing_and_repeat_little(cluster, study, undisturbed, tmp_path, seed):
    look(study)
    disturbance = disturb(cluster, study, tmp_path / "store", seed=seed, n_kills=2)
    store, seen = undisturbed
    assert lost_and_surplus(tmp_path / "store", store) == (0, 0)
    assert look(study).repeated(seen) <= disturbance.shards_at_risk * SHARD_IMAGES * N_MODELS
