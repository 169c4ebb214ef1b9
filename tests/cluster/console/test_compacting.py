"""Packing at the end of a run: it is done and said where there are many files, and is no failure of the run."""

from __future__ import annotations

from given import score

from cluster.console.compacting import compact_if_due
from featurestore import FeatureStore
from featurestore.errors import StoreError
from featurestore.store.feature_store import rows_table
from featurestore.store.record_cache import FEW_FILES
from featurestore.store.storage import Storage


def fill(store: FeatureStore, n: int) -> FeatureStore:
    for number in range(n):
        rows = [score("m", "pets", 0.5, n_test=0) | {"cell": f"c{number}"}]
        store.publish("results", f"c{number}", rows_table("results", rows))
    return store


def test_a_small_store_sees_nothing_of_it(store, capfd):
    compact_if_due(fill(store, FEW_FILES))
    assert len(store.storage.list_files("results")) == FEW_FILES
    assert "".join(capfd.readouterr()) == ""


def test_many_files_are_packed_and_that_is_said(store, capfd):
    compact_if_due(fill(store, FEW_FILES + 1))
    assert len(store.storage.list_files("results")) == 1
    assert "Packed 33 files of results into 1 file." in capfd.readouterr().err


def test_a_failure_is_said_and_changes_nothing(store, capfd, monkeypatch):
    def full(*_: object) -> None:
        raise StoreError("The disk is full.")

    fill(store, FEW_FILES + 1)
    monkeypatch.setattr(Storage, "publish", full)
    compact_if_due(store)
    assert "were not packed, which changes no answer: The disk is full." in capfd.readouterr().err
    assert len(store.names("results")) == FEW_FILES + 1
