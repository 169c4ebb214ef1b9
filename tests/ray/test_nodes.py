"""A cluster of real nodes, all on this machine; drivers are processes of their own."""

import shutil
import subprocess
import sys

from chaos import add_to_study, finish, look, lost_and_surplus, n_parts, wait_until
from locations import ROOT
from ray_cluster import killed_at_the_end


def test_a_study_runs_on_all_nodes(first_run):
    store, seen = first_run
    assert seen.nodes == 3
    assert not list((store / "_staging").iterdir())  # the token too is gone


def test_a_node_is_lost_and_another_joins(cluster, study, undisturbed, tmp_path):
    driver = cluster.driver(study, tmp_path / "store")
    with killed_at_the_end(driver):
        assert wait_until(lambda: n_parts(tmp_path / "store") >= 2, driver), driver.communicate()[1]
        cluster.remove(cluster.nodes[-1])
        cluster.add()
        said = finish(driver)
    assert "WorkerDied" not in said
    assert lost_and_surplus(tmp_path / "store", undisturbed) == (0, 0)


def test_workers_go_where_a_study_sends_them(cluster, study, undisturbed, tmp_path):
    only_special = add_to_study(study, "[cluster]\nextract = { resources = { special = 0.5 } }\n")
    finish(cluster.driver(only_special, tmp_path / "store"))
    assert look(study).nodes == 1
    assert lost_and_surplus(tmp_path / "store", undisturbed) == (0, 0)


def test_a_driver_can_be_a_client_without_a_node_of_its_own(cluster, study, undisturbed, tmp_path):
    shutil.copytree(undisturbed, tmp_path / "store")
    for lost in (tmp_path / "store").glob("features/model=slow_1/**/part-00000-*"):
        lost.with_name("manifest.json").unlink()
        lost.unlink()
    finish(cluster.driver(study, tmp_path / "store", address=f"ray://127.0.0.1:{cluster.client_port}"))
    assert lost_and_surplus(tmp_path / "store", undisturbed) == (0, 0)


def test_what_no_node_has_is_said_before_work_starts(cluster, study, tmp_path):
    greedy = add_to_study(study, "[cluster]\nextract = { gpus = 2, cpus = 1 }\n")
    said = finish(cluster.driver(greedy, tmp_path / "store"), code=2)
    assert "No node can carry a worker for features, which asks for 1 CPU, 2 GPUs." in said
    assert "2 nodes of 1 CPU;" in said
    assert n_parts(tmp_path / "store") == 0


def test_a_node_that_does_not_see_the_store_is_named_and_gets_no_work(cluster, study, undisturbed, tmp_path):
    (tmp_path / "mine").mkdir()
    store = tmp_path / "mine" / "store"
    cluster.add(hide=tmp_path / "mine")
    said = finish(cluster.driver(study, store))
    assert f"No work for nodes that cannot read what this machine writes to {store}" in " ".join(said.split())
    assert said.count("(the file is not there)") == 1
    assert look(study).nodes <= 3
    assert lost_and_surplus(store, undisturbed) == (0, 0)


def test_a_node_with_a_broken_installation_is_named_and_gets_no_work(cluster, study, undisturbed, tmp_path):
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "torch.py").write_text("raise ImportError('libcudart.so.13 is not there')")
    cluster.remove(cluster.nodes[-1])
    bad = cluster.add(env={"PYTHONPATH": str(tmp_path / "broken")}, cpus=2)
    said = " ".join(finish(cluster.driver(study, tmp_path / "store")).split())
    cluster.remove(bad)
    assert said.count("torch cannot be imported (ImportError: libcudart.so.13 is not there)") == 1
    assert "FAILED" not in said
    assert lost_and_surplus(tmp_path / "store", undisturbed) == (0, 0)


def test_a_store_that_no_node_sees_ends_a_run_before_work_starts(cluster, study, tmp_path):
    (tmp_path / "mine").mkdir()
    for node in list(cluster.nodes):
        cluster.remove(node)
    cluster.add(hide=tmp_path / "mine")
    said = finish(cluster.driver(study, tmp_path / "mine" / "store"), code=2)
    assert "Every node must see the same store" in said
    assert str(tmp_path / "mine" / "store") in said
    assert said.count("(the file is not there)") == 1
    assert n_parts(tmp_path / "mine" / "store") == 0


def test_a_node_that_does_not_see_the_images_is_named_and_the_others_do_its_work(cluster, undisturbed, study, tmp_path):
    cluster.add(hide=study.parent / "images")
    said = finish(cluster.driver(study, tmp_path / "store"))
    assert said.count("failed at dataset pets") == 1
    assert "FAILED" not in said
    assert lost_and_surplus(tmp_path / "store", undisturbed) == (0, 0)


def test_nodes_are_compared_before_work_starts(cluster, study, tmp_path):
    cluster.add(hide=study.parent / "images")
    command = [sys.executable, "-m", "cluster.cli", "cluster", "check", str(study), "--address", cluster.address]
    done = subprocess.run([*command, "--format", "csv"], capture_output=True, text=True, cwd=ROOT, env=cluster.env)
    assert done.returncode == 1, done.stderr
    states = [line.split(",")[1] for line in done.stdout.splitlines()[2:]]
    assert sorted(states) == ["as here"] * 3 + ["cannot work"]
    assert done.stderr.count("cannot work: dataset pets") == 1
