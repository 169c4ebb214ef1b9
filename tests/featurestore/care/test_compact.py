"""Packing the records of a store: what readers see before, meanwhile and afterwards."""

from __future__ import annotations

import itertools
import json
import os
from pathlib import Path
from typing import Any

import pytest
from given import cell, score, wanted

from featurestore import FeatureStore
from featurestore.care import compact as module
from featurestore.care.compact import Compacted, compact, is_due
from featurestore.care.mend import mend
from featurestore.care.verify import verify
from featurestore.errors import DamagedFileError
from featurestore.store import packs
from featurestore.store.feature_store import rows_table
from featurestore.store.record_cache import FEW_FILES
from featurestore.store.storage import Storage


class Killed(BaseException):
    """What a killed process does not catch."""


def publish(store: FeatureStore, name: str, value: float = 0.5, n_images: int = 3) -> None:
    """A cell with predictions and results, in the order of a run."""
    own = {"cell": name, "model": f"m{name[-1]}"}
    predicted = cell("m", "pets") | own | {"predicted": 1, "top5": [1], "scores": [value, 1 - value]}
    rows = [predicted | {"sample_id": f"{name}-{k}", "index": k} for k in range(n_images)]
    digest = store.publish("predictions", name, rows_table("predictions", rows))
    result = score("m", "pets", value, n_test=n_images) | own | {"predictions_digest": digest}
    store.publish("results", name, rows_table("results", [result]))


def seen(store: FeatureStore) -> dict[str, tuple[float, int]]:
    """What a reader of a new node sees: value and number of predictions of each cell; each row once."""
    opened = FeatureStore.open(store.uri)
    rows = opened.record_rows("results", ["value"]).to_pylist()
    assert len(rows) == len(opened.names("results"))
    return {row["record"]: (row["value"], len(opened.read_record("predictions", row["record"]))) for row in rows}


def loose(store: FeatureStore, table: str = "results") -> list[str]:
    return [name for name in store.storage.list_files(table) if "/packed/" not in name]


