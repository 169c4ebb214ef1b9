"""Questions about single images: few given predictions, answers worked out by hand or by scikit-learn."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

import numpy as np
import pytest
from given import NOW, Given, Row, cell, score
from given_features import dataset_record, save_images, subject, want
from sklearn.metrics import cohen_kappa_score

from featurestore import FeatureStore
from featurestore.store.feature_store import rows_table
from queries.asking.database import Database

LABELS = [0, 0, 1, 1, 2, 2]


def answers(
    model: str,
    predicted: Sequence[int],
    labels: Sequence[int] | Sequence[Sequence[int]] = LABELS,
    *,
    dataset: str = "pets",
    probability: Sequence[float | None] | None = None,
    ids: Sequence[str] | None = None,
    **changes: object,
) -> list[Row]:
    """Predictions of a cell, image by image."""
    return [
        cell(model, dataset, **changes)
        | {
            "sample_id": ids[i] if ids else f"test{i}",
            "index": i,
            "label": labels[i] if isinstance(labels[i], int) else None,
            "labels": None if isinstance(labels[i], int) else labels[i],
            "predicted": found,
            "probability": probability[i] if probability else None,
            "top5": [found],
            "scores": [],
        }
        for i, found in enumerate(predicted)
    ]


def result_of(own: list[Row], **changes: object) -> Row:
    """The result of the cell of these predictions."""
    names = ("cell", "probe", "solver", "seed")
    return score(own[0]["model"], own[0]["dataset"], 0.5) | {name: own[0][name] for name in names} | changes


def asked(given: Given, *cells: list[Row]) -> Database:
    """A database over the predictions of these cells."""
    predictions = [row for own in cells for row in own]
    return given(results=[result_of(own) for own in cells], predictions=predictions, datasets=[dataset_record()])


THREE = (
    answers("a", [0, 1, 1, 1, 0, 2], probability=[0.9, 0.2, 0.8, 0.7, 0.3, 0.6]),
    answers("b", [0, 1, 1, 2, 0, 2], probability=[0.8, 0.1, 0.9, 0.4, 0.2, 0.7]),
    answers("c", [0, 2, 1, 1, 1, 2], probability=[0.7, 0.3, 0.6, 0.6, 0.4, 0.5]),
)


# ---- hardest images ---------------------------------------------------------------------------------------------


def test_hardest_images_are_those_that_most_models_get_wrong(given: Given) -> None:
    rows = asked(given, *THREE).query("hardest_images").to_pylist()
    assert [(row["place"], row["index"], row["wrong"]) for row in rows] == [
        (1, 1, 1.0),  # all wrong, with 0.2 on average
        (2, 4, 1.0),  # all wrong, with 0.3
        (3, 3, pytest.approx(1 / 3)),
    ]
    first = rows[0]
    assert (first["label"], first["label_name"], first["n_models"], first["sample_id"]) == (0, "class 0", 3, "test1")
    assert (first["mistaken_for"], first["mistaken_for_name"], first["mistaken"]) == (
        1,
        "class 1",
        pytest.approx(2 / 3),
    )
    assert first["probability"] == pytest.approx(0.2)


def test_the_source_of_an_image_is_found(tmp_path) -> None:
    store = FeatureStore.create(str(tmp_path / "store"))
    save_images(store, "test", LABELS)
    save_images(store, "train", LABELS)
    store.publish("predictions", "given", rows_table("predictions", THREE[0]))
    store.publish("results", "given", rows_table("results", [result_of(THREE[0])]))
    with Database(store) as database:
        rows = database.query("hardest_images").to_pylist()
    assert [row["source"] for row in rows] == ["test/1.png", "test/4.png"]
    assert [row["label_name"] for row in rows] == [None, None]  # the dataset has no record


def test_the_hardest_k_of_one_dataset(given: Given) -> None:
    database = asked(given, *THREE, answers("a", [1, 1], [0, 0], dataset="more"))
    found = database.query("hardest_images", k=1).to_pylist()
    assert [(row["dataset"], row["index"]) for row in found] == [("more", 0), ("pets", 1)]
    (row,) = database.query("hardest_images", k=1, dataset="pets").to_pylist()
    assert row["index"] == 1


def test_with_several_labels_a_model_is_right_where_its_first_class_is_one_of_them(given: Given) -> None:
    labels = [[0, 2], [1]]
    database = asked(given, answers("a", [2, 0], labels), answers("b", [1, 1], labels))
    rows = database.query("hardest_images").to_pylist()
    assert [(row["index"], row["wrong"], row["label"]) for row in rows] == [(0, 0.5, None), (1, 0.5, None)]
    assert [row["label_name"] for row in rows] == ["class 0, class 2", "class 1"]
    assert [row["probability"] for row in rows] == [None] * 2


def test_an_image_without_a_label_is_neither_right_nor_wrong(given: Given) -> None:
    labels = [[0, 2], [1], []]
    database = asked(given, answers("a", [2, 0, 1], labels), answers("b", [1, 1, 0], labels))
    assert [row["index"] for row in database.query("hardest_images").to_pylist()] == [0, 1]
    (pair,) = database.query("model_agreement").to_pylist()
    assert (pair["n"], pair["both_right"], pair["both_wrong"]) == (2, 0, 0)
    assert [row["index"] for row in database.query("disagreements").to_pylist()] == [0, 1]


def test_of_several_seeds_and_solvers_one_answers(given: Given) -> None:
    right = answers("a", LABELS, solver="sklearn")
    wrong = [answers("a", [1] * 6, **which) for which in ({"solver": "path"}, {"seed": 1}, {"probe": "knn"})]
    results = [result_of(right, created_at=NOW + timedelta(1)), *map(result_of, wrong)]
    database = given(results=results, predictions=[row for own in (right, *wrong) for row in own])
    assert database.query("hardest_images").num_rows == 0


# ---- classes ----------------------------------------------------------------------------------------------------


def test_accuracy_per_class_and_what_it_is_taken_for(given: Given) -> None:
    rows = asked(given, *THREE).query("per_class_accuracy", model="b").to_pylist()
    assert [(r["class_name"], r["n"], r["accuracy"], r["confused_with"], r["confused"]) for r in rows] == [
        ("class 0", 2, 0.5, 1, 0.5),
        ("class 1", 2, 0.5, 2, 0.5),
        ("class 2", 2, 0.5, 0, 0.5),
    ]


def test_a_class_that_is_always_right_is_confused_with_none(given: Given) -> None:
    (row, *_) = asked(given, answers("a", LABELS)).query("per_class_accuracy").to_pylist()
    assert (row["accuracy"], row["confused_with"], row["confused_with_name"], row["confused"]) == (1, None, None, None)


def test_classes_of_several_labels_are_left_out(given: Given) -> None:
    assert asked(given, answers("a", [0], [[0, 1]])).query("per_class_accuracy").num_rows == 0


# ---- agreement --------------------------------------------------------------------------------------------------


def test_agreement_is_that_of_scikit_learn(given: Given) -> None:
    rng = np.random.default_rng(0)
    n = 10_000  # more than one block of bits
    labels = rng.integers(0, 3, n)
    found = {name: np.where(rng.random(n) < 0.6, labels, rng.integers(0, 3, n)) for name in "ab"}
    database = asked(given, *(answers(name, p.tolist(), labels.tolist()) for name, p in found.items()))
    (row,) = database.query("model_agreement").to_pylist()
    a, b = found.values()
    right, wrong = (a == labels) & (b == labels), (a != labels) & (b != labels)
    assert (row["model"], row["other"], row["n"]) == ("a", "b", n)
    assert row["same_prediction"] == (a == b).mean()
    assert (row["both_right"], row["both_wrong"]) == (right.mean(), wrong.mean())
    assert row["kappa"] == pytest.approx(cohen_kappa_score(a, b))
    assert row["error_consistency"] == pytest.approx(cohen_kappa_score(a == labels, b == labels))
    assert row["same_error"] == pytest.approx((wrong & (a == b)).sum() / wrong.sum())


def test_models_that_are_always_right_have_no_kappa_of_errors(given: Given) -> None:
    (row,) = asked(given, answers("a", LABELS), answers("b", LABELS)).query("model_agreement").to_pylist()
    assert (row["same_prediction"], row["kappa"]) == (1, 1)
    assert (row["error_consistency"], row["same_error"]) == (None, None)


def test_models_that_share_nothing_agree_on_nothing(given: Given) -> None:
    (row,) = asked(given, answers("a", [0] * 6), answers("b", [1] * 6)).query("model_agreement").to_pylist()
    assert (row["same_prediction"], row["both_right"], row["kappa"], row["same_error"]) == (0, 0, 0, 0)


def test_with_several_labels_both_can_be_right_and_differ(given: Given) -> None:
    labels = [[0, 1], [2]]
    database = asked(given, answers("a", [0, 0], labels), answers("b", [1, 0], labels))
    (row,) = database.query("model_agreement").to_pylist()
    assert (row["both_right"], row["both_wrong"], row["same_prediction"], row["same_error"]) == (0.5, 0.5, 0.5, 1)


def test_models_that_saw_other_images_are_not_paired(given: Given) -> None:
    other = answers("b", LABELS, ids=["x", *(f"test{i}" for i in range(1, 6))])
    assert asked(given, answers("a", LABELS), other).query("model_agreement").num_rows == 0


# ---- disagreements ----------------------------------------------------------------------------------------------


def test_disagreements_are_ordered_by_how_clear_they_are(given: Given) -> None:
    rows = asked(given, *THREE).query("disagreements", model="b", other="c").to_pylist()
    assert [(r["index"], r["right_model"], r["wrong_model"], r["mistaken_for"]) for r in rows] == [(3, "c", "b", 2)]
    assert (rows[0]["right_probability"], rows[0]["wrong_probability"]) == (0.6, 0.4)


def test_without_names_the_two_that_are_right_most_often_are_compared(given: Given) -> None:
    worst = answers("worst", [2, 2, 2, 2, 0, 0])
    rows = asked(given, worst, answers("best", LABELS), *THREE).query("disagreements").to_pylist()
    assert {(row["right_model"], row["wrong_model"]) for row in rows} == {("best", "a")}
    assert [row["index"] for row in rows] == [1, 4]
    rows = asked(given, worst, answers("best", LABELS), *THREE).query("disagreements", other="best").to_pylist()
    assert {row["wrong_model"] for row in rows} == {"a"}


def test_a_model_that_is_not_there_disagrees_with_none(given: Given) -> None:
    assert asked(given, *THREE).query("disagreements", model="z").num_rows == 0
    assert asked(given, THREE[0]).query("disagreements").num_rows == 0


# ---- leaks ------------------------------------------------------------------------------------------------------


def looked_at(model: str) -> Row:
    """The columns that name the features of a model."""
    seen = subject(model)
    names = ("dataset", "tap", "model", "train_key", "val_key", "test_key")
    return {name: getattr(seen.features, name) for name in names} | {"setting": seen.setting}


def neighbour(model: str, index: int, near_index: int, similarity: float, **changes: object) -> Row:
    near = {"near_split": "train", "near_sample_id": f"train{near_index}", "near_index": near_index}
    test = {"analysis": model, "sample_id": f"test{index}", "index": index, "similarity": similarity}
    return looked_at(model) | test | near | {"same_label": True, "created_at": NOW} | changes


def representation(model: str) -> Row:
    """What makes an analysis count."""
    row = {"analysis": model, "n_images": 4, "dim": 2, "seconds": 1.0, "created_at": NOW}
    return looked_at(model) | row


@pytest.fixture
def images_store(tmp_path) -> FeatureStore:
    """Six test images, of which test3 has the bytes of train1 and train2; four models looked."""
    store = FeatureStore.create(str(tmp_path / "images"))
    save_images(store, "train", [1, 1, 0, 0], "kxxn")
    save_images(store, "val", [2], "v")
    save_images(store, "test", LABELS, "abcxef")
    return store


def looked(store: FeatureStore, *rows: Row) -> Database:
    models = sorted({row["model"] for row in rows})
    want(store, *(subject(name) for name in models))
    store.publish("neighbours", "given", rows_table("neighbours", rows))
    store.publish("representations", "given", rows_table("representations", [representation(m) for m in models]))
    return Database(store)


def test_exact_copies_need_no_analysis(images_store: FeatureStore) -> None:
    with Database(images_store) as database:
        (row,) = database.query("leaks").to_pylist()
    assert (row["index"], row["near_split"], row["near_index"], row["kind"]) == (3, "train", 1, "exact")
    assert (row["source"], row["near_source"], row["same_label"]) == ("test/3.png", "train/1.png", True)
    assert (row["n_found"], row["n_models"], row["similarity"]) == (0, 0, None)


def test_near_copies_are_those_that_half_of_the_models_find(images_store: FeatureStore) -> None:
    def found(model: str, index: int, near: int, similarity: float, **changes: object) -> Row:
        ids = {"sample_id": f"id-{'abcxef'[index]}", "near_sample_id": f"id-{'kxxn'[near]}"}
        return neighbour(model, index, near, similarity, **(ids | changes))

    rows = [
        *(found(model, 0, 0, 0.97, same_label=False) for model in ("m1", "m2")),
        *(found(model, 0, 3, 0.99) for model in ("m3",)),
        *(found(model, 1, 3, 0.89) for model in ("m1", "m2", "m3", "m4")),
        *(found(model, 3, near, 1.0) for model, near in (("m1", 1), ("m2", 2), ("m3", 2))),
    ]
    with looked(images_store, *rows) as database:
        leaks = database.query("leaks").to_pylist()
        assert [(r["kind"], r["index"], r["near_index"], r["n_found"], r["n_models"]) for r in leaks] == [
            ("exact", 3, 1, 3, 4),
            ("near", 0, 0, 2, 4),
        ]
        assert leaks[1]["similarity"] == pytest.approx(0.97)
        assert (leaks[1]["same_label"], leaks[1]["source"], leaks[1]["near_source"]) == (
            False, "test/0.png", "train/0.png",
        )  # fmt: skip
        assert [r["index"] for r in database.query("leaks", similarity=0.85).to_pylist()] == [3, 0, 1]
        (counts,) = database.query("leak_counts").to_pylist()
        assert (counts["dataset"], counts["exact"], counts["near"], counts["other_label"]) == ("pets", 1, 1, 1)
        n_test = database.sql("select count(*) as n from samples where split = 'test'")["n"][0].as_py()
        assert counts["share"] == pytest.approx(2 / n_test)
        assert [r["near_index"] for r in database.query("leaks", share=0.25).to_pylist()] == [1, 3, 0]
        assert database.query("leaks", dataset="none").num_rows == 0


def test_equal_ids_are_an_exact_copy_where_images_are_not_listed(given: Given) -> None:
    seen = subject("m")
    keys = {name: getattr(seen.features, name) for name in ("train_key", "val_key", "test_key")}
    wish = cell("m", "pets") | keys | {"study": "s", "wanted_at": NOW}
    row = neighbour("m", 0, 5, 1.0, near_sample_id="test0")
    database = given(cells=[wish], neighbours=[row], representations=[representation("m")])
    (found,) = database.query("leaks").to_pylist()
    assert (found["kind"], found["source"], found["near_index"], found["n_found"]) == ("exact", None, 5, 1)
