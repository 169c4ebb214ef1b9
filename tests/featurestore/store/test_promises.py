"""Keys are promises: what a store holds under a key is never computed again. See tests/data/make_study_v1.py.

Keys that an earlier version wrote stand here as hex. A change that moves one of them throws work away that took days,
so it needs a better reason than a test that fails.
"""

from __future__ import annotations

import hashlib
import importlib.util
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from locations import DATA
from silent import Silent

from cluster.reporting.events import Note
from cluster.runs import planning, stored_runs, study_run
from cluster.runs.estimate import summary_lines
from cluster.study.study_file import Study, read_study
from cluster.work import ledger
from cluster.work.former_choices import former_choices
from cluster.work.kinds.features import extraction_key, pair_of
from cluster.work.kinds.probes import cells_of
from cluster.work.ledger import Summary
from cluster.work.wanted_features import WantedFeatures
from featurestore import FeatureStore
from featurestore.care.verify import verify
from featurestore.images.splits import Dataset
from featurestore.networks.identity import Model, feature_set, inputs_key
from featurestore.store.layout import content_key
from featurestore.store.schema import SPLITS
from probes.analysis.analyse import Subject
from queries.asking.database import Database

COMPUTED = ("features", "samples", "results", "tuning", "predictions", "neighbours", "representations", "similarities")


class NoWorkers:
    """Stands where workers would: whoever wants any computes something."""

    def __getattr__(self, name: str) -> object:
        raise AssertionError(f"work is wanted: {name}")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A copy of the studies, elsewhere than where they were made, with the times that their images had."""
    folder = shutil.copytree(DATA / "study_v1", tmp_path_factory.mktemp("elsewhere") / "study_v1")
    spec = importlib.util.spec_from_file_location("make_study_v1", DATA / "make_study_v1.py")
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    script.restore_times(folder)
    yield folder
    sys.modules.pop("small_networks", None)
    sys.path[:] = [entry for entry in sys.path if entry != str(folder)]


@pytest.fixture
def store(place: Path) -> FeatureStore:
    return FeatureStore.open(str(place / "store"))


@pytest.fixture
def study(place: Path) -> Study:
    return read_study(place / "finished.toml")


@pytest.fixture
def pets(study: Study) -> Dataset:
    return opened(study)["pets"]


@pytest.fixture
def net(study: Study) -> Model:
    return identified(study)["net_0"]


def opened(study: Study) -> dict[str, Dataset]:
    return study_run.opened(study, fail)


def identified(study: Study) -> dict[str, Model]:
    study_run.find_modules(study)
    return study_run.identified(study, fail)


def fail(stage: str, error: Exception, **place: str) -> None:
    raise error


def computed(store: FeatureStore) -> dict[str, str]:
    """SHA-256 of everything that takes computing."""
    names = [name for table in COMPUTED for name in store.storage.list_files(table)]
    return {name: hashlib.sha256(store.storage.read_bytes(name)).hexdigest() for name in names}


TIED = {"076f1d15d59e8ad996547358", "7fdaa98065e0b54cc7172aab", "d9f2b7e5db2d3d17b165b61c", "ff21bebdd0d8c8ec416f688b"}
"""Cells whose stored tuning ties at its best value: four of six."""


@pytest.fixture(scope="module")
def fitted_again(place: Path) -> tuple[Summary, list[str], dict[str, str], dict[str, str]]:
    """The first run of today's version: its summary, its notes, and what was computed before and after it."""
    store, study, told = FeatureStore.open(str(place / "store")), read_study(place / "finished.toml"), Silent()
    before = computed(store)
    lines = summary_lines(planning.plan_study(study, store))
    assert lines[0] == "Missing: 0 of 16 shards (0 images x models, 0 bytes before compression), 4 of 6 cells."
    summary = study_run.run_study(study, store, reporter=told)
    return summary, [event.text for event in told.events if isinstance(event, Note)], before, computed(store)


def test_of_a_study_that_an_earlier_version_finished_only_ties_are_fitted_again(fitted_again):
    summary, notes, before, after = fitted_again
    assert (summary.counts["passes"], summary.counts["cells"], summary.counts["cells_wanted"]) == (0, 4, 6)
    assert summary.failures == []
    assert [note for note in notes if note.startswith("To fit again: 4 cells")]
    changed = {name for name in before if after[name] != before[name]}
    assert changed >= {f"{table}/{cell}.parquet" for table in ("results", "tuning") for cell in TIED}
    assert changed <= {f"{table}/{cell}.parquet" for table in ("results", "tuning", "predictions") for cell in TIED}
    assert sorted(name.split("/")[0] for name in after.keys() - before.keys()) == ["results"] * 4 + ["tuning"] * 4


def test_their_former_results_are_readable_and_labelled_and_count_nowhere(fitted_again, store):
    with Database(store) as database:
        former = [row for row in database.query("superseded_results").to_pylist() if "strength" in row["reason"]]
        gone = database.sql("select value, chosen, at_grid_edge, ties_by from superseded_results where headline")
        now = database.sql("select cell, ties_by from results where headline and chosen is not null").to_pylist()
        health = database.query("fit_health").to_pylist()
    assert sum(row["n_cells"] for row in former) == sum(row["n_replaced"] for row in former) == 4
    assert sorted(gone["chosen"].to_pylist()) == [10.0] * 4
    assert {one["cell"] for one in now if one["ties_by"] == "loss"} == TIED
    assert len(now) == 6
    assert [one["former_choice"] for one in health if one["probe"] == "logistic"] == [0]
    assert verify(store).findings == []