@pytest.fixture
def some(store: FeatureStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FeatureStore:
    """A store with a few cells, on a node that knows nothing of it."""
    monkeypatch.setenv("PROBESTORE_CACHE", str(tmp_path / "cache"))
    for number in range(4):
        publish(store, f"c{number}", number / 10)
    return store


def test_many_files_become_few_and_the_answers_stay(some):
    before, times, seals = seen(some), some.record_times("results"), some.record_seal("predictions", "c1")
    done = compact(some)
    assert (done.records, done.left) == ({"predictions": 4, "results": 4}, {})
    assert loose(some) == loose(some, "predictions") == []
    assert seen(some) == before
    assert some.record_times("results") == times
    assert some.record_seal("predictions", "c1") == seals
    assert verify(some).findings == []
    assert compact(some).records == {}


def test_a_store_with_packs_is_refused_by_versions_that_do_not_know_them(some):
    def version() -> int:
        return json.loads(some.storage.read_bytes("store.json"))["schema_version"]

    assert version() == 1
    compact(some)
    assert version() == 2
    some.storage.delete("store.json")
    opened = FeatureStore.open(some.uri, to_mend=True)
    mend(opened, verify(opened))
    assert version() == 2
    assert verify(FeatureStore.open(some.uri)).findings == []


def test_rows_are_sorted_by_model_and_dataset(store):
    for name, place in {"a": ("n", "x"), "b": ("m", "y"), "c": ("m", "x")}.items():
        row = score(*place, 0.5, n_test=0) | {"cell": name}
        store.publish("results", name, rows_table("results", [row]))
    compact(store)
    (pack,) = store.stored_files("results")
    assert [record.name for record in packs.records_in(store.storage, pack)] == ["c", "b", "a"]


def test_what_is_written_later_counts_and_is_packed_in_its_turn(some):
    compact(some)
    publish(some, "c1", 0.9)
    assert seen(some)["c1"] == (0.9, 3)
    compact(some)
    assert loose(some) == []
    publish(some, "c2", 0.8)
    publish(some, "c3", 0.7)
    done = compact(some)
    assert {name: value for name, (value, _) in seen(some).items()} == {"c0": 0.0, "c1": 0.9, "c2": 0.8, "c3": 0.7}
    assert done.merged > 0
    rows = sum(len(packs.open_footer(some.storage, pack.name).contents.names) for pack in some.stored_files("results"))
    assert rows == 4


def test_what_is_written_later_counts_whatever_the_clocks_say(some):
    compact(some)
    for _ in range(2):  # a record takes the place of the packed one, and another one of that
        value = seen(some)["c1"][0] + 0.25
        publish(some, "c1", value)
        for table in ("predictions", "results"):
            os.utime(Path(some.uri) / table / "c1.parquet", (1_000_000, 1_000_000))
        compact(some)
        assert not loose(some)
        assert seen(some)["c1"] == (value, 3)


def test_a_damaged_file_stays_and_is_named(some):
    path = Path(some.storage.path("results/c2.parquet"))
    content = path.read_bytes()
    path.write_bytes(content[:50] + bytes(1) + content[51:])
    done = compact(some)
    assert list(done.left) == ["results/c2.parquet"] == loose(some)
    assert done.records == {"predictions": 4, "results": 3}


@pytest.mark.parametrize("step", range(10))
def test_whoever_is_killed_loses_nothing_and_leaves_nothing_twice(some, monkeypatch, step):
    before, steps = seen(some), itertools.count()
    for name in ("publish", "delete"):
        _killing(monkeypatch, name, lambda: next(steps) == step)
    with pytest.raises(Killed):
        compact(some)
    monkeypatch.undo()
    assert seen(some) == before
    compact(some)
    assert seen(some) == before
    assert loose(some) == []


def _killing(monkeypatch: pytest.MonkeyPatch, method: str, is_now: Any) -> None:
    real = getattr(Storage, method)

    def killing(self: Storage, name: str, *rest: Any) -> Any:
        if is_now():
            raise Killed
        return real(self, name, *rest)

    monkeypatch.setattr(Storage, method, killing)


def _between(monkeypatch: pytest.MonkeyPatch, act: Any) -> None:
    """Do something once, when the first pack of results has been published."""
    real, to_do = packs.write, [act]

    def write(storage: Storage, table: str, records: Any, **options: Any) -> Any:
        for written in real(storage, table, records, **options):
            if table == "results" and to_do:
                to_do.pop()()
            yield written

    monkeypatch.setattr(packs, "write", write)


def test_a_file_that_is_written_again_meanwhile_stays_and_counts(some, monkeypatch):
    _between(monkeypatch, lambda: publish(some, "c1", 0.9))
    done = compact(some)
    assert loose(some) == ["results/c1.parquet"]
    assert done.records["results"] == 3
    assert seen(some)["c1"] == (0.9, 3)


def test_a_file_that_changes_within_its_time_is_told_by_its_content(some, monkeypatch):
    path = Path(some.storage.path("results/c1.parquet"))
    whole = path.stat().st_mtime_ns // 10**9 * 10**9
    os.utime(path, ns=(whole, whole))

    def again() -> None:
        size = path.stat().st_size
        publish(some, "c1", 0.2)
        os.utime(path, ns=(whole, whole))
        assert path.stat().st_size == size

    _between(monkeypatch, again)
    compact(some)
    assert loose(some) == ["results/c1.parquet"]
    assert some.read_record("results", "c1")["value"].to_pylist() == [0.2]


def test_what_is_removed_meanwhile_does_not_come_back(some, monkeypatch):
    _between(monkeypatch, lambda: some.delete_records("results", ["c1"]))
    compact(some)
    assert seen(some).keys() == {"c0", "c2", "c3"}


def _before_publication(monkeypatch: pytest.MonkeyPatch, act: Any) -> None:
    """Do something once, when all records of the first pack of results have been read."""
    real, to_do = packs._Pack.finished, [act]

    def finished(self: Any) -> Any:
        if self._table == "results" and to_do:
            to_do.pop()()
        return real(self)

    monkeypatch.setattr(packs._Pack, "finished", finished)


def test_what_is_removed_before_its_pack_is_published_does_not_come_back(some, monkeypatch):
    _before_publication(monkeypatch, lambda: some.delete_records("results", ["c1"]))
    compact(some)
    assert seen(some).keys() == {"c0", "c2", "c3"}
    assert not loose(some)


def test_two_compactions_that_overtake_each_other_lose_nothing(some, monkeypatch):
    before = seen(some)
    other, tidy = FeatureStore.open(some.uri), module._tidy

    def pack_alone() -> None:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(module, "_tidy", lambda *_: None)
            compact(other)

    _before_publication(monkeypatch, pack_alone)
    _between(monkeypatch, lambda: tidy(other, "results", other._packs.packs("results"), Compacted()))
    compact(some)
    assert seen(some) == before


def test_two_compactions_at_once_are_as_good_as_one(some, monkeypatch):
    before = seen(some)
    other = FeatureStore.open(some.uri)
    _between(monkeypatch, lambda: compact(other))
    compact(some)
    assert seen(some) == before
    assert loose(some) == []


def test_a_reader_with_an_older_listing_finds_what_was_packed_since(some):
    listed = some.listed("results")
    compact(some)
    assert len(FeatureStore.open(some.uri).record_rows("results", ["value"], listed=listed)) == 4


def test_many_small_packs_become_one(some):
    before = seen(some)
    for number in range(FEW_FILES + 1):
        record = packs.Record(f"n{number}", rows_table("results", [score("m", "p", 0.5) | {"cell": f"n{number}"}]))
        list(packs.write(some.storage, "results", [record]))
    done = compact(some)
    assert done.merged == FEW_FILES + 2
    assert len(some.stored_files("results")) == 1
    assert len(some.names("results")) == len(before) + FEW_FILES + 1


def test_a_pack_has_no_more_than_its_size(some, monkeypatch):
    before = seen(some)
    monkeypatch.setattr(packs, "MOST_BYTES", 1)
    done = compact(some)
    assert done.packs["predictions"] == 4
    assert seen(some) == before


def test_large_files_stay(some, monkeypatch):
    monkeypatch.setattr(module, "MOST_BYTES_OF_A_RECORD", 1)
    assert compact(some).records == {}


def test_it_is_due_when_a_table_has_many_files(some):
    assert not is_due(some)
    for number in range(FEW_FILES):
        publish(some, f"d{number}")
    assert is_due(some)
    compact(some, more_than=FEW_FILES)
    assert not is_due(some)


def test_a_damaged_pack_goes_and_the_studies_that_want_its_records_are_named(some):
    some.publish(
        "cells", "s", rows_table("cells", [wanted(f"m{k}", "pets", cell=f"c{k}", made=True) for k in range(4)])
    )
    compact(some)
    (name,) = some.storage.list_files("predictions")
    path = Path(some.storage.path(name))
    content = bytearray(path.read_bytes())
    content[-100] ^= 1
    path.write_bytes(content)
    verified = verify(FeatureStore.open(some.uri))
    assert name in {finding.place for finding in verified.findings}
    done = mend(FeatureStore.open(some.uri, to_mend=True), verified)
    assert name in done.removed
    assert {f"results/c{k}.parquet" for k in range(4)} < done.removed.keys()
    assert any("study s" in note for note in done.remaking.notes)
    assert some.listed("predictions") == some.listed("results") == []


def test_what_a_run_reads_first_names_a_damaged_pack_and_the_command_that_mends_it(some, monkeypatch, tmp_path):
    compact(some)
    (name,) = some.storage.list_files("results")
    Path(some.storage.path(name)).write_bytes(b"PAR1")
    monkeypatch.setenv("PROBESTORE_CACHE", str(tmp_path / "other"))
    with pytest.raises(DamagedFileError, match=f"{name} .* is damaged.*verify --mend"):
        FeatureStore.open(some.uri).names("results")
