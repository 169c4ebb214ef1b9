"""From stored features to rows of results, with no Ray and no image."""

from __future__ import annotations

import json

import numpy as np
import pyarrow.parquet as pq
import pytest
from scipy.special import softmax
from stored import DIM, N_CLASSES, PETS, cell, fill, results_of

from featurestore import FeatureStore
from featurestore.store.commit import publish_json
from featurestore.store.evidence import tuning_digest
from featurestore.store.feature_store import CHECKSUM, rows_table, with_checksum
from featurestore.store.matrices import MatrixCache
from probes import methods
from probes.cells.run import run_cells
from probes.methods import knn


@pytest.fixture
def filled(store) -> FeatureStore:
    fill(store)
    return store


def run(store: FeatureStore, *cells, **means) -> list[str | None]:
    """Fit cells; the message of each that failed."""
    reports = run_cells(store, cells, n_classes=N_CLASSES, device="cpu", **means)
    return [report.failure.message if report.failure else None for report in reports]


def keep_head(store: FeatureStore, n_source: int = 5) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(1)
    weight, bias = (rng.standard_normal(shape).astype(np.float32) for shape in ((n_source, DIM), (n_source,)))
    names = {"model": "net", "model_key": "weights"}
    rows = [{**names, "source_class": k, "weight": weight[k].tolist(), "bias": bias[k]} for k in range(n_source)]
    store.publish("heads", "weights", rows_table("heads", rows))
    return weight, bias


NEW_AND_OLD = [("2", 60), ("1", 10)]


def test_a_result_says_what_its_options_were_and_whether_its_scores_are_probabilities(filled):
    asked = [cell("knn", options=knn.Options(ks=(1, 3), temperature=0.5)), cell("ncm"), cell("logme")]
    assert run(filled, *asked) == [None, None, None]
    votes, distances, evidence = (results_of(filled, one) for one in asked)
    assert json.loads(votes["top1"]["options"]) == {"ks": [1, 3], "temperature": 0.5}
    assert {row["probabilistic"] for row in votes.values()} == {True}
    assert {row["probabilistic"] for row in distances.values()} == {False}
    assert votes.keys() - distances.keys() == {"nll", "ece"}
    (row,) = evidence.values()
    assert (row["metric"], row["headline"], row["n_test"], row["probabilistic"]) == ("logme", False, 0, None)


def test_lists_of_json_are_the_tuples_that_the_options_had(filled, monkeypatch):
    seen = []
    fit = knn.fit
    monkeypatch.setattr(
        knn, "fit", lambda task, options, resources: seen.append(options) or fit(task, options, resources)
    )
    run(filled, cell("knn", options=knn.Options(ks=(1, 3))))
    assert seen == [knn.Options(ks=(1, 3))]


def test_a_few_shot_cell_is_fitted_on_as_many_images_as_it_says(filled):
    asked = [cell("ncm", n_per_class=n, seed=seed) for n in (2, 5) for seed in (0, 1)]
    assert run(filled, *asked) == [None] * 4
    rows = [results_of(filled, one)["top1"] for one in asked]
    assert [(row["n_per_class"], row["seed"], row["n_train"]) for row in rows] == [
        (2, 0, 14), (2, 1, 14), (5, 0, 35), (5, 1, 35)
    ]  # fmt: skip
    assert {row["n_test"] for row in rows} == {70}


def test_a_few_shot_cell_says_how_many_images_there_were(filled):
    asked = cell("ncm", n_per_class=1000)
    assert run(filled, asked) == [None]
    assert results_of(filled, asked)["top1"]["n_train"] == 70


def test_a_cell_that_cannot_be_fitted_leaves_the_others_alone(filled):
    first, second = run(filled, cell("ridge", metric="nll"), cell("ncm"))
    assert "the metric must be one of" in first
    assert second is None


