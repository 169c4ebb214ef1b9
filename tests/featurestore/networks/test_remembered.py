"""What a node remembers of models: found out once, and anew whenever anything could have changed it."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from tiny import TINY_NETWORK

from featurestore.catalogue.models import ModelSpec
from featurestore.errors import BackboneError
from featurestore.networks import backbones, installation, rehearsal, remembered, user_modules, weights
from featurestore.networks.identity import identify, identify_all
from featurestore.networks.rehearsal import rehearse

SMALL = ModelSpec(name="small", backbone="timm:resnet10t", weights="none", input_size=64)
OTHER = ModelSpec(name="other", backbone="torchvision:resnet18", weights="none")


@pytest.fixture(autouse=True)
def node(tmp_path, monkeypatch) -> Path:
    """A node that remembers nothing, and files that have not changed for long."""
    monkeypatch.setenv("PROBESTORE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(remembered, "_SETTLED_SECONDS", -1.0)
    return tmp_path / "cache" / "models.json"


@pytest.fixture
def calls(monkeypatch) -> list[str]:
    """What is found out, and not remembered."""
    found: list[str] = []

    def count(module: Any, name: str) -> None:
        original = getattr(module, name)

        def counted(*args: Any, **options: Any) -> Any:
            found.append(name)
            return original(*args, **options)

        monkeypatch.setattr(module, name, counted)

    count(backbones.family("timm"), "resolve")
    count(backbones.family("torchvision"), "resolve")
    count(weights.hashlib, "file_digest")
    count(rehearsal, "_rehearsed")
    return found


def found_of(*specs: ModelSpec) -> list[Any]:
    return identify_all(specs, resize="squash", compute="fp32")


def test_a_network_is_laid_out_once_and_is_the_same_model(calls):
    specs = (SMALL, OTHER)
    first = found_of(*specs)
    assert calls == ["resolve", "resolve"]
    assert found_of(*specs) == first
    assert calls == ["resolve", "resolve"]
    plain = [identify(spec, resize="squash", compute="fp32") for spec in specs]
    assert plain == first
    assert [model.key for model in plain] == [model.key for model in first]
    assert {type(model.spec.mean) for model in found_of(*specs)} == {tuple}


@pytest.mark.parametrize("changed", ["versions", "_code"])
def test_other_libraries_and_other_code_of_ours_identify_anew(calls, monkeypatch, changed):
    found_of(SMALL)
    other = {**installation.versions(), "timm": "999"} if changed == "versions" else "other"
    monkeypatch.setattr(remembered, changed, lambda: other)
    found_of(SMALL)
    assert calls == ["resolve", "resolve"]


@pytest.fixture
def own(tmp_path) -> ModelSpec:
    (tmp_path / "tiny_network.py").write_text(TINY_NETWORK)
    user_modules.look_in(tmp_path)
    torch.manual_seed(0)
    spec = ModelSpec(name="own", backbone="python:tiny_network:build", weights="none", input_size=16)
    torch.save(backbones.build(spec).state_dict(), tmp_path / "own.pth")
    return ModelSpec(**{**vars(spec), "weights": str(tmp_path / "own.pth")})


def test_a_weights_file_is_read_once_and_again_when_it_has_changed_whatever_its_time(own, calls):
    (first,) = found_of(own)
    assert found_of(own) == [first]
    assert calls == ["file_digest"]
    path = Path(own.weights)
    before, content = path.stat(), path.read_bytes()
    path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    (second,) = found_of(own)
    assert second.digest != first.digest
    assert calls == ["file_digest"] * 2


def test_a_weights_file_that_has_just_been_written_is_read_again(own, calls, monkeypatch):
    monkeypatch.setattr(remembered, "_SETTLED_SECONDS", 3600.0)
    assert found_of(own) == found_of(own)
    assert calls == ["file_digest"] * 2


def test_code_beside_a_study_is_never_remembered(own, tmp_path):
    (first,) = found_of(own)
    (tmp_path / "tiny_network.py").write_text(f"{TINY_NETWORK}\n# edited\n")
    (second,) = found_of(own)
    assert second.digest != first.digest


def test_a_network_that_somebody_adds_to_timm_is_never_remembered(calls):
    def resnet10t_of_ours(pretrained: bool = False, **options: Any) -> torch.nn.Module:
        return timm.create_model("resnet10t", **options)

    resnet10t_of_ours.__module__ = "ours"
    registry = timm.models._registry
    registry._model_entrypoints["resnet10t_of_ours"] = resnet10t_of_ours
    spec = ModelSpec(name="net", backbone="timm:resnet10t_of_ours", weights="none")
    try:
        assert not backbones.is_of_libraries(spec)
        assert backbones.is_of_libraries(SMALL)
    finally:
        del registry._model_entrypoints["resnet10t_of_ours"]


def damaged(content: bytes) -> bytes:
    return content.replace(b'\\"feature_dim\\": 512', b'\\"feature_dim\\": 513')


@pytest.mark.parametrize("damage", [damaged, lambda _: b"", lambda _: b"[]", lambda content: content[:-9], None])
def test_a_damaged_memory_is_no_memory(node, calls, damage: Callable[[bytes], bytes] | None):
    first = found_of(SMALL)
    if damage is None:
        node.unlink()
    else:
        assert damage(node.read_bytes()) != node.read_bytes()
        node.write_bytes(damage(node.read_bytes()))
    assert found_of(SMALL) == first
    assert calls == ["resolve"] * 2
    assert found_of(SMALL) == first
    assert calls == ["resolve"] * 2


def test_a_node_that_may_keep_nothing_and_one_whose_cache_is_a_file_identify_as_ever(node, calls, monkeypatch):
    monkeypatch.setenv("PROBESTORE_CACHE_GB", "0")
    first = found_of(SMALL)
    assert not node.exists()
    monkeypatch.delenv("PROBESTORE_CACHE_GB")
    node.parent.write_text("")
    assert found_of(SMALL) == first
    assert len(calls) == 2


def test_what_two_runs_find_out_at_once_is_kept_of_both(calls):
    with remembered.remembering():
        found_of(SMALL)
        outer = remembered._open.pop()
        found_of(OTHER)
        remembered._open.append(outer)
    calls.clear()
    found_of(SMALL, OTHER)
    assert calls == []


def test_what_cannot_be_identified_is_found_out_again_in_its_place(calls, tmp_path):
    lost = ModelSpec(name="lost", backbone="timm:resnet10t", weights=str(tmp_path / "none.pth"))
    for _ in range(2):
        first, second, third = found_of(SMALL, lost, OTHER)
        assert (first.name, third.name) == ("small", "other")
        assert isinstance(second, BackboneError)
        assert "Cannot read the weights file" in str(second)


def test_a_rehearsal_without_a_problem_is_not_repeated_and_one_with_a_problem_is(calls):
    (model,) = found_of(SMALL)
    for taps in (("penultimate",), ("penultimate", "cls")):
        calls.clear()
        for _ in range(2):
            with remembered.remembering():
                problems = set(rehearse(model, taps).problems)
        assert problems == set(taps) - {"penultimate"}
        assert len(calls) == len(taps)


def test_the_note_about_an_accuracy_is_remembered_also_where_there_is_none(monkeypatch):
    (model,) = found_of(SMALL)
    family, asked = backbones.family("timm"), []
    monkeypatch.setattr(family, "accuracy_note", lambda spec: asked.append(spec))
    for _ in range(2):
        with remembered.remembering():
            assert backbones.accuracy_note(model.spec) is None
    assert len(asked) == 1
