import math
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from featurestore.care.verify import verify
from featurestore.catalogue.models import CATALOGUE, ModelSpec, find_model, known_models
from featurestore.errors import ConfigurationError, UnknownNameError
from featurestore.images.preprocessing import for_model
from featurestore.networks.identity import Model
from featurestore.store.feature_store import rows_table
from queries.asking.database import Database


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


def test_all_that_questions_ask_of_a_record_is_kept_in_the_store(store):
    recipe = {"architecture": "net", "source_metrics": {"food": 0.5}, "label_smoothing": 0.1, "bn_scale": True}
    spec = replace(find_model("mobilenet_v2"), name="mine", **recipe)
    row = Model(spec, "digest", for_model(spec, "squash"), "fp32").record()
    store.publish("models", "mine", rows_table("models", [{**row, "recorded_at": datetime.now(UTC)}]))
    assert verify(store).findings == []
    with Database(store) as database:
        (kept,) = database.sql("from models").to_pylist()
    assert {name: kept[name] for name in recipe} == {**recipe, "source_metrics": [("food", 0.5)]}
    assert (kept["model"], kept["origin"], kept["imagenet_top1"]) == ("mine", None, spec.imagenet_top1)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"name": "a/b"}, "becomes part of a path"),
        ({"backbone": "resnet50"}, "family:identifier"),
        ({"imagenet_top1": 75.1}, r"a fraction between 0 and 1 \(0.751, not 75.1\)"),
        ({"input_size": 0}, "must be positive"),
        ({"crop_pct": 87.5}, r"a share of the resized image \(0.875, not 87.5\)"),
        ({"mean": (123.7, 116.3, 103.5)}, "divide what belongs to channels up to 255 by 255"),
        ({"std": (58.4, 57.1, 57.4)}, "divide what belongs to channels up to 255 by 255"),
        ({"source_metrics": {"params": 3.0}}, "must have a name of its own, and not one of imagenet_top1, params"),
        ({"source_metrics": {" ": 3.0}}, "must have a name of its own"),
        ({"source_metrics": {"food": math.inf}}, "Source metric 'food' of model 'net' must be finite. Got inf"),
    ],
)
def test_a_record_that_cannot_be_right_is_refused(fields, message):
    with pytest.raises(ConfigurationError, match=message):
        ModelSpec(**{"name": "net", "backbone": "timm:resnet18", **fields})
