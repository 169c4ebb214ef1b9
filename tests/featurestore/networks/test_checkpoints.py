"""Weights files as people have them: wrapped, with other classes or none, of other input sizes."""

import argparse
import pathlib
import random
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
import torchvision
from safetensors.torch import save_file
from torch import nn

from featurestore.catalogue.models import ModelSpec
from featurestore.errors import BackboneError
from featurestore.networks import backbones
from featurestore.networks.checkpoint_file import read_checkpoint

pytestmark = pytest.mark.slow  # all together they take longer than make quick has time for

CODE = """
import torchvision
import torch

def build():
    network = torchvision.models.mobilenet_v3_small()
    network.classifier[3] = torch.nn.Identity()
    return network

class Wrapped(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.features_of = build()

    def forward(self, images):
        return self.features_of(images)

def wrapped():
    return Wrapped()
"""
FAMILIES = {
    "timm:mobilenetv3_small_050": lambda n: timm.create_model("mobilenetv3_small_050", num_classes=n),
    "torchvision:mobilenet_v3_small": lambda n: torchvision.models.mobilenet_v3_small(num_classes=n),
    "packaged:mobilenet_v2": lambda n: timm.create_model("mobilenetv2_100", num_classes=n),
    "python:own_network:build": lambda n: torchvision.models.mobilenet_v3_small(num_classes=n),
    "python:own_network:wrapped": lambda n: torchvision.models.mobilenet_v3_small(num_classes=n),
}


@pytest.fixture(autouse=True)
def own_network(tmp_path, monkeypatch):
    (tmp_path / "own_network.py").write_text(CODE)
    monkeypatch.syspath_prepend(tmp_path)


@pytest.fixture(scope="module")
def networks() -> dict[str, nn.Module]:
    """A network of seven classes for each family, whose weights are not those of any seed."""
    torch.manual_seed(99)
    return {backbone: make(7) for backbone, make in FAMILIES.items()}


def head_names(network: nn.Module) -> set[str]:
    last = [name for name, module in network.named_modules() if isinstance(module, nn.Linear)][-1]
    return {f"{last}.weight", f"{last}.bias"}


def in_prefix(state: dict, prefix: str) -> dict:
    return {f"{prefix}{name}": value for name, value in state.items()}


def spec_of(backbone: str, path: Path) -> ModelSpec:
    return ModelSpec(name="net", backbone=backbone, weights=str(path), input_size=32)


def same_tensors(network: nn.Module, whole: nn.Module) -> bool:
    """Whether all tensors of a network without classifier are those of the whole one, in their order."""
    found, wanted = list(network.state_dict().values()), list(whole.state_dict().values())
    return all(torch.equal(one, other) for one, other in zip(found, wanted, strict=False))


PREFIXES = ["", "module.", "_orig_mod.", "model.", "backbone.", "model.module._orig_mod.", "student.net."]
ENTRIES = [None, "state_dict", "model", "model_state_dict", "model_ema", "weights_of_mine"]


@pytest.mark.slow
@pytest.mark.parametrize("backbone", FAMILIES)
def test_every_family_loads_what_training_scripts_save(backbone, networks, tmp_path):
    """Whatever prefix, entry and classifier: the network has exactly the tensors that were saved."""
    whole, draw = networks[backbone], random.Random(backbone)
    for number in range(5):
        prefix, entry, head = draw.choice(PREFIXES), draw.choice(ENTRIES), draw.choice([True, False])
        state = {name: x for name, x in whole.state_dict().items() if head or name not in head_names(whole)}
        state = in_prefix(state, prefix)
        if prefix.startswith("model."):
            state["criterion.weight"] = torch.zeros(7)
        content = state if entry is None else {entry: state, "epoch": 3, "loss": torch.tensor(0.5)}
        torch.save(content, path := tmp_path / f"{number}.pth")
        spec = backbones.resolve(spec_of(backbone, path))
        assert same_tensors(backbones.build(spec), whole), (prefix, entry, head)
        said = " ".join(backbones.notes(spec))
        assert (entry or "") in said
        assert ("criterion.weight" in said) == ("criterion.weight" in state)


