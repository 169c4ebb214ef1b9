"""timm's names of networks that lie on a hub or in a folder."""

import json

import pytest
import timm
import torch
from huggingface_hub.errors import LocalEntryNotFoundError
from safetensors.torch import load_file, save_file

from featurestore.catalogue.models import find_model
from featurestore.errors import BackboneError, UnknownNameError
from featurestore.networks import backbones, user_modules

OWN = {"input_size": [3, 64, 64], "num_classes": 7, "classifier": "fc", "first_conv": "conv1.0"}


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A network of seven classes in the folder `mine` beside a study, as timm saves it."""
    monkeypatch.setattr(user_modules, "_folders", [tmp_path])
    (tmp_path / "mine").mkdir()
    config = {"architecture": "resnet10t", "num_classes": 7, "pretrained_cfg": OWN}
    (tmp_path / "mine" / "config.json").write_text(json.dumps(config))
    torch.manual_seed(3)
    save_file(timm.create_model("resnet10t", num_classes=7).state_dict(), tmp_path / "mine" / "model.safetensors")
    return tmp_path / "mine"


def test_a_folder_beside_the_study_is_loaded_with_its_own_description(folder):
    spec = backbones.resolve(find_model("timm:local-dir:./mine"))
    assert (spec.name, spec.input_size, spec.feature_dim) == ("local-dir-.-mine", 64, 512)
    expected = timm.create_model("resnet10t", num_classes=7)  # older timm reads no safetensors of a folder
    expected.load_state_dict(load_file(folder / "model.safetensors"))
    expected.reset_classifier(0)
    expected.eval()
    images = torch.rand(2, 3, 64, 64)
    with torch.inference_mode():
        torch.testing.assert_close(backbones.build(spec)(images), expected(images), rtol=0, atol=0)
    assert backbones.head(spec)[0].shape == (7, 512)


def test_the_digest_is_that_of_the_weights_and_of_the_description(folder):
    spec = find_model("timm:local-dir:./mine")
    before = backbones.weights_digest(spec)
    (folder / "config.json").write_text((folder / "config.json").read_text() + " ")
    assert backbones.weights_digest(spec).split("+")[0] == before.split("+")[0]
    assert backbones.weights_digest(spec) != before


def test_a_folder_that_is_not_there_is_said(folder):
    with pytest.raises(BackboneError, match=r"must name a folder with config.json .* There is no nowhere/config.json"):
        backbones.resolve(find_model("timm:local-dir:nowhere"))


def test_a_hub_that_cannot_be_reached_is_said(monkeypatch):
    def offline(*_: object, **options: object) -> None:
        raise LocalEntryNotFoundError("offline")

    monkeypatch.setattr("huggingface_hub.hf_hub_download", offline)
    spec = find_model("timm:hf-hub:timm/resnet10t.c3_in1k@v1.0")
    assert spec.name == "hf-hub-timm-resnet10t.c3_in1k-v1.0"
    with pytest.raises(BackboneError, match="Cannot fetch the weights config.json of timm/resnet10t.c3_in1k@v1.0"):
        backbones.resolve(spec)


def test_a_source_that_timm_does_not_have_is_suggested():
    with pytest.raises(UnknownNameError, match="Did you mean 'hf-hub'"):
        backbones.resolve(find_model("timm:hf_hub:timm/resnet10t.c3_in1k"))