def test_the_networks_own_classifier_is_read_for_the_probe_that_asks(filled, monkeypatch):
    weight, bias = keep_head(filled)
    read = []
    original = filled.read_record
    monkeypatch.setattr(filled, "read_record", lambda *names, **kw: read.append(names) or original(*names, **kw))
    assert run(filled, cell("ncm")) == [None]
    assert read == []
    seen = []
    leep = methods.load("leep")
    fit = leep.fit
    monkeypatch.setattr(
        leep, "fit", lambda task, options, resources: seen.append(task) or fit(task, options, resources)
    )
    assert run(filled, cell("leep"), cell("nce")) == [None, None]
    assert read == [("heads", "weights")]
    (task,) = seen
    expected = softmax(task.X.astype(np.float64) @ weight.T + bias, axis=1)
    np.testing.assert_allclose(task.source_probabilities(task.X), expected, rtol=1e-12)


def test_without_its_own_classifier_a_network_has_no_leep(filled):
    (message,) = run(filled, cell("leep"))
    assert "the store has none for this network" in message


def test_a_cache_gives_the_same_rows(filled, tmp_path):
    cache = MatrixCache(tmp_path / "cache", 10**9)
    asked = cell("knn")
    run(filled, asked)
    before = results_of(filled, asked)
    for _ in range(2):
        assert run(filled, asked, matrices=cache) == [None]
    assert list((tmp_path / "cache").glob("features-*"))
    after = results_of(filled, asked)
    changing = ("seconds", "created_at")
    for name, row in before.items():
        assert {k: v for k, v in row.items() if k not in changing} == {
            k: v for k, v in after[name].items() if k not in changing
        }


def test_predictions_carry_the_scores(filled):
    asked = cell("knn")
    run(filled, asked)
    table = pq.read_table(filled.files("predictions")[1], partitioning=None)
    rows = table.to_pylist()
    assert len(rows) == 70
    assert all(row["probability"] == pytest.approx(row["scores"][row["label"]], abs=1e-6) for row in rows)


def test_a_result_names_the_digests_of_what_it_rests_on(filled):
    asked = [cell("knn"), cell("ncm"), cell("logme")]
    assert run(filled, *asked) == [None] * 3
    tuned, plain, measured = (next(iter(results_of(filled, one).values())) for one in asked)
    features = [filled.features_digest(item) for item in PETS.sets()]
    assert tuned["features_digests"] == plain["features_digests"] == features
    assert measured["features_digests"] == [*features[:2], None]
    assert tuned["predictions_digest"] == filled.record_seal("predictions", tuned["cell"])
    assert tuned["tuning_digest"] == tuning_digest(filled.read_record("tuning", tuned["cell"]))
    assert [row["tuning_digest"] for row in (plain, measured)] == [None, None]
    assert measured["predictions_digest"] is None


def test_a_result_counts_the_images_of_every_installation_that_made_its_features(filled):
    manifest = filled.manifest(PETS.set("train"))
    timm = [{"versions": {"timm": name}, "device": "cpu", "fingerprint": [1.0], "images": n} for name, n in NEW_AND_OLD]
    described = {name: said for name, said in manifest.items() if name != CHECKSUM} | {"made_with": timm}
    publish_json(filled.storage, f"{PETS.set('train').folder}/manifest.json", with_checksum(described))
    assert run(filled, cell("knn")) == [None]
    found = results_of(filled, cell("knn"))["top1"]["features_made_with"]
    assert {made["versions"]: made["n_images"] for made in found} == {
        '{"timm": "2"}': 60,
        '{"timm": "1"}': 10,
        None: 140,
    }


def test_the_digests_are_those_of_the_files_that_were_read(filled, monkeypatch):
    """A manifest that is replaced while a cell is fitted changes nothing that the cell says."""
    fit, before = knn.fit, filled.features_digest(PETS.set("train"))

    def replacing(*given):
        fill(filled, n_images=77, anew=True)
        return fit(*given)

    monkeypatch.setattr(knn, "fit", replacing)
    asked = cell("knn")
    assert run(filled, asked) == [None]
    row = results_of(filled, asked)["top1"]
    assert row["features_digests"][0] == before != filled.features_digest(PETS.set("train"))
    assert row["features_digests"][2] == filled.features_digest(PETS.set("test"))
    assert row["n_train"] == 70
