import pickle
import re
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from tiny import TINY_NETWORK

from featurestore.catalogue import packaged_files
from featurestore.catalogue.models import CATALOGUE, ModelSpec, find_model
from featurestore.errors import BackboneError, UnknownNameError
from featurestore.extraction.extract import extract_shard
from featurestore.extraction.shards import Job
from featurestore.images import preprocessing
from featurestore.images.splits import Dataset
from featurestore.networks import backbones, weights
from featurestore.networks.backbones import packaged
from featurestore.networks.backbones import timm as timm_family
from featurestore.networks.extractor import Extractors
from featurestore.networks.identity import feature_set, identify
from queries.asking.database import Database


@pytest.fixture
def tiny(tmp_path, monkeypatch):
    """A record of the user's own network, its file on the path."""
    (tmp_path / "tiny_network.py").write_text(TINY_NETWORK)
    monkeypatch.syspath_prepend(tmp_path)
    yield ModelSpec(name="tiny", backbone="python:tiny_network:build", weights="none", input_size=16)
    sys.modules.pop("tiny_network", None)


def run(spec: ModelSpec) -> torch.Tensor:
    with torch.inference_mode():
        return backbones.build(spec)(torch.zeros(2, 3, spec.input_size, spec.input_size))


@pytest.mark.parametrize("spec", CATALOGUE, ids=lambda spec: spec.name)
def test_a_packaged_network_has_the_width_and_parameters_of_its_record(spec):
    resolved = backbones.resolve(spec)
    assert run(resolved).shape == (2, spec.feature_dim)
    assert sum(p.numel() for p in backbones.build(resolved).parameters()) == spec.params
    assert backbones.weights_digest(resolved).startswith("sha256:")


@pytest.mark.parametrize("name", ["mobilenet_v2", "efficientnet_lite0", "efficientnet_lite1", "efficientnet_lite2"])
@pytest.mark.slow
def test_a_packaged_network_recognises_photographs_of_imagenet(name):
    """17 or more of the 20 photographs that foolbox brings: the weights sit where they belong."""
    spec = backbones.resolve(find_model(name))
    geometry = preprocessing.for_model(spec, "crop").geometry
    folder = packaged_files.find("foolbox/data/imagenet_00_243.jpg", "foolbox==3.3.4").parent
    paths = sorted(folder.glob("imagenet_*.jpg"))
    pixels = np.stack([preprocessing.to_array(preprocessing.decode(path.read_bytes()), geometry) for path in paths])
    images = (
        torch.from_numpy(pixels).permute(0, 3, 1, 2) / 255 - torch.tensor(spec.mean).view(3, 1, 1)
    ) / torch.tensor(spec.std).view(3, 1, 1)
    with torch.inference_mode():
        found = packaged.classifier(spec).eval()(images).argmax(dim=1)
    truth = torch.tensor([int(path.stem.split("_")[2]) for path in paths])
    assert len(paths) == 20
    assert (found == truth).sum() >= 17


# ---- classifiers ------------------------------------------------------------------------------------------------


def by_head(spec: ModelSpec, images: torch.Tensor) -> torch.Tensor:
    """Logits out of features as they are stored, by the head alone."""
    weight, bias = backbones.head(spec)
    with torch.inference_mode():
        stored = backbones.build(spec)(images).half().numpy()
    return torch.from_numpy(stored.astype(np.float64) @ weight.T + bias)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["mobilenet_v2", "efficientnet_lite0"])
def test_the_head_of_a_packaged_network_says_of_features_what_the_network_says_of_images(name):
    spec = backbones.resolve(find_model(name))
    images = torch.rand(4, 3, spec.input_size, spec.input_size, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        expected = packaged.classifier(spec).eval()(images).softmax(dim=1)
    found = by_head(spec, images).softmax(dim=1)
    np.testing.assert_allclose(found, expected, atol=2e-3 * float(expected.max()))
    assert backbones.head(spec)[0].shape == (1000, 1280)


def test_a_network_without_a_classifier_has_no_head(tiny):
    assert backbones.head(backbones.resolve(find_model("mobilenet_v2_deepsort"))) is None
    assert backbones.head(backbones.resolve(tiny)) is None


@pytest.mark.slow
@pytest.mark.parametrize("family", ["timm", "torchvision"])
@pytest.mark.parametrize("name", ["resnet18", "mobilenet_v3_small"])
def test_a_checkpoint_brings_its_head(family, name, tmp_path):
    module = {"timm": "timm", "torchvision": "torchvision.models"}[family]
    make = __import__(module, fromlist=["_"])
    name = name.replace("net_v3", "netv3") + "_100" * (name != "resnet18") if family == "timm" else name
    network = make.create_model(name) if family == "timm" else getattr(make, name)()
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.05)
    torch.save(network.state_dict(), tmp_path / "net.pth")
    given = ModelSpec(name="net", backbone=f"{family}:{name}", weights=str(tmp_path / "net.pth"), input_size=64)
    spec = backbones.resolve(given)
    weight, bias = backbones.head(spec)
    last = [layer for layer in network.modules() if isinstance(layer, torch.nn.Linear)][-1]
    np.testing.assert_array_equal(weight, last.weight.detach())
    np.testing.assert_array_equal(bias, last.bias.detach())
    assert backbones.head(backbones.resolve(replace(given, weights="none"))) is None


