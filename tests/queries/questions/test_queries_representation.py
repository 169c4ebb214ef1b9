"""Questions about features: few given numbers or vectors, answers worked out by hand."""

from __future__ import annotations

from dataclasses import asdict
from datetime import timedelta

import numpy as np
import pytest
from given import NOW, Row
from given_features import dataset_record, save, save_images, subject, want

from featurestore import FeatureStore
from featurestore.store.feature_store import rows_table
from probes.analysis.analyse import Subject
from queries.asking.database import Database


def representation(seen: Subject, **changes: object) -> Row:
    row = {"analysis": str(seen), "n_images": 4, "dim": 8, "effective_rank": 3.5, "seconds": 1.0, "created_at": NOW}
    return asdict(seen.features) | {"setting": seen.setting} | row | changes


def likeness(one: str, other: str, cka: float | None) -> Row:
    this = asdict(subject(one).features) | {"setting": "fixed"}
    names = ("dataset", "setting", "tap", "model", "test_key")
    row = {"analysis": "x", "other": other, "other_test_key": "test-key", "n_images": 9, "cka": cka, "created_at": NOW}
    return {name: this[name] for name in names} | row


def analysed(store: FeatureStore, *seen: Subject) -> None:
    want(store, *seen)
    store.publish("representations", "given", rows_table("representations", [representation(one) for one in seen]))


def test_representations_are_those_of_one_tap_and_setting(store: FeatureStore) -> None:
    analysed(store, subject("b"), subject("a"), subject("a", tap="logits"), subject("c", setting="scratch"))
    with Database(store) as database:
        rows = database.query("representations").to_pylist()
        (logits,) = database.query("representations", tap="logits").to_pylist()
        (scratch,) = database.query("representations", setting="scratch").to_pylist()
    assert [(row["model"], row["effective_rank"], row["class_separation"]) for row in rows] == [
        ("a", 3.5, None),
        ("b", 3.5, None),
    ]
    assert (logits["model"], scratch["model"]) == ("a", "c")


def test_an_analysis_that_no_cell_asks_for_is_not_shown(store: FeatureStore) -> None:
    analysed(store, subject("a"))
    want(store, subject("a", train_key="newer"))
    with Database(store) as database:
        assert database.query("representations").num_rows == 0


def test_similarity_is_a_matrix(store: FeatureStore) -> None:
    analysed(store, *(subject(name) for name in "abc"))
    pairs = [likeness("a", "b", 0.25), likeness("a", "c", None), likeness("b", "c", None)]
    store.publish("similarities", "given", rows_table("similarities", pairs))
    with Database(store) as database:
        rows = database.query("similarity").to_pylist()
    assert [(row["model"], row["other"], row["cka"]) for row in rows] == [
        ("a", "a", 1), ("a", "b", 0.25), ("a", "c", None),
        ("b", "a", 0.25), ("b", "b", 1), ("b", "c", None),
        ("c", "a", None), ("c", "b", None), ("c", "c", None),
    ]  # fmt: skip
    assert {row["n_images"] for row in rows} == {9}


def test_nearest_neighbours_are_by_cosine_over_all_splits(store: FeatureStore) -> None:
    splits = {
        "train": [[10.0, 1], [0, 1]],
        "val": [[1, 1]],
        "test": [[1, 0], [-1, 0], [5, 0]],
    }
    for split, X in splits.items():
        save(store, subject(), split, X, [0, 1, 2][: len(X)])
        save_images(store, split, [0, 1, 2][: len(X)])
        save(store, subject("aaa", "zoo"), split, X, [0] * len(X))
    store.publish("datasets", "pets", rows_table("datasets", [dataset_record()]))
    with Database(store) as database:
        rows = database.query("nearest_neighbours", model="net", k=4).to_pylist()
        assert [(row["place"], row["split"], row["index"]) for row in rows] == [
            (1, "test", 2), (2, "train", 0), (3, "val", 0), (4, "train", 1),
        ]  # fmt: skip
        assert [row["similarity"] for row in rows] == pytest.approx([1, 10 / np.sqrt(101), np.sqrt(0.5), 0])
        assert [(row["label_name"], row["source"]) for row in rows[:2]] == [
            ("class 2", "test/2.png"), ("class 0", "train/0.png"),
        ]  # fmt: skip
        (first,) = database.query("nearest_neighbours", k=1).to_pylist()
        assert (first["model"], first["dataset"], first["source"]) == ("aaa", "zoo", None)
        (of_val,) = database.query("nearest_neighbours", model="net", split="val", k=1).to_pylist()
        assert (of_val["split"], of_val["index"]) == ("train", 0)
        assert database.query("nearest_neighbours", index=99).num_rows == 0
        assert database.query("nearest_neighbours", model="none").num_rows == 0


def test_of_two_sets_of_features_that_cells_read_an_image_comes_from_the_latest(store: FeatureStore) -> None:
    former, now = subject(test_key="former"), subject()
    for seen in (former, now):
        save(store, seen, "test", [[1.0, 0.0], [0.0, 1.0]], [0, 1])
    want(store, now)
    want(store, former, study="former", probe="knn", wanted_at=NOW - timedelta(days=1))
    with Database(store) as database:
        assert database.sql("select distinct key from features").to_pylist() == [{"key": "test-key"}]


def test_features_that_are_zero_are_last_and_have_no_neighbours(store: FeatureStore) -> None:
    for split in ("train", "val", "test"):
        save(store, subject(), split, [[0.0, 0], [1, 0]], [0, 1])
    with Database(store) as database:
        rows = database.query("nearest_neighbours", index=1).to_pylist()
        assert [(row["split"], row["similarity"]) for row in rows][:2] == [("train", 1), ("val", 1)]
        assert [row["similarity"] for row in rows[2:]] == [-1] * 3
        assert database.query("nearest_neighbours").num_rows == 0
