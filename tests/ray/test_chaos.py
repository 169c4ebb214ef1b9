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
)
from ray_cluster import killed_at_the_end
from seeds import seeds


def test_a_driver_is_killed_and_started_again_with_another_number_of_nodes(cluster, study, undisturbed, tmp_path):
    driver = cluster.driver(study, tmp_path / "store")
    with killed_at_the_end(driver):
        assert wait_until(lambda: n_parts(tmp_path / "store") >= 3, driver), driver.communicate()[1]
    cluster.add()
    finish(cluster.driver(study, tmp_path / "store"))
    assert lost_and_surplus(tmp_path / "store", undisturbed) == (0, 0)


def test_two_drivers_fill_one_store(cluster, study, undisturbed, tmp_path):
    modest = add_to_study(study, "[cluster]\nextract = { max_workers = 1 }\nprobe = { max_workers = 1 }\n")
    drivers = [cluster.driver(modest, tmp_path / "store") for _ in range(2)]
    with killed_at_the_end(*drivers):
        for driver in drivers:
            finish(driver)
    assert lost_and_surplus(tmp_path / "store", undisturbed) == (0, 0)


@pytest.mark.parametrize("seed", seeds(1, 8))
def test_random_kills_lose_nothing_and_repeat_little(cluster, study, undisturbed, first_run, tmp_path, seed):
    disturbance = disturb(cluster, study, tmp_path / "store", seed=seed, n_kills=2)
    assert lost_and_surplus(tmp_path / "store", undisturbed) == (0, 0)
    assert look(study).repeated(first_run[1]) <= disturbance.shards_at_risk * SHARD_IMAGES * N_MODELS
