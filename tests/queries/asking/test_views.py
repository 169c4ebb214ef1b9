"""What holds now of everything that was ever committed or imported, as the views of a store show it."""

from datetime import timedelta

import pytest
from given import NOW, Given, Row, logit, model, score


def known(name: str, **columns: object) -> Row:
    return {"model": name, "origin": "grid", "recorded_at": NOW, **columns}


def test_a_models_architecture_is_what_its_backbone_says_before_the_weights(given: Given) -> None:
    backbones = {
        "timm:resnet50.a1_in1k": "resnet50",
        "timm:resnet50": "resnet50",
        "torchvision:resnet50/IMAGENET1K_V2": "resnet50",
        "huggingface:google/vit-base.x": "google/vit-base.x",
        "python:nets:build": "nets:build",
    }
    rows = [{**model(f"m{i}", None), "backbone": backbone} for i, backbone in enumerate(backbones)]
    own = {**model("own", None), "architecture": "mine"}
    database = given(models=[*rows, own, known("nothing")])
    found = database.sql("select architecture from models order by model")["architecture"].to_pylist()
    assert found == [*backbones.values(), None, "mine"]


def test_of_several_imports_the_latest_that_knows_counts_column_by_column(given: Given) -> None:
    later = NOW + timedelta(days=1)
    rows = [
        known("m", params=1, imagenet_top1=0.6, source_metrics={"food": 0.1, "cars": 0.2}),
        known("m", params=2, source_metrics={"food": 0.3}, origin="newer", recorded_at=later),
    ]
    (row,) = given(models=rows).sql("from models").to_pylist()
    assert (row["origin"], row["params"], row["imagenet_top1"]) == ("newer", 2, 0.6)
    assert sorted(row["source_metrics"]) == [("cars", 0.2), ("food", 0.3)]


def test_source_metrics_lie_where_a_line_through_them_is_meant_to_be_straight(given: Given) -> None:
    rows = [
        known("a", imagenet_top1=0.7, params=10**6, source_metrics={"food": 0.25, "loss": 0.5}),
        known("b", feature_dim=1000, input_size=100, source_metrics={"food": 1.0, "loss": 2.5}),
    ]
    found = given(models=rows).sql("from source_metrics order by model, source").to_pylist()
    assert [(row["model"], row["source"], row["value"]) for row in found] == [
        ("a", "food", 0.25),
        ("a", "imagenet_top1", 0.7),
        ("a", "loss", 0.5),
        ("a", "params", 1e6),
        ("b", "feature_dim", 1000),
        ("b", "food", 1.0),
        ("b", "input_size", 100),
        ("b", "loss", 2.5),
    ]
    x = [logit(0.25), logit(0.7), 0.5, 6, 3, logit(1 - 1e-5), 2, 2.5]
    assert [row["x"] for row in found] == [pytest.approx(value) for value in x]


def test_a_size_of_nothing_and_a_number_that_is_none_lie_nowhere(given: Given) -> None:
    rows = [known("a", params=0, source_metrics={"food": float("nan")}), known("b", params=10)]
    found = given(models=rows).sql("select source, x from source_metrics order by model").to_pylist()
    assert found == [{"source": "params", "x": None}, {"source": "params", "x": 1.0}]


def test_points_of_training_curves_are_no_results_and_do_not_replace_one_another(given: Given) -> None:
    curve = [score("a", "d", steps / 1000, cell=f"c{steps}", train_steps=steps) for steps in (100, 200)]
    replaced = score("a", "d", 0.9, cell="later", train_steps=200, created_at=NOW + timedelta(days=1))
    database = given(results=[score("a", "d", 0.5), *curve, replaced])
    assert database.sql("select value from results")["value"].to_pylist() == [0.5]
    points = database.sql("select train_steps, value from training_curves order by all").to_pylist()
    assert points == [{"train_steps": 100, "value": 0.1}, {"train_steps": 200, "value": 0.9}]


def test_the_size_of_a_dataset_is_what_is_said_of_it_else_what_was_used(given: Given) -> None:
    said = [{"dataset": "said", "n_train": 10, "n_val": 2}, {"dataset": "whole", "n_train": 7}, {"dataset": "silent"}]
    results = [
        score("a", "said", 0.5),
        score("a", "used", 0.5, n_train=30, n_val=5),
        score("b", "used", 0.5, n_train=20, n_val=5),
        score("c", "used", 0.5, n_train=80, n_val=5, n_per_class=40),
        score("a", "unknown", 0.5, n_train=None, n_val=None),
    ]
    database = given(datasets=[{**row, "recorded_at": NOW} for row in said], results=results)
    sizes = database.sql("from dataset_sizes order by dataset").to_pylist()
    assert {row["dataset"]: row["n_train"] for row in sizes} == {
        "said": 12,
        "silent": None,
        "unknown": None,
        "used": 35,
        "whole": 7,
    }


def test_what_a_study_says_of_a_dataset_counts_more_than_a_later_import(given: Given) -> None:
    rows = [
        {"dataset": "d", "n_classes": 2, "recorded_at": NOW},
        {"dataset": "d", "n_classes": 3, "n_test": 9, "origin": "grid", "recorded_at": NOW + timedelta(days=1)},
    ]
    (row,) = given(datasets=rows).sql("select origin, n_classes, n_test from datasets").to_pylist()
    assert row == {"origin": None, "n_classes": 2, "n_test": 9}
