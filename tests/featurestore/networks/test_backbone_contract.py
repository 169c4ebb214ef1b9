"""Every file of featurestore/networks/backbones, under one contract."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from backbone_contract import BackboneContract
from tiny import TINY_NETWORK

from featurestore import registry
from featurestore.catalogue.models import ModelSpec, find_model
from featurestore.networks import backbones

FAMILIES: dict[str, type[BackboneContract]] = {}


def of(family: str):
    """Name the family that a class tests."""

    def note(tests: type[BackboneContract]) -> type[BackboneContract]:
        FAMILIES[family] = tests
        return tests

    return note


@of("python")
class TestPython(BackboneContract):
    @pytest.fixture
    def spec(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ModelSpec]:
        (tmp_path / "tiny_network.py").write_text(TINY_NETWORK)
        monkeypatch.syspath_prepend(tmp_path)
        yield ModelSpec(name="tiny", backbone="python:tiny_network:build", weights="none", input_size=16)
        sys.modules.pop("tiny_network", None)


@of("timm")
class TestTimm(BackboneContract):
    @pytest.fixture
    def spec(self) -> ModelSpec:
        return ModelSpec(name="small", backbone="timm:mobilenetv3_small_050", weights="none", input_size=64)


@of("torchvision")
class TestTorchvision(BackboneContract):
    @pytest.fixture
    def spec(self) -> ModelSpec:
        return ModelSpec(name="small", backbone="torchvision:mobilenet_v3_small", weights="none", input_size=64)


@of("packaged")
class TestPackaged(BackboneContract):
    @pytest.fixture
    def spec(self) -> ModelSpec:
        return find_model("mobilenet_v2")


def test_every_family_is_held_to_the_contract():
    assert sorted(FAMILIES) == registry.names(backbones)