def test_a_second_run_computes_nothing(fitted_again, study, store):
    before = computed(store)
    summary = study_run.run_study(study, store, pool=NoWorkers(), reporter=Silent())
    assert (summary.counts["passes"], summary.counts["cells"], summary.counts["cells_wanted"], summary.failures) == (
        0,
        0,
        6,
        [],
    )
    assert computed(store) == before
    lines = summary_lines(planning.plan_study(study, store))
    assert lines == ["Nothing is missing: 16 shards and 6 cells are in the store."]


@pytest.mark.slow
def test_a_new_store_agrees_with_the_old_one(fitted_again, study, store, tmp_path):
    new = FeatureStore.create(str(tmp_path / "new"))
    study_run.run_study(study, new, reporter=Silent())
    assert former_choices(new) == set()
    text = "select cell, value, chosen, at_grid_edge from results where headline and chosen is not null order by cell"
    found = []
    for one in (store, new):
        with Database(one) as database:
            found.append(database.sql(text).to_pylist())
    assert [row["cell"] for row in found[1]] == [row["cell"] for row in found[0]]
    assert found[1] == found[0]


def test_its_analysis_is_there(store):
    before = computed(store)
    done = stored_runs.analyse_stored(store, pool=NoWorkers(), reporter=Silent())
    assert (done.counts["measured"], done.counts["compared"], done.failures) == (0, 0, [])
    assert computed(store) == before


def test_what_failed_is_known_by_the_same_keys_while_the_code_is_the_same(place, store, monkeypatch):
    versions = {"probestore": "0.1.0", "torch": "2.15.0", "timm": "1.0.31", "torchvision": "0.29.2"}
    monkeypatch.setattr(ledger, "_versions", lambda: {**versions, "scikit-learn": "1.9.1"})
    study = read_study(place / "failing.toml")
    broken, pets = identified(study)["broken"], opened(study)["pets"]
    wanted = [WantedFeatures(broken, tap, pets, "float16") for tap in study.extract.taps]
    keys = [extraction_key(item, study.extract) for item in wanted]
    assert keys == ["7a014c775128e7c1789b1e34", "cb3166ba29e7cb6d7ceae35e"]
    assert set(keys) == set(ledger.failures_of("failing", store))


def test_keys_of_image_tables(study):
    keys = {name: [dataset.samples(split).key for split in SPLITS] for name, dataset in opened(study).items()}
    assert keys == {
        "pets": ["f930d965133d42394a215f0a", "cb0f5b83569f98af7252cfa5", "8daf398663df8bc465181c37"],
        "scenes": ["a5ac5918e549b76034569add", "50d7b897a6117e767a5e64e8", "37a4c25e7c03acb1f344a54e"],
    }


@pytest.mark.parametrize(
    ("storage", "tap", "compute", "key"),
    [
        ("float16", "penultimate", "fp32", "305ca13866a34a746d2295ad"),
        ("float32", "penultimate", "fp32", "c9ac89d3735bab6c6b6bac1b"),
        ("float16", "block:0", "fp32", "1783d93f7022ffb076a8ab75"),
        ("float16", "penultimate", "bf16", "2ca97f86332a5d87d7bd39fc"),
        ("float16", "penultimate", "fp16", "32087fa2ab6ca54f280ebffd"),
    ],
)
def test_keys_of_features(net, pets, storage, tap, compute, key):
    model = Model(net.spec, net.digest, net.preprocessing, compute)
    assert feature_set(model, pets, "train", storage, tap=tap).key == key


def test_keys_of_models(study):
    keys = {name: model.key for name, model in identified(study).items()}
    assert keys == {"net_0": "0e0e6ddab33d08a9b13a5316", "net_1": "3c2b4575b7ddfe9e164dacd3"}


def test_keys_of_what_features_come_from(net, pets):
    assert inputs_key(net, pets, "float16") == "44f736faedbe0da9df2aca9f"
    assert inputs_key(net, pets, "float16", tap="block:0") == "087d906061963cb57602c429"


def test_keys_of_cells(study, net, pets):
    pair = pair_of(WantedFeatures(net, "penultimate", pets, "float16"))
    keys = {(cell.probe, cell.n_per_class): cell.key for cell in cells_of(pair, study.probe)}
    assert keys == {("logistic", None): "ff21bebdd0d8c8ec416f688b", ("logistic", 2): "d9f2b7e5db2d3d17b165b61c"}


def test_keys_of_analyses(store, study, net, pets):
    pair = pair_of(WantedFeatures(net, "penultimate", pets, "float16"))
    subject = Subject(features=pair.features, setting=pair.setting, n_classes=pair.n_classes)
    keys = {table: subject.analysis(table) for table in ("neighbours", "representations")}
    assert keys == {"neighbours": "97905056316509321b2550be", "representations": "7e4abfe3c518a57d020c426d"}
    assert all(key in store.names(table) for table, key in keys.items())


def test_a_key_is_the_hash_of_its_parts_and_of_the_version_of_keys():
    assert content_key({"a": 1, "b": [2, "é"]}) == "dd4ed5de75052bdb95ab1a42"
