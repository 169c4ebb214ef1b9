import pytest

from featurestore.errors import ConfigurationError, UnknownNameError
from featurestore.models import CATALOGUE, ModelSpec, find_model, known_models


def test_every_record_of_the_catalogue_is_complete():
    for spec in CATALOGUE:
        for field in ("feature_dim", "input_size", "mean", "std", "interpolation", "params", "imagenet_top1"):
            assert getattr(spec, field) is not None, (spec.name, field)


def test_names_of_the_catalogue_are_unique():
    assert len(known_models()) == len(CATALOGUE)


def test_an_unknown_model_comes_with_suggestions():
    with pytest.raises(UnknownNameError, match="Did you mean 'mobilenet_v2'"):
        find_model("mobilnet_v2")


def test_a_family_and_identifier_make_a_record_with_a_path_safe_name():
    assert find_model("torchvision:resnet50/IMAGENET1K_V2").name == "resnet50-IMAGENET1K_V2"


def test_a_users_record_replaces_the_catalogues():
    mine = ModelSpec(name="mobilenet_v2", backbone="timm:mobilenetv2_100")
    assert find_model("mobilenet_v2", [mine]) is mine


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"name": "a/b"}, "becomes part of a path"),
        ({"backbone": "resnet50"}, "family:identifier"),
        ({"imagenet_top1": 75.1}, r"a fraction between 0 and 1 \(0.751, not 75.1\)"),
        ({"input_size": 0}, "must be positive"),
    ],
)
def test_a_record_that_cannot_be_right_is_refused(fields, message):
    with pytest.raises(ConfigurationError, match=message):
        ModelSpec(**{"name": "net", "backbone": "timm:resnet18", **fields})