def test_a_checkpoint_of_other_classes_brings_them_and_one_without_any_has_no_head(tmp_path):
    import timm

    path = tmp_path / "net.pth"
    given = ModelSpec(name="net", backbone="timm:resnet18", weights=str(path), input_size=64)
    torch.save(timm.create_model("resnet18", num_classes=7).state_dict(), path)
    assert backbones.head(backbones.resolve(given))[0].shape == (7, 512)
    torch.save(timm.create_model("resnet18", num_classes=0).state_dict(), path)
    assert backbones.head(backbones.resolve(given)) is None


def test_two_heads_are_not_one_linear_layer_of_the_features(tmp_path):
    """A distilled transformer averages the logits of two tokens; its features are their mean."""
    import timm

    torch.manual_seed(0)
    name, path = "deit_tiny_distilled_patch16_224", tmp_path / "net.pth"
    network = timm.create_model(name)
    for head in network.get_classifier():
        torch.nn.init.normal_(head.weight)
    torch.save(network.state_dict(), path)
    spec = backbones.resolve(ModelSpec(name="net", backbone=f"timm:{name}", weights=str(path)))
    assert backbones.head(spec) is None


@pytest.mark.slow
@pytest.mark.parametrize(("name", "n_source"), [("mobilenet_v2", 1000), ("mobilenet_v2_deepsort", 0)])
def test_a_head_is_stored_with_the_first_features_and_once(name, n_source, image_spec, store, monkeypatch):
    dataset = Dataset(image_spec)
    model = identify(replace(find_model(name), input_size=32), resize="squash", compute="fp32")
    job = Job(model, ((feature_set(model, dataset, "val", "float16"), "float16"),))
    made = []
    head = backbones.head
    monkeypatch.setattr(backbones, "head", lambda spec: made.append(spec) or head(spec))
    for extractors in (first := Extractors("cpu"), first, Extractors("cpu") if n_source else first):
        report = extract_shard(store, dataset, "val", 0, [job], extractors, batch_size=8, decode_threads=1)
        assert report.outcomes[0].failure is None
    assert len(made) == 1
    with Database(store) as database:
        assert database.sql("from stored_heads").num_rows == n_source
    if n_source:
        rows = store.read_record("heads", model.key)
        assert rows.column("source_class").to_pylist() == list(range(1000))
        assert np.array(rows.column("weight").to_pylist(), np.float32).tobytes() == head(model.spec)[0].tobytes()


# ---- what families know -----------------------------------------------------------------------------------------


def test_timm_fills_in_preprocessing_width_and_parameters():
    spec = backbones.resolve(replace(find_model("timm:resnet18.a1_in1k"), weights="none"))
    assert (spec.feature_dim, spec.input_size, spec.interpolation) == (512, 288, "bicubic")
    assert (spec.crop_pct, spec.crop_mode, spec.imagenet_top1) == (1.0, "center", None)
    assert run(replace(spec, input_size=64)).shape == (2, 512)


@pytest.mark.parametrize(
    ("name", "stated", "prepared", "top1"),
    [
        ("resnet50.tv2_in1k", {}, (224, 0.965), 0.80846),
        ("resnet50.tv2_in1k", {"input_size": 176}, (176, 0.875), 0.79434),
        ("resnet50.tv2_in1k", {"input_size": 176, "crop_pct": 0.875}, (176, 0.875), 0.79434),
        ("resnet50.tv2_in1k", {"input_size": 200}, (200, 0.965), None),
        ("resnet50.tv2_in1k", {"crop_pct": 0.9}, (224, 0.9), None),
        ("resnet50.tv2_in1k", {"mean": (0.5, 0.5, 0.5)}, (224, 0.965), None),
        ("resnet50.tv2_in1k", {"imagenet_top1": 0.7}, (224, 0.965), 0.7),
        ("resnet50.tv2_in1k", {"weights": "none"}, (224, 0.965), None),
        ("resnet50.tv2_in1k", {"weights": "mine.pth"}, (224, 0.965), None),
        ("resnet50.a1_in1k", {"input_size": 224}, (224, 0.95), 0.80382),
        ("resnet50", {}, (288, 1.0), 0.8124),  # timm's default tag is a1_in1k
        ("efficientnet_b0", {}, (224, 0.875), 0.77698),
        ("resnet50_clip.openai", {}, (224, 0.9), None),  # it has no classifier of ImageNet
    ],
)
def test_timm_takes_the_size_of_testing_and_the_accuracy_for_exactly_that(name, stated, prepared, top1):
    spec = backbones.resolve(ModelSpec(name="net", backbone=f"timm:{name}", **stated))
    assert ((spec.input_size, spec.crop_pct), spec.imagenet_top1) == (prepared, top1)


