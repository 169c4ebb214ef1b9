"""Features are a function of the image, or they are refused with the cause."""

import numpy as np
import pytest

from featurestore.catalogue.models import ModelSpec
from featurestore.errors import BackboneError
from featurestore.extraction.extract import extract_shard
from featurestore.extraction.shards import Job
from featurestore.images.splits import Dataset
from featurestore.networks.extractor import Extractor, Extractors
from featurestore.networks.identity import feature_set, identify
from featurestore.networks.rehearsal import rehearse
from featurestore.networks.steadiness import trial_images

pytestmark = pytest.mark.slow  # all together they take longer than make quick has time for

CODE = """
import random
import sys
import numpy as np
import torch
import torch.nn.functional as F


class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = torch.nn.Conv2d(3, 16, 3, stride=2)

    def forward(self, images):
        return self.end(torch.relu(self.conv(images)).mean((2, 3)))

    def end(self, features):
        return features


class Drops(Net):
    def end(self, features):
        return F.dropout(features, 0.1)


class Trains(Net):
    def __init__(self):
        super().__init__()
        self.drop = torch.nn.Dropout(0.1)

    def train(self, mode=True):
        self.drop.training = True
        return self

    def end(self, features):
        return self.drop(features)


class Batch(Net):
    def __init__(self):
        super().__init__()
        self.norm = torch.nn.BatchNorm1d(16, track_running_stats=False)

    def end(self, features):
        return self.norm(features)


class LateBatch(Net):
    def __init__(self):
        super().__init__()
        self.norm = torch.nn.BatchNorm2d(16, track_running_stats=False)

    def forward(self, images):
        return self.norm(self.conv(images)).mean((2, 3)) + 1


class Centred(Net):
    def end(self, features):
        return features - 0.01 * features.mean(0)


class Counts(Net):
    calls = 0

    def end(self, features):
        self.calls += 1
        return features * (1 + 0.1 * self.calls)


class Brightens(Net):
    def forward(self, images):
        return super().forward(images * (1 + random.random()))


class NumpyBrightens(Net):
    def forward(self, images):
        return super().forward(images * (1 + np.random.random()))


class Complex(Net):
    def end(self, features):
        return torch.fft.rfft(features)


class Exits(Net):
    def end(self, features):
        sys.exit(7)


def exits_when_built():
    sys.exit(7)


class InPlace(Net):
    def forward(self, images):
        return super().forward(images.mul_(2))


class Blind(Net):
    def end(self, features):
        return torch.ones_like(features)


class Book(Net):
    def end(self, features):
        return {"last_hidden_state": features[:, :, None], "pooler_output": features}


class Half(Net):
    def __init__(self):
        super().__init__()
        self.half()

    def forward(self, images):
        return super().forward(images.half())


class Sound(Net):
    def __init__(self):
        super().__init__()
        self.drop, self.norm = torch.nn.Dropout(0.5), torch.nn.BatchNorm1d(16)

    def end(self, features):
        return self.norm(self.drop(F.dropout(features, 0.5, training=self.training)))
"""
CAUSES = {
    "Drops": "at a second call .* draws random numbers: functional dropout needs training=self.training",
    "Trains": "at a second call .* drop are in training mode",
    "Batch": "norm normalises by the statistics of the batch",
    "LateBatch": "norm normalises by the statistics of the batch",
    "Centred": "change by .* when it is alone in a batch: the other images, their number or an earlier call take part",
    "Counts": "by .*: it keeps something from one call to the next",
    "Brightens": "at a second call .* draws random numbers",
    "NumpyBrightens": "at a second call .* draws random numbers",
    "Complex": r"Got \(2, 9\) of complex numbers",
    "Blind": "the same features for two images that have nothing in common",
    "Book": r"Got a dict of last_hidden_state \(2, 16, 1\), pooler_output \(2, 16\). build\(\) must return a module",
}


@pytest.fixture
def net(tmp_path, monkeypatch):
    (tmp_path / "steady_networks.py").write_text(CODE)
    monkeypatch.syspath_prepend(tmp_path)

    def make(function: str, compute: str = "fp32"):
        spec = ModelSpec(name=function, backbone=f"python:steady_networks:{function}", weights="none", input_size=32)
        return identify(spec, resize="squash", compute=compute)

    return make


@pytest.mark.parametrize("compute", ["fp32", "bf16"])
@pytest.mark.parametrize("name", CAUSES)
def test_a_network_that_is_no_function_of_the_image_is_refused_with_the_cause(name, compute, net):
    problems = Extractor(net(name, compute), "cpu").problems
    assert list(problems) == ["penultimate"]
    with pytest.raises(type(problems["penultimate"]), match=CAUSES[name]):
        raise problems["penultimate"]


@pytest.mark.parametrize("compute", ["fp32", "bf16"])
@pytest.mark.parametrize("name", ["Sound", "Half", "InPlace"])
def test_a_network_that_is_one_is_not(name, compute, net):
    assert not Extractor(net(name, compute), "cpu").problems


@pytest.mark.slow
@pytest.mark.parametrize("compute", ["fp32", "bf16"])
@pytest.mark.parametrize("name", ["resnet10t", "vit_tiny_patch16_224", "mobilenetv3_small_050", "test_convnext"])
def test_rounding_is_no_reason_to_refuse(name, compute):
    spec = ModelSpec(name="net", backbone=f"timm:{name}", weights="none", input_size=64)
    assert not Extractor(identify(spec, resize="squash", compute=compute), "cpu").problems


@pytest.mark.parametrize(("name", "when"), [("Exits", "images pass through it"), ("exits_when_built", "it is built")])
def test_code_that_ends_the_program_ends_its_own_model_only(name, when, net):
    model = net(name)
    for ends in (lambda: Extractor(model, "cpu"), lambda: rehearse(model, ["penultimate"])):
        with pytest.raises(BackboneError, match=rf"ends the program, by sys.exit\(7\), when {when}"):
            ends()


def test_only_the_tap_that_is_no_function_of_the_image_is_refused(net):
    taps = ["penultimate", "block:conv", "block:drop"]
    extractor = Extractor(net("Trains"), "cpu", taps)
    assert sorted(extractor.problems) == ["block:drop", "penultimate"]
    assert list(extractor.features(trial_images(32))) == ["block:conv"]


def test_neighbours_of_a_refused_model_are_computed(net, store, image_spec):
    dataset = Dataset(image_spec)
    jobs = [
        Job(model, ((feature_set(model, dataset, "val", "float16"), "float16"),))
        for model in (net("Drops"), net("Sound"), net("Batch"))
    ]
    report = extract_shard(store, dataset, "val", 0, jobs, Extractors("cpu"), batch_size=4, decode_threads=1)
    failures = {outcome.target.model: outcome.failure for outcome in report.outcomes}
    assert failures["Sound"] is None
    assert failures["Drops"].error == failures["Batch"].error == "BackboneError"


def test_trial_images_differ_in_mean_and_contrast():
    one, other = trial_images(24).astype(np.float32)
    assert abs(one.mean() - other.mean()) > 60
    assert one.std() > 2 * other.std()
