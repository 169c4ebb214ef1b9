"""The head of a cluster is killed while a study runs."""

import time

from chaos import n_parts, wait_until, write_study
from ray_cluster import RayCluster, killed_at_the_end


def test_a_run_ends_soon_after_the_head_of_its_cluster(tmp_path):
    study, store = write_study(tmp_path / "study", seconds=1.0), tmp_path / "store"
    with RayCluster() as cluster:
        cluster.add()
        driver = cluster.driver(study, store)
        with killed_at_the_end(driver):
            assert wait_until(lambda: n_parts(store) >= 1, driver), driver.communicate()[1]
            cluster.head.stop()
            begin = time.monotonic()
            _, said = driver.communicate(timeout=60)
    assert time.monotonic() - begin < 20, said
    assert driver.returncode == 2
    assert "is lost: its head answers no more" in said
    assert not list((store / "_staging").glob("token-*"))