@pytest.mark.filterwarnings("ignore:Mapping deprecated model name")
def test_an_older_name_of_timm_has_the_preprocessing_of_the_present_one():
    old, new = (
        backbones.resolve(ModelSpec(name="net", backbone=f"timm:{name}", weights="none"))
        for name in ("gluon_resnet18_v1b", "resnet18.gluon_in1k")
    )
    assert replace(old, backbone=new.backbone) == new


@pytest.mark.parametrize(
    ("changes", "top1"),
    [
        ({}, 0.80858),
        ({"crop_pct": 0.966}, 0.80858),
        ({"crop_pct": 0.9}, None),
        ({"input_size": 96}, None),
        ({"interpolation": "bicubic"}, None),
        ({"weights": "mine.pth"}, None),
        ({"weights": "none"}, None),
    ],
)
def test_torchvisions_accuracy_belongs_to_its_own_weights_size_and_crop(changes, top1):
    spec = backbones.resolve(replace(find_model("torchvision:resnet50/IMAGENET1K_V2"), **changes))
    assert spec.imagenet_top1 == (pytest.approx(top1) if top1 else None)


@pytest.mark.parametrize(
    ("backbone", "stated", "said"),
    [
        ("timm:resnet50.a1_in1k", {}, None),
        ("timm:resnet50.a1_in1k", {"imagenet_top1": 0.5, "input_size": 160}, None),
        ("timm:resnet50.a1_in1k", {"weights": "none", "input_size": 160}, None),
        ("timm:resnet50_clip.openai", {}, None),
        (
            "timm:resnet50.a1_in1k",
            {"input_size": 160},
            "timm measured net at 224 pixels and crop_pct 0.95 and 288 pixels and crop_pct 1; here it has 160 pixels",
        ),
        ("timm:fasternet_t0.in1k", {}, "was measured with crop_pct 1; timm has set 224 pixels and crop_pct 0.9 since"),
        ("torchvision:resnet18/IMAGENET1K_V1", {}, None),
        (
            "torchvision:resnet18/IMAGENET1K_V1",
            {"input_size": 96},
            "torchvision measured net at 224 pixels and crop_pct 0.875; here it has 96 pixels and crop_pct 0.875",
        ),
        ("packaged:mobilenet_v2", {}, None),
    ],
)
def test_an_accuracy_of_another_size_or_crop_is_said(backbone, stated, said):
    spec = backbones.resolve(ModelSpec(name="net", backbone=backbone, **stated))
    found = backbones.accuracy_note(spec)
    assert found is None if said is None else said in found


@pytest.mark.parametrize("spec", CATALOGUE, ids=lambda spec: spec.name)
def test_a_packaged_network_is_prepared_for_as_the_library_does_that_published_its_weights(spec):
    if spec.name.startswith("mobilenet"):
        own = backbones.resolve(find_model("torchvision:mobilenet_v2/IMAGENET1K_V1"))
    else:
        own = backbones.resolve(find_model(f"timm:tf_{spec.name}.in1k"))
    ours = backbones.resolve(spec)
    fields = ("input_size", "mean", "std", "crop_pct")
    assert [getattr(ours, name) for name in fields] == [getattr(own, name) for name in fields]


def test_networks_of_other_channels_are_refused_by_name():
    config = {"input_size": (1, 64, 64), "mean": (0.5,), "std": (0.5,)}
    with pytest.raises(BackboneError, match=r"timm's net takes images of 1 channels"):
        timm_family.preprocessing_of(config, ModelSpec(name="net", backbone="timm:net"))


