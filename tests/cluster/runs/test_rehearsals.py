"""What can be known of a network before work starts is known before work starts."""

from __future__ import annotations

import pytest
import torch
from silent import Silent

from cluster.reporting.events import Note
from cluster.runs import rehearsals
from cluster.runs.planning import plan_study
from cluster.runs.study_run import run_study
from cluster.study.study_file import read_study


def model(name: str, backbone: str, weights: str = "none", size: int = 32) -> str:
    return f'[[model]]\nname = "{name}"\nbackbone = "{backbone}"\nweights = "{weights}"\ninput_size = {size}\n'


MISFIT = model("misfit", "python:tiny_network:build", "other.pth", 16)
TOO_ODD = model("too_odd", "timm:vit_tiny_patch16_224", size=50)


@pytest.fixture
def other_weights(tmp_path):
    torch.save(torch.nn.Conv2d(3, 4, 3).state_dict(), tmp_path / "other.pth")


@pytest.mark.slow
def test_a_model_that_cannot_work_is_named_before_work_starts_and_the_others_go_on(
    pool, study_file, store, other_weights
):
    study = read_study(study_file(1, MISFIT + TOO_ODD))
    rows = {row.model: row.problem for row in plan_study(study, None)}
    assert "belong to another architecture than tiny_network:build" in rows["misfit"]
    assert "must be a multiple of its patches' 16, such as 48 or 64" in rows["too_odd"]
    assert rows["tiny_0"] is None
    summary = run_study(study, store, pool=pool, reporter=Silent())
    assert sorted(work.model for work in summary.failures) == ["misfit", "too_odd"]
    assert (summary.counts["cells"], summary.exit_code) == (1, 1)


def test_a_study_of_which_nothing_can_work_begins_nothing(pool, study_file, store, other_weights):
    summary = run_study(read_study(study_file(0, MISFIT + TOO_ODD)), store, pool=pool, reporter=Silent())
    assert summary.exit_code == 2
    assert not store.sets()


def test_what_was_decided_about_weights_and_which_taps_are_missing_is_said(study_file, tmp_path):
    torch.manual_seed(0)
    state = {f"module.0.{name}": value for name, value in torch.nn.Conv2d(3, 8, 5).state_dict().items()}
    torch.save({"model": state}, tmp_path / "own.pth")
    more = '[extract]\ntaps = ["penultimate", "cls"]\n' + model("own", "python:tiny_network:build", "own.pth", 16)
    reporter = Silent()
    plan_study(read_study(study_file(0, more)), None, reporter=reporter)
    notes = [event.text for event in reporter.events if isinstance(event, Note)]
    assert "Model own, weights: taken from entry 'model', names under 'module.'" in notes
    assert any(
        note.startswith("Model own has no features at cls: The network has no forward_features") for note in notes
    )


def test_networks_whose_features_are_stored_are_not_rehearsed(pool, study_file, store, monkeypatch):
    study = read_study(study_file(1))
    run_study(study, store, pool=pool, reporter=Silent())

    def never(*_: object) -> None:
        raise AssertionError("rehearsed")

    monkeypatch.setattr(rehearsals, "_rehearse", never)
    assert run_study(study, store, pool=pool, reporter=Silent()).exit_code == 0
