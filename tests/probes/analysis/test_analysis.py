"""Analysis: stored features in, tables out, nothing twice."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
from given_features import analyse, dataset_record, save, subject, want
from silent import Silent

from cluster.cli import main
from cluster.runs.stored_runs import analyse_stored
from featurestore import FeatureStore
from featurestore.care.verify import verify
from featurestore.errors import MissingFeaturesError, UnknownNameError
from featurestore.store.feature_store import rows_table
from probes.analysis import geometry
from queries.asking.database import Database

TRAIN, VAL, TEST = [[3.0, 0], [0, 3], [-3, 0]], [[0, -3.0]], [[2.0, 0.1], [0.1, -2]]


def fill(store: FeatureStore, model: str = "net", turn: bool = False, **changes: object) -> None:
    seen = subject(model, **changes)
    for split, X, y in (("train", TRAIN, [0, 1, 2]), ("val", VAL, [1]), ("test", TEST, [0, 2])):
        save(store, seen, split, [row[::-1] for row in X] if turn else X, y)


def rows(store: FeatureStore, table: str) -> list[dict]:
    with Database(store) as database:
        return database.sql(f"from {table} order by all").to_pylist()


def test_a_test_image_gets_its_nearest_training_or_validation_image(store):
    fill(store)
    want(store, subject())
    assert not analyse(store, [subject()])
    found = rows(store, "neighbours")
    assert [(r["sample_id"], r["near_split"], r["near_index"], r["near_sample_id"]) for r in found] == [
        ("test0", "train", 0, "train0"),
        ("test1", "val", 0, "val0"),
    ]
    assert [r["same_label"] for r in found] == [True, False]
    assert [r["similarity"] for r in found] == pytest.approx([2 / np.hypot(2, 0.1)] * 2, abs=1e-6)


def test_labels_are_the_same_when_all_of_several_are(store):
    seen = subject()
    save(store, seen, "train", TRAIN, [[0, 1], [1], []])
    save(store, seen, "val", VAL, [[0, 1, 2]])
    save(store, seen, "test", TEST, [[1, 0], [0, 1]])
    want(store, seen)
    assert not analyse(store, [seen])
    assert [row["same_label"] for row in rows(store, "neighbours")] == [True, False]
    (row,) = rows(store, "representations")
    assert (row["class_separation"], row["within_between"]) == (None, None)


def test_features_are_measured_as_geometry_defines(store):
    fill(store)
    want(store, subject())
    analyse(store, [subject()])
    (row,) = rows(store, "representations")
    X, y = np.array(TRAIN + VAL), np.array([0, 1, 2, 1])
    assert (row["n_images"], row["dim"]) == (4, 2)
    assert row["effective_rank"] == pytest.approx(geometry.effective_rank(geometry.spectrum(X)))
    assert row["participation_ratio"] == pytest.approx(2)
    assert row["class_separation"] == pytest.approx(geometry.class_geometry(X, y).separation)
    assert row["within_between"] == pytest.approx(geometry.class_geometry(X, y).within_between)


def clouds(store: FeatureStore, model: str, X: np.ndarray, **changes: object) -> None:
    """Test features of a model, a few of them also to train on."""
    seen = subject(model, **changes)
    save(store, seen, "train", X[:3], [0, 1, 2])
    save(store, seen, "val", X[3:4], [1])
    save(store, seen, "test", X, [0] * len(X))


def test_every_two_models_are_compared_on_the_images_that_both_saw(store):
    X = np.random.default_rng(0).standard_normal((12, 5)).astype(np.float32)
    clouds(store, "a", X)
    clouds(store, "b", 3 * X[:, ::-1])
    clouds(store, "c", X**2)
    clouds(store, "other_images", X[:7])
    clouds(store, "flat", np.ones((12, 2)))
    seen = [subject(name) for name in ("flat", "c", "b", "a", "other_images")]
    want(store, *seen)
    assert not analyse(store, seen)
    found = {(row["model"], row["other"]): row["cka"] for row in rows(store, "similarities")}
    expected = geometry.cka([geometry.centred_gram(X), geometry.centred_gram(X**2)])[0, 1]
    a_flat, b_flat, c_flat = ("a", "flat"), ("b", "flat"), ("c", "flat")
    assert found == {
        ("a", "b"): pytest.approx(1, abs=1e-6),
        ("a", "c"): pytest.approx(expected, abs=1e-6),
        ("b", "c"): pytest.approx(expected, abs=1e-6),
        **dict.fromkeys((a_flat, b_flat, c_flat)),
    }


def test_of_many_images_those_with_the_smallest_ids_are_compared(store, monkeypatch):
    monkeypatch.setattr("probes.analysis.analyse.CKA_IMAGES", 6)
    X = np.random.default_rng(0).standard_normal((12, 5)).astype(np.float32)
    clouds(store, "a", X)
    clouds(store, "b", X**2)
    want(store, subject("a"), subject("b"))
    analyse(store, [subject("a"), subject("b")])
    (row,) = rows(store, "similarities")
    chosen = X[[0, 1, 2, 3, 10, 11]]  # test0, test1, test10, test11, test2, test3
    expected = geometry.cka([geometry.centred_gram(chosen), geometry.centred_gram(chosen**2)])[0, 1]
    assert (row["n_images"], row["cka"]) == (6, pytest.approx(expected, abs=1e-6))


def test_what_is_there_is_not_computed_again(store):
    fill(store)
    store.publish("datasets", "pets", rows_table("datasets", [dataset_record()]))
    want(store, subject())
    first = analyse_stored(store, reporter=Silent())
    again = analyse_stored(store, reporter=Silent())
    assert (first.counts["measured"], again.counts["measured"]) == (1, 0)
    fill(store, "new", turn=True)
    want(store, subject(), subject("new"))
    third = analyse_stored(store, reporter=Silent())
    assert (third.counts["measured"], third.counts["compared"]) == (1, 1)


def test_the_numbers_do_not_change_when_a_run_is_repeated_elsewhere(tmp_path):
    answers = []
    for name in ("one", "two"):
        store = FeatureStore.create(str(tmp_path / name))
        fill(store)
        want(store, subject())
        analyse(store, [subject()])
        answers.append([row | {"created_at": None} for row in rows(store, "neighbours")])
    assert answers[0] == answers[1]


def test_features_of_former_weights_leave_the_answers(store):
    fill(store)
    fill(store, train_key="k1", val_key="k2", test_key="k3", turn=True)
    new = subject(train_key="k1", val_key="k2", test_key="k3")
    want(store, subject())
    analyse(store, [subject(), new])
    assert {row["test_key"] for row in rows(store, "neighbours")} == {"test-key"}
    want(store, new)
    assert {row["test_key"] for row in rows(store, "neighbours")} == {"k3"}
    assert {row["test_key"] for row in rows(store, "representations")} == {"k3"}


def test_damaged_features_fail_alone(store):
    fill(store, "a")
    fill(store, "b")
    (part,) = Path(store.uri).glob("features/model=a/**/split=test/**/part*.parquet")
    part.write_bytes(part.read_bytes()[:-1])
    want(store, subject("a"), subject("b"))
    failures = analyse(store, [subject("a"), subject("b")])
    assert [failure.error for failure in failures.values()] == ["DamagedFileError", "DamagedFileError"]
    assert {row["model"] for row in rows(store, "representations")} == {"b"}


def test_the_new_records_are_verified_with_the_rest(store):
    fill(store, "a")
    fill(store, "b", turn=True)
    want(store, subject("a"), subject("b"))
    analyse(store, [subject("a"), subject("b")])
    assert not [f for f in verify(store).findings if f.place.startswith(("neigh", "repr", "simil"))]
    (path,) = Path(store.uri).glob("similarities/*.parquet")
    path.write_bytes(path.read_bytes().replace(b"a", b"z", 1))
    assert [f.place for f in verify(store).findings if f.place.startswith("simil")] == [f"similarities/{path.name}"]


def test_a_store_without_features_or_a_model_that_it_lacks_is_an_error(store):
    with pytest.raises(MissingFeaturesError, match="nothing to analyse"):
        analyse_stored(store, reporter=Silent())
    fill(store)
    store.publish("datasets", "pets", rows_table("datasets", [dataset_record()]))
    want(store, subject())
    with pytest.raises(UnknownNameError, match="Did you mean 'net'"):
        analyse_stored(store, ["nett"], reporter=Silent())


@pytest.mark.slow
def test_the_command_says_what_it_does_and_what_failed(store, monkeypatch, capsys):
    fill(store, "a")
    fill(store, "b")
    store.publish("datasets", "pets", rows_table("datasets", [dataset_record()]))
    want(store, subject("a"), subject("b"))
    command = ["probestore", "analyse", "--local", "--model", "a", "--store", store.uri]
    for expected, code in (("Measured 1 pair of a model and a dataset", 0), ("Nothing is missing", 0)):
        monkeypatch.setattr(sys, "argv", command)
        with pytest.raises(SystemExit) as stopped:
            main()
        assert expected in capsys.readouterr().err
        assert stopped.value.code == code
    (part,) = Path(store.uri).glob("features/model=b/**/split=test/**/part*.parquet")
    part.write_bytes(b"")
    monkeypatch.setattr(sys, "argv", ["probestore", "analyse", "--local", "--store", store.uri])
    with pytest.raises(SystemExit) as stopped:
        main()
    assert "FAILED b on pets" in capsys.readouterr().err
    assert stopped.value.code == 1


def test_what_cannot_be_analysed_is_recorded_and_not_tried_again_until_it_is_asked_for(store):
    fill(store, "a")
    fill(store, "b")
    store.publish("datasets", "pets", rows_table("datasets", [dataset_record()]))
    want(store, subject("a"), subject("b"))
    (part,) = Path(store.uri).glob("features/model=b/**/split=test/**/part*.parquet")
    part.write_bytes(b"")
    first = analyse_stored(store, reporter=Silent())
    assert {(work.stage, work.model) for work in first.failures} == {("analysis", "b"), ("analysis", None)}
    with Database(store) as database:
        failed = database.sql("select stage, model from failures order by all").to_pylist()
    assert [(row["stage"], row["model"]) for row in failed] == [("analysis", "b"), ("analysis", None)]
