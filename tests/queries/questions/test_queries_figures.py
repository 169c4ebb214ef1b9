"""The questions that the paper's figures ask beside those of the topics: on given rows, checked against SciPy."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from given import THREE, Given, Row, cell, grid, logit, score
from scipy.stats import binomtest, norm, sem

from featurestore import FeatureSet, FeatureStore, SampleSet
from featurestore.store import schema
from queries.asking.database import Database


def predictions(name: str, dataset: str, right: list[bool]) -> list[Row]:
    rest = {"top5": [0], "scores": [1.0]}
    return [
        {**cell(name, dataset), "sample_id": f"i{i}", "index": i, "label": 0, "predicted": 0 if hit else 1, **rest}
        for i, hit in enumerate(right)
    ]


def by_model(database: Database, question: str, **parameters: object) -> dict[str, Row]:
    return {row["model"]: row for row in database.query(question, **parameters).to_pylist()}


# ---- best_by_dataset ------------------------------------------------------------------------------------------------


def test_models_are_tested_against_the_best_by_the_images_that_one_of_them_got_right(given: Given) -> None:
    hits = {
        "a": [True] * 90 + [False] * 10,
        "b": [True] * 80 + [False] * 15 + [True] * 5,
        "c": [True] * 40 + [False] * 60,
    }
    results = [score(name, "d", sum(right) / 100) for name, right in hits.items()]
    stored = [row for name, right in hits.items() for row in predictions(name, "d", right)]
    rows = by_model(given(results=results, predictions=stored), "best_by_dataset")
    assert rows["a"]["best"] == "a"
    assert (rows["a"]["p"], rows["a"]["test"], rows["a"]["ties_with_best"]) == (None, None, True)
    for name, only_best, only_this in (("b", 10, 5), ("c", 50, 0)):
        expected = binomtest(only_this, only_best + only_this).pvalue
        assert rows[name]["p"] == pytest.approx(expected, rel=1e-9)
        assert rows[name]["test"] == "exact McNemar"
        assert rows[name]["ties_with_best"] == (expected > 0.05)
    assert rows["b"]["behind"] == pytest.approx(0.05)


def test_without_predictions_the_standard_errors_decide(given: Given) -> None:
    values = {"a": (0.9, 0.01), "b": (0.88, 0.01), "c": (0.8, 0.01), "d": (0.7, None)}
    results = [score(name, "x", value, standard_error=error) for name, (value, error) in values.items()]
    rows = by_model(given(results=results), "best_by_dataset")
    for name in ("b", "c"):
        z = (0.9 - values[name][0]) / math.hypot(0.01, 0.01)
        assert rows[name]["p"] == pytest.approx(2 * norm.sf(z), abs=1e-12)
        assert rows[name]["test"] == "unpaired z"
    assert [rows[name]["ties_with_best"] for name in "abcd"] == [True, True, False, None]
    assert (rows["d"]["p"], rows["d"]["test"]) == (None, None)


def test_predictions_of_other_images_are_not_compared(given: Given) -> None:
    results = [score("a", "d", 0.9, n_test=10, standard_error=0.1), score("b", "d", 0.5, n_test=10, standard_error=0.1)]
    stored = [*predictions("a", "d", [True] * 10), *predictions("b", "d", [True] * 5)]
    assert by_model(given(results=results, predictions=stored), "best_by_dataset")["b"]["test"] == "unpaired z"


def test_equal_scores_and_one_model_have_a_best(given: Given) -> None:
    rows = given(results=[score("b", "d", 0.5), score("a", "d", 0.5), score("z", "e", 0.5)]).query("best_by_dataset")
    assert [(row["dataset"], row["best"]) for row in rows.to_pylist()] == [("d", "a"), ("d", "a"), ("e", "z")]


# ---- setting_means --------------------------------------------------------------------------------------------------


def test_settings_are_averaged_over_the_models_that_have_all_of_them(given: Given) -> None:
    tuned = [
        row | {"setting": "finetuned", "cell": f"t/{row['cell']}", "value": row["value"] + 0.05} for row in grid(THREE)
    ]
    database = given(results=[*grid(THREE), *tuned, score("only_fixed", "d0", 0.99)])
    rows = {(row["dataset"], row["setting"]): row for row in database.query("setting_means").to_pylist()}
    assert len(rows) == 6
    logits = [logit(values[0]) for values in THREE.values()]
    found = rows["d0", "fixed"]
    assert (found["n_models"], found["mean_value"]) == (3, pytest.approx(np.mean([0.9, 0.8, 0.6])))
    assert found["mean_logit"] == pytest.approx(np.mean(logits))
    assert found["standard_error"] == pytest.approx(sem(logits))


def test_one_model_has_a_mean_without_an_error(given: Given) -> None:
    (row,) = given(results=[score("a", "d", 0.5)]).query("setting_means").to_pylist()
    assert (row["setting"], row["n_models"], row["mean_logit"], row["standard_error"]) == ("fixed", 1, 0.0, None)


# ---- features_of_classes --------------------------------------------------------------------------------------------


@pytest.fixture
def with_features(tmp_path: Path) -> Iterator[Database]:
    """Thirty test images in five classes of `pets`, with features of two models; one of them has no class."""
    store = FeatureStore.create(str(tmp_path / "store"))
    labels = [None if i == 29 else i % 5 for i in range(30)]
    for name, width in (("b", 2), ("a", 3)):
        rows = [
            {"sample_id": str(i), "index": i, "label": label, "feature": np.full(width, i, np.float16)}
            for i, label in enumerate(labels)
        ]
        item = FeatureSet(name, "pets", "test", "key")
        store.write_shard(item, 0, 1, pa.Table.from_pylist(rows, schema=schema.features(pa.float16(), width)))
        store.finish(item, 1, {})
    images = SampleSet("pets", "test", "key")
    described = [
        {
            "sample_id": str(i),
            "index": i,
            "label": label,
            "label_name": f"class {label}",
            "source": "s",
            "readable": True,
        }
        for i, label in enumerate(labels)
    ]
    store.write_shard(images, 0, 1, pa.Table.from_pylist(described, schema=schema.SAMPLES))
    store.finish(images, 1, {})
    with Database(store) as database:
        yield database


def test_classes_and_images_are_drawn_alike_for_every_model(with_features: Database) -> None:
    drawn = {
        name: with_features.query("features_of_classes", model=name, classes=3, per_class=4).to_pylist()
        for name in ("a", "b")
    }
    assert [len(drawn["a"][0]["feature"]), len(drawn["b"][0]["feature"])] == [3, 2]
    assert [row["index"] for row in drawn["a"]] == [row["index"] for row in drawn["b"]]
    assert len(drawn["a"]) == 12
    assert len({row["label"] for row in drawn["a"]}) == 3
    for row in drawn["a"]:
        assert row["feature"] == [row["index"]] * 3
        assert (row["label"], row["label_name"]) == (row["index"] % 5, f"class {row['index'] % 5}")


def test_another_seed_draws_others_and_no_model_is_the_first(with_features: Database) -> None:
    seeds = {
        tuple(with_features.query("features_of_classes", classes=2, per_class=2, seed=seed)["index"].to_pylist())
        for seed in range(8)
    }
    assert len(seeds) > 4
    everything = with_features.query("features_of_classes")
    assert set(everything["model"].to_pylist()) == {"a"}
    assert everything.num_rows == 29