@pytest.mark.parametrize("backbone", ["timm:mobilenetv3_small_050", "torchvision:mobilenet_v3_small"])
def test_the_classifier_of_a_checkpoint_is_that_of_its_own_classes(backbone, networks, tmp_path):
    state = networks[backbone].state_dict()
    torch.save(in_prefix(state, "module."), path := tmp_path / "net.pth")
    weight, bias = backbones.head(backbones.resolve(spec_of(backbone, path)))
    name = min(head_names(networks[backbone]), key=len).removesuffix(".bias")
    assert weight.shape == (7, 1024)
    assert torch.equal(torch.from_numpy(bias), state[f"{name}.bias"])


def test_objects_of_a_training_script_beside_the_weights_are_not_run(networks, tmp_path):
    state = networks["timm:mobilenetv3_small_050"].state_dict()
    extra = {"args": argparse.Namespace(lr=0.1, out=pathlib.PurePosixPath("out")), "optimizer": {"state": {}}}
    torch.save({"model": state, **extra}, path := tmp_path / "net.pth")
    spec = backbones.resolve(spec_of("timm:mobilenetv3_small_050", path))
    assert same_tensors(backbones.build(spec), networks["timm:mobilenetv3_small_050"])
    assert "args (an object of argparse.Namespace)" in read_checkpoint(path).what


def test_a_file_that_asks_for_code_is_refused_by_the_name_of_the_code(tmp_path):
    class Malicious:
        def __reduce__(self):
            return eval, ("1",)

    torch.save({"model": {"weight": torch.zeros(1)}, "args": Malicious()}, path := tmp_path / "net.pth")
    with pytest.raises(BackboneError, match="asks for builtins.eval to be run"):
        read_checkpoint(path)


def test_a_whole_network_that_was_pickled_is_called_so(tmp_path):
    torch.save(torchvision.models.squeezenet1_1(), path := tmp_path / "net.pth")
    with pytest.raises(BackboneError, match=r"a whole object \(torchvision.models.squeezenet.SqueezeNet\)"):
        read_checkpoint(path)


@pytest.mark.parametrize(
    ("change", "what"),
    [
        (lambda x: (100 * x).to(torch.int8), "int8"),
        (lambda x: torch.complex(x, x), "complex64"),
        (lambda x: torch.quantize_per_tensor(x, 0.01, 0, torch.qint8), "qint8"),
        (lambda x: x.to_sparse(), "sparse float32"),
    ],
)
@pytest.mark.filterwarnings("ignore:.*quantized tensor creation")
def test_tensors_that_are_no_floating_point_numbers_are_not_put_where_weights_are(change, what, networks, tmp_path):
    state = networks["timm:mobilenetv3_small_050"].state_dict()
    content = {name: change(value) if value.ndim == 4 else value for name, value in state.items()}
    torch.save(content, path := tmp_path / "net.pth")
    with pytest.raises(BackboneError, match=rf"not of plain floating-point numbers \(conv_stem.weight is {what}\)"):
        backbones.build(backbones.resolve(spec_of("timm:mobilenetv3_small_050", path)))


@pytest.mark.parametrize("kind", [torch.float16, torch.bfloat16, torch.float64])
def test_floating_point_numbers_of_other_sizes_are_loaded(kind, networks, tmp_path):
    whole = networks["timm:mobilenetv3_small_050"]
    state = {name: x.to(kind) if x.is_floating_point() else x for name, x in whole.state_dict().items()}
    torch.save(state, path := tmp_path / "net.pth")
    network = backbones.build(backbones.resolve(spec_of("timm:mobilenetv3_small_050", path)))
    assert torch.equal(network.conv_stem.weight, state["conv_stem.weight"].float())


