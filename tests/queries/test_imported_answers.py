"""What was computed and what was imported get the same answers: results, exported and imported, and every question."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
from given import NOW, model, score

from featurestore import FeatureStore
from featurestore.store.feature_store import rows_table
from probes import metrics
from probes.cells.results import score_columns
from probes.imports.imported import Import, add, read_import
from queries.asking import questions
from queries.asking.database import Database

SOURCE = {"a": 0.6, "b": 0.7, "c": 0.75, "d": 0.8}
HEADLINES = {"pets": "top1", "cars": "top1", "birds": "mean_per_class", "voc": "map_11point"}
COLUMNS = ["setting", "model", "dataset", "metric", "value", "n_test", "probe", "tap"]
COLUMNS += ["n_per_class", "seed", "n_train", "n_val", "standard_error"]

TOPICS = {"comparison", "correlation", "probes", "recipe", "settings"}  # the others ask about images, features and runs
OTHERWISE = {"predicted_transfer"}  # it places what was computed on the line of what was imported

OF_THE_IMPORT = {"origin", "created_at", "solver", "cell", "fingerprint", "backbone", "weights"}


def scores(seed: int, n_classes: int, skill: float, *, multilabel: bool):
    """Probabilities of a probe of some skill, and labels of 60 test images."""
    rng = np.random.default_rng(seed)
    y = rng.integers(0, n_classes, 60)
    raw = rng.random((60, n_classes)) + skill * np.eye(n_classes)[y]
    if multilabel:
        return np.clip(raw / 2, 0, 1), np.eye(n_classes, dtype=bool)[y] | (rng.random((60, n_classes)) < 0.2)
    return raw / raw.sum(axis=1, keepdims=True), y


def computed() -> list[dict[str, object]]:
    """Rows as cells make them: four models on four datasets, in two settings, with two seeds and few-shot."""
    rows = []
    for m, (name, source) in enumerate(SOURCE.items()):
        for d, (dataset, headline) in enumerate(HEADLINES.items()):
            for setting, n_per_class, seed in [
                ("fixed", None, 0),
                ("fixed", None, 1),
                ("fixed", 4, 0),
                ("finetuned", None, 0),
            ]:
                multilabel = headline == "map_11point"
                skill = source + 0.3 * (setting == "finetuned") - 0.3 * (n_per_class is not None)
                given = scores(1000 * m + 100 * d + seed, 7, skill, multilabel=multilabel)
                for metric in metrics.names(multilabel=multilabel):
                    grain = {"setting": setting, "n_per_class": n_per_class, "seed": seed, "n_test": 60}
                    own = {"metric": metric, "headline": metric == headline}
                    rows.append(
                        score(name, dataset, 0, **grain, **own) | score_columns(metrics.by_name(metric)(*given))
                    )
    return rows


@pytest.fixture(scope="module")
def computed_store(tmp_path_factory, empty_store) -> FeatureStore:
    store = FeatureStore.create(str(tmp_path_factory.mktemp("computed") / "store"))
    store.publish("results", "given", rows_table("results", computed()))
    store.publish("models", "given", rows_table("models", [model(*item) for item in SOURCE.items()]))
    datasets = [
        {
            "dataset": name,
            "metric": metric,
            "n_train": 80,
            "n_val": 20,
            "n_test": 60,
            "n_classes": 7,
            "recorded_at": NOW,
        }
        for name, metric in HEADLINES.items()
    ]
    store.publish("datasets", "given", rows_table("datasets", datasets))
    return store


def exported(store: FeatureStore, folder: Path, *, errors: bool) -> Import:
    """Write what a store has as a user does, with SQL, and read it as files of an import."""
    columns = COLUMNS if errors else COLUMNS[:-1]
    texts = {
        "results": f"select {', '.join(columns)} from stored_results",
        "models": "select model, imagenet_top1, backbone, weights from models",
        "datasets": "select dataset, n_classes, n_train + n_val as n_train, n_test, metric from datasets",
    }
    with Database(store) as database:
        for name, sql in texts.items():
            with (folder / f"{name}.csv").open("w", newline="") as stream:
                table = database.sql(sql)
                csv.writer(stream).writerows([table.column_names, *zip(*table.to_pydict().values(), strict=True)])
    return read_import(folder / "results.csv", models=folder / "models.csv", datasets=folder / "datasets.csv")


@pytest.fixture(scope="module")
def imported_store(tmp_path_factory, computed_store) -> FeatureStore:
    store = FeatureStore.create(str(tmp_path_factory.mktemp("imported") / "store"))
    add(store, exported(computed_store, tmp_path_factory.mktemp("files"), errors=True), command="probestore import")
    return store


@pytest.mark.slow
def test_every_question_about_scores_has_the_same_answer(computed_store, imported_store):
    asked = [question.name for question in questions.by_topic() if question.topic in TOPICS]
    with Database(computed_store) as computed, Database(imported_store) as imported:
        answers = {name: (answer(computed, name), answer(imported, name)) for name in asked if name not in OTHERWISE}
    assert {name for name, (one, other) in answers.items() if one != other} == set()
    assert sum(bool(one) for one, _ in answers.values()) > 15


def answer(database: Database, question: str) -> list[dict[str, object]]:
    table = database.query(question)
    return table.select([name for name in table.column_names if name not in OF_THE_IMPORT]).to_pylist()


@pytest.mark.slow
def test_a_standard_error_that_is_not_given_is_that_of_the_metric_or_not_known(computed_store, store, tmp_path):
    read = exported(computed_store, tmp_path, errors=False)
    add(store, read, command="probestore import")
    sql = "select model, dataset, setting, n_per_class, seed, metric, standard_error from stored_results order by all"
    with Database(computed_store) as one, Database(store) as other:
        pairs = list(zip(one.sql(sql).to_pylist(), other.sql(sql).to_pylist(), strict=True))
    shares = {"top1", "top5"}
    for computed, imported in pairs:
        assert (
            imported == computed if computed["metric"] in shares else imported == {**computed, "standard_error": None}
        )
    assert set(read.without_error()) == {metric.name for metric in metrics.METRICS} - shares