def test_torchvision_fills_in_what_the_metadata_of_the_weights_says():
    spec = backbones.resolve(find_model("torchvision:resnet18/IMAGENET1K_V1"))
    assert (spec.feature_dim, spec.input_size, spec.crop_pct) == (512, 224, 224 / 256)
    assert spec.imagenet_top1 == pytest.approx(0.69758)
    assert run(replace(spec, weights="none", input_size=64)).shape == (2, 512)


@pytest.mark.parametrize("family", ["timm", "torchvision"])
def test_a_local_checkpoint_is_loaded_without_its_classifier(family, tmp_path):
    spec = replace(find_model(f"{family}:resnet18"), weights="none", seed=3)
    expected = run(backbones.resolve(replace(spec, input_size=64)))
    module = {"timm": "timm", "torchvision": "torchvision.models"}[family]
    torch.manual_seed(3)
    make = __import__(module, fromlist=["_"])
    network = make.create_model("resnet18") if family == "timm" else make.resnet18()
    torch.save(network.state_dict(), tmp_path / "resnet18.pth")
    loaded = backbones.resolve(replace(spec, weights=str(tmp_path / "resnet18.pth"), input_size=64))
    assert run(loaded).shape == expected.shape == (2, 512)
    found = backbones.build(loaded).state_dict()["conv1.weight"]
    torch.testing.assert_close(found, network.state_dict()["conv1.weight"])


def test_published_densenets_and_files_of_old_torch_are_read(tmp_path):
    from torchvision import models

    state = models.densenet121().state_dict()
    old = {
        re.sub(r"(denselayer\d+\.(?:norm|conv))(\d)", r"\1.\2", name): value
        for name, value in state.items()
        if not name.endswith("num_batches_tracked")
    }
    assert "features.denseblock1.denselayer1.norm.1.weight" in old
    torch.save(old, tmp_path / "densenet.pth")
    spec = ModelSpec(name="d", backbone="torchvision:densenet121", weights=str(tmp_path / "densenet.pth"))
    found = backbones.build(backbones.resolve(spec)).state_dict()["features.conv0.weight"]
    torch.testing.assert_close(found, state["features.conv0.weight"])


def test_random_initialisation_repeats_with_its_seed(tiny):
    spec = backbones.resolve(tiny)
    torch.testing.assert_close(run(spec), run(spec), rtol=0, atol=0)
    other = replace(spec, seed=1)
    assert not torch.equal(run(spec), run(other))
    assert backbones.weights_digest(spec) != backbones.weights_digest(other)


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_the_users_own_weights_are_loaded(tiny, tmp_path, suffix):
    state = {name: torch.full_like(value, 0.5) for name, value in backbones.build(tiny).state_dict().items()}
    path = tmp_path / f"weights{suffix}"
    save_file(state, path) if suffix == ".safetensors" else torch.save({"state_dict": state}, path)
    spec = backbones.resolve(replace(tiny, weights=str(path)))
    assert all((value == 0.5).all() for value in backbones.build(spec).state_dict().values())


def test_weights_of_another_architecture_are_named_tensor_by_tensor(tiny, tmp_path):
    torch.save({"0.weight": torch.zeros(8, 3, 7, 7), "extra": torch.zeros(1)}, tmp_path / "w.pth")
    message = (
        r"another architecture than tiny_network:build: 1 name missing \(0\.bias\); 1 name unexpected \(extra\); "
        r"1 tensor of another shape \(0\.weight is \(8, 3, 7, 7\) .* The file is a state dict of 2 tensors\."
    )
    with pytest.raises(BackboneError, match=message):
        backbones.build(replace(tiny, weights=str(tmp_path / "w.pth")))


def test_packaged_weights_are_checked_shape_by_shape(tmp_path):
    spec = find_model("mobilenet_v2")
    state = packaged.classifier(spec).state_dict()
    torch.save({**state, "conv_head.weight": torch.zeros(5, 320, 1, 1)}, tmp_path / "w.pth")
    with pytest.raises(BackboneError, match=r"conv_head.weight is \(5, 320, 1, 1\) where the network has \(1280, 320"):
        backbones.build(replace(spec, weights=str(tmp_path / "w.pth")))


def test_a_pickle_that_would_run_code_is_refused(tiny, tmp_path):
    class Malicious:
        def __reduce__(self):
            return Path.touch, (tmp_path / "owned",)

    (tmp_path / "w.pth").write_bytes(pickle.dumps({"0.weight": Malicious()}, protocol=2))
    with pytest.raises(BackboneError, match="must be a state dict of tensors"):
        backbones.build(replace(tiny, weights=str(tmp_path / "w.pth")))
    assert not (tmp_path / "owned").exists()


