"""Packs on an object store, where a new file replaces another one and no file is renamed."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from faulty_s3 import faulty
from given import cell, score

from featurestore import FeatureStore
from featurestore.care.compact import compact
from featurestore.care.verify import verify
from featurestore.store.feature_store import rows_table
from queries.asking.database import Database

N_CELLS = 20


def publish(store: FeatureStore, name: str, value: float) -> None:
    """Predictions and results of a cell, in the order of a run."""
    own = {"cell": name, "model": f"m_{name}"}
    predicted = cell("m", "pets") | own | {"predicted": 1, "top5": [1], "scores": [value, 1 - value]}
    digest = store.publish("predictions", name, rows_table("predictions", [predicted | {"sample_id": "s", "index": 0}]))
    result = score("m", "pets", value, n_test=1) | own | {"predictions_digest": digest}
    store.publish("results", name, rows_table("results", [result]))


def answers(store: FeatureStore) -> list[dict[str, object]]:
    text = "select cell, value, scores from results join predictions using (cell) order by cell"
    with Database(FeatureStore.open(store.uri)) as database:
        rows: list[dict[str, object]] = database.sql(text).to_pylist()
    return rows


@pytest.fixture
def store(bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FeatureStore:
    monkeypatch.setenv("PROBESTORE_CACHE", str(tmp_path / "cache"))
    made = FeatureStore.create(f"{bucket}/store")
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda number: publish(made, f"c{number:02d}", number / N_CELLS), range(N_CELLS)))
    return made


def test_packs_on_an_object_store_give_the_answers_of_the_files(store):
    before = answers(store)
    assert len(before) == N_CELLS
    done = compact(store)
    assert done.records == {"predictions": N_CELLS, "results": N_CELLS}
    assert not done.left
    assert answers(store) == before
    assert verify(store).sound
    publish(store, "c07", 0.99)  # is fitted again
    changed = answers(store)
    assert [row["cell"] for row in changed if row not in before] == ["c07"]
    compact(store)
    assert answers(store) == changed


def test_two_compactions_at_once_on_an_object_store_lose_nothing(store):
    before = answers(store)
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(lambda opened: compact(opened), [FeatureStore.open(store.uri) for _ in range(2)]))
    assert answers(store) == before
    assert verify(store).sound


def test_a_new_node_reads_a_packed_table_in_a_few_requests(store, endpoint, tmp_path, monkeypatch):
    compact(store)
    monkeypatch.setenv("PROBESTORE_CACHE", str(tmp_path / "another node"))
    with faulty(endpoint) as proxy:
        monkeypatch.setenv("AWS_ENDPOINT_URL", proxy.endpoint)
        assert len(FeatureStore.open(store.uri).record_rows("results", ["value"])) == N_CELLS
        assert len([line for line in proxy.requests if "results" in line]) < 8, proxy.requests