def test_safetensors_are_known_by_their_content(networks, tmp_path):
    save_file(networks["timm:mobilenetv3_small_050"].state_dict(), path := tmp_path / "net.pth")
    assert len(read_checkpoint(path).states[""]) == len(networks["timm:mobilenetv3_small_050"].state_dict())


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "it is empty"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:ab\n", "a pointer of Git LFS.*git lfs pull"),
        (b"<!DOCTYPE html><html>404", "a page of HTML"),
        (b"\x93NUMPY\x01\x00", "arrays of numpy"),
        (b"a text of somebody", "not a file of tensors that torch.save wrote"),
    ],
)
@pytest.mark.parametrize("name", ["net.pth", "net.safetensors"])
def test_a_file_of_another_kind_is_called_by_its_kind_and_nobody_is_told_to_run_it(name, content, message, tmp_path):
    (tmp_path / name).write_bytes(content)
    cause = message if name == "net.pth" or "torch.save" not in message else "."
    with pytest.raises(BackboneError, match=f"Cannot read weights from .*{cause}") as caught:
        read_checkpoint(tmp_path / name)
    assert "weights_only" not in str(caught.value)


def test_a_program_of_torchscript_and_an_archive_of_numpy_are_called_so(tmp_path):
    with zipfile.ZipFile(tmp_path / "script.pth", "w") as file:
        file.writestr("net/constants.pkl", b"")
        file.writestr("net/data.pkl", b"")
    np.savez(tmp_path / "net.npz", weight=np.zeros(3))
    for name, kind in (("script.pth", "a TorchScript program"), ("net.npz", "arrays of numpy")):
        with pytest.raises(BackboneError, match=kind):
            read_checkpoint(tmp_path / name)


def test_what_does_not_fit_is_counted_both_ways_and_the_file_is_described(networks, tmp_path):
    content = {"state_dict": networks["packaged:mobilenet_v2"].state_dict(), "pytorch-lightning_version": "2.5"}
    torch.save(content, path := tmp_path / "net.ckpt")
    with pytest.raises(BackboneError) as caught:
        backbones.build(backbones.resolve(spec_of("timm:resnet10t", path)))
    message = str(caught.value)
    assert "names missing (" in message
    assert "names unexpected (" in message
    assert "The file is a Lightning checkpoint with the entries state_dict (314 tensors)" in message
    assert "\x1b" not in message


def test_a_head_that_a_users_network_has_no_place_for_is_not_dropped(tmp_path):
    (tmp_path / "own_network.py").write_text("import torch\ndef build():\n    return torch.nn.Conv2d(3, 4, 3)\n")
    torch.save({**nn.Conv2d(3, 4, 3).state_dict(), "fc.weight": torch.zeros(2, 4)}, path := tmp_path / "net.pth")
    with pytest.raises(BackboneError, match=r"1 name unexpected \(fc\.weight\)"):
        backbones.build(backbones.resolve(spec_of("python:own_network:build", path)))


# ---- several networks in one file -------------------------------------------------------------------------------


def test_of_weights_and_their_average_the_plain_ones_are_taken_and_it_is_said(networks, tmp_path):
    whole = networks["timm:mobilenetv3_small_050"]
    average = {name: value + 1 for name, value in whole.state_dict().items()}
    torch.save({"state_dict_ema": average, "state_dict": whole.state_dict()}, path := tmp_path / "net.pth.tar")
    spec = backbones.resolve(spec_of("timm:mobilenetv3_small_050", path))
    assert same_tensors(backbones.build(spec), whole)
    assert "not those of entry 'state_dict_ema', which would fit as well" in " ".join(backbones.notes(spec))


@pytest.mark.parametrize("nested", [True, False])
def test_of_two_networks_that_differ_none_is_guessed(nested, networks, tmp_path):
    state = networks["timm:mobilenetv3_small_050"].state_dict()
    both = {"student": state, "teacher": {name: value + 1 for name, value in state.items()}}
    flat = {f"{place}.{name}": value for place, own in both.items() for name, value in own.items()}
    torch.save(both if nested else flat, path := tmp_path / "net.pth")
    spec = backbones.resolve(spec_of("timm:mobilenetv3_small_050", path))
    with pytest.raises(BackboneError, match="several networks that fit, and they differ: .*student.*teacher") as caught:
        backbones.build(spec)
    advice = str(caught.value).split("alone, as ")[1].split(" does, and")[0]
    with pytest.MonkeyPatch.context() as patch:  # the advice can be followed
        patch.chdir(tmp_path)
        exec(advice, {"torch": torch})
    assert same_tensors(
        backbones.build(replace(spec, weights=str(tmp_path / "weights.pth"))), networks["timm:mobilenetv3_small_050"]
    )


