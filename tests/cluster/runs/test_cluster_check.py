"""Nodes are compared with this machine; what differs is marked, and what keeps one from work is said."""

from __future__ import annotations

from pathlib import Path

import pytest

from cluster.pool.node_facts import Facts, Needs, facts
from cluster.pool.store_token import Seen, other_versions
from cluster.runs import cluster_check
from cluster.runs.cluster_check import check_cluster
from featurestore.catalogue.datasets import DatasetSpec
from featurestore.networks.installation import versions


def test_what_a_study_needs_and_a_machine_lacks_is_a_problem_by_name(tmp_path: Path) -> None:
    pets = DatasetSpec(name="pets", source=f"image_folder:{tmp_path / 'pets'}")
    (tmp_path / "net.pth").write_bytes(b"weights")
    weights = (("net", str(tmp_path / "net.pth")), ("other", str(tmp_path / "other.pth")))
    found = facts(Needs(datasets=(pets,), weights=weights, store=str(tmp_path / "nowhere")))
    assert found.values["weights of net"].startswith("sha256:")
    assert [problem.split(":")[0] for problem in found.problems] == ["dataset pets", "weights of other", "store"]
    assert found.values["torch"] == versions()["torch"]


@pytest.fixture
def nodes(monkeypatch: pytest.MonkeyPatch) -> None:
    """This machine, a node like it, one with another timm, one that says that it cannot work, and one that is mute."""
    here = Facts({"timm": "1.0.31", "dataset pets": "ab" * 16}, {"devices": ""}, ())
    other = Facts({**here.values, "timm": "9.9.9"}, here.room, ())
    unfit = Facts({**here.values, "dataset pets": "cannot be used"}, here.room, ("dataset pets: no image.",))
    mute = Facts({}, {}, ("no answer within 120 seconds",))
    found = {"a": here, "b": other, "c": unfit, "d": mute}
    monkeypatch.setattr(cluster_check, "gathered", lambda *_: (here, found))


@pytest.mark.usefixtures("nodes")
def test_what_differs_is_marked_and_listed() -> None:
    table, said, fit = check_cluster("auto", Needs(), print)
    assert table["state"].to_pylist() == ["", "as here", "differs", "cannot work", "cannot work"]
    assert table["timm"].to_pylist() == ["1.0.31", "1.0.31", "9.9.9 *", "1.0.31", ""]
    assert said == [
        "c cannot work: dataset pets: no image.",
        "d cannot work: no answer within 120 seconds",
        "timm: 9.9.9 on b; 1.0.31 on this machine.",
        "dataset pets: cannot be used on c; abababababab on this machine.",
    ]
    assert not fit


def test_a_run_names_every_library_that_nodes_have_in_another_version_once() -> None:
    timm = {**versions(), "timm": "9.9.9"}
    (said,) = other_versions(
        {"a": Seen(None, timm), "b": Seen(None, timm), "c": Seen(None, versions()), "d": Seen("x")}
    )
    assert said.startswith(f"timm 9.9.9 on a, b, and {versions()['timm']} on this machine.")