@pytest.mark.parametrize("content", [b"", b"not weights", b"PK\x03\x04broken"])
def test_a_broken_weights_file_is_a_clear_error(tiny, tmp_path, content):
    for name in ("w.pth", "w.safetensors"):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(BackboneError, match="Cannot read weights"):
            backbones.build(replace(tiny, weights=str(tmp_path / name)))


def test_a_missing_weights_file_is_a_clear_error(tiny):
    with pytest.raises(BackboneError, match="Cannot read the weights file /nowhere.pth"):
        backbones.weights_digest(replace(tiny, weights="/nowhere.pth"))
    with pytest.raises(BackboneError, match="No such file or directory. Did you mean 'none'"):
        backbones.weights_digest(replace(tiny, weights="/studies/None"))


@pytest.mark.parametrize(
    ("backbone", "message"),
    [
        ("tim:resnet18", "Unknown backbone family 'tim'. Did you mean 'timm'"),
        ("timm:resnet5O", "Unknown timm model 'resnet5O'. Did you mean 'resnet50'"),
        ("timm:resnet50.a1_in1", "Did you mean 'resnet50.a1_in1k'"),
        ("torchvision:resnet50/IMAGENET1K_V3", "Did you mean 'IMAGENET1K_V"),
        ("packaged:mobilenet_v3", "Did you mean 'mobilenet_v2'"),
    ],
)
def test_names_that_no_backbone_knows_come_with_suggestions(backbone, message):
    with pytest.raises(UnknownNameError, match=message):
        backbones.resolve(ModelSpec(name="net", backbone=backbone))


def test_a_python_backbone_says_what_is_wrong_with_it(tiny):
    for change, message in [
        ({"backbone": "python:no_such_module:build"}, "Cannot import 'no_such_module'"),
        ({"backbone": "python:tiny_network:biuld"}, "Did you mean 'build'"),
        ({"backbone": "python:tiny_network"}, "python:package.module:function"),
        ({"weights": "pretrained"}, "must say where its weights are"),
        ({"input_size": None}, "must say its input_size"),
    ]:
        with pytest.raises(BackboneError, match=message):
            backbones.resolve(replace(tiny, **change))


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("tf_efficientnet_b0_ns", "tf_efficientnet_b0.ns_jft_in1k"),
        ("swin_base_patch4_window12_384_in22k", "swin_base_patch4_window12_384.ms_in22k"),
    ],
)
def test_pretrained_weights_of_a_name_that_timm_has_given_up_are_those_of_another_name(old, new):
    with pytest.raises(BackboneError, match=f"timm has renamed '{old}'; write timm:{new}"):
        backbones.resolve(ModelSpec(name="net", backbone=f"timm:{old}"))


@pytest.mark.parametrize(
    ("code", "message"),
    [
        (
            "def build(:",
            r"'broken' of model 'tiny' cannot be imported: SyntaxError: invalid syntax \(broken.py, line 2\)\.",
        ),
        ("1 / 0", r"ZeroDivisionError: division by zero \(broken.py, line 2\)\."),
        ("raise SystemExit(7)", "'broken' of model 'tiny' ends the program when it is imported"),
    ],
)
def test_a_module_that_cannot_be_imported_is_an_error_of_its_model(code, message, tiny, tmp_path, capsys):
    (tmp_path / "broken.py").write_text(f"print('hello')\n{code}\n")
    with pytest.raises(BackboneError, match=message):
        backbones.resolve(replace(tiny, backbone="python:broken:build"))
    assert "hello" not in capsys.readouterr().out


def test_a_function_that_takes_arguments_is_refused_before_work_starts(tiny, tmp_path):
    (tmp_path / "own.py").write_text("def build(width, depth=2): ...")
    with pytest.raises(BackboneError, match=r"own:build is called without arguments .*: missing .*'width'"):
        backbones.resolve(replace(tiny, backbone="python:own:build"))


def test_the_digest_of_a_python_backbone_covers_the_modules_beside_it(tiny, tmp_path):
    before = backbones.weights_digest(tiny)
    (tmp_path / "layers.py").write_text("WIDTH = 8")
    assert backbones.weights_digest(tiny) != before


def test_weights_that_cannot_be_fetched_say_what_to_do(monkeypatch, tmp_path):
    import huggingface_hub.constants

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(BackboneError, match=r"Cannot fetch the weights .*weights = FILE"):
        backbones.weights_digest(find_model("timm:resnet18.a1_in1k"))


def test_weights_that_are_no_regular_file_are_refused_before_they_are_read():
    with pytest.raises(BackboneError, match="weights /dev/zero must be a regular file"):
        weights.file_digest(Path("/dev/zero"))