# ---- input sizes ------------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::UserWarning:timm.layers")
@pytest.mark.parametrize("name", ["vit_tiny_patch16_224", "swin_tiny_patch4_window7_224", "eva02_tiny_patch14_224"])
def test_a_transformer_at_another_size_is_what_timm_makes_of_it(name, tmp_path):
    torch.manual_seed(5)
    size = 56
    torch.save(timm.create_model(name, img_size=112).state_dict(), path := tmp_path / "net.pth")
    overlay = {"file": str(path), "hf_hub_id": None}
    options = {"pretrained": True, "pretrained_cfg_overlay": overlay, "num_classes": 0}
    if name.startswith("vit"):
        size = 48
    expected = timm.create_model(name, img_size=size, **options).eval()
    spec = backbones.resolve(ModelSpec(name="net", backbone=f"timm:{name}", weights=str(path), input_size=size))
    images = torch.rand(2, 3, size, size)
    with torch.inference_mode():
        torch.testing.assert_close(backbones.build(spec)(images), expected(images), rtol=0, atol=0)


@pytest.mark.slow
def test_a_transformer_of_torchvision_is_resampled_as_torchvision_does(tmp_path):
    from torchvision.models.vision_transformer import interpolate_embeddings

    torch.manual_seed(5)
    make = torchvision.models.vit_b_16
    state = make(image_size=64).state_dict()
    torch.save(state, path := tmp_path / "net.pth")
    expected = make(image_size=48).eval()
    expected.load_state_dict(interpolate_embeddings(48, 16, state))
    expected.heads = nn.Identity()
    spec = backbones.resolve(ModelSpec(name="net", backbone="torchvision:vit_b_16", weights=str(path), input_size=48))
    images = torch.rand(1, 3, 48, 48)
    with torch.inference_mode():
        torch.testing.assert_close(backbones.build(spec)(images), expected(images), rtol=0, atol=0)


@pytest.mark.parametrize(
    ("backbone", "size", "message"),
    [
        ("timm:vit_tiny_patch16_224", 98, "must be a multiple of its patches' 16, such as 96 or 112"),
        ("timm:levit_128s", 100, "cannot take images of 100 pixels"),
        ("timm:maxvit_tiny_tf_224", 98, "must be divisible by window"),
        ("torchvision:vit_b_16", 100, "indivisible by patch size"),
        ("torchvision:maxvit_t", 100, "cannot take images of 100 pixels"),
    ],
)
def test_a_size_that_a_network_cannot_take_is_refused_without_loading_it(backbone, size, message):
    with pytest.raises(BackboneError, match=message):
        backbones.resolve(ModelSpec(name="net", backbone=backbone, weights="none", input_size=size))


def test_a_transformer_that_takes_any_size_without_a_word_gets_its_tables_resampled(tmp_path):
    torch.manual_seed(1)
    torch.save(timm.create_model("mvitv2_tiny", num_classes=0).state_dict(), path := tmp_path / "net.pth")
    network = backbones.build(backbones.resolve(replace(spec_of("timm:mvitv2_tiny", path), input_size=96)))
    overlay = {"file": str(path), "source": "", "hf_hub_id": None}
    own = timm.create_model(
        "mvitv2_tiny", num_classes=0, img_size=96, pretrained=True, pretrained_cfg_overlay=overlay
    ).eval()
    images = torch.rand(2, 3, 96, 96)
    with torch.inference_mode():
        torch.testing.assert_close(network(images), own(images))
    digests = {
        size: backbones.weights_digest(replace(spec_of("timm:mvitv2_tiny", path), input_size=size))
        for size in (96, 224)
    }
    assert digests[96] == f"{digests[224]}+img_size:96"


def test_tensors_that_timm_does_not_resample_are_refused(tmp_path):
    torch.save(timm.create_model("levit_128s").state_dict(), path := tmp_path / "net.pth")
    spec = ModelSpec(name="net", backbone="timm:levit_128s", weights=str(path), input_size=160)
    with pytest.raises(BackboneError, match="tensors of another shape|size mismatch"):
        backbones.build(backbones.resolve(spec))
