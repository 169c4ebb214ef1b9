"""Records of many files in one: real files, and what changes between two questions."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from given import cell, score
from sound_store import made_before_seals

from featurestore import FeatureStore
from featurestore.errors import DamagedFileError
from featurestore.store import node_cache, record_cache
from featurestore.store.feature_store import rows_table
from featurestore.store.record_cache import FEW_FILES, gather
from queries.asking.database import Database

N = FEW_FILES + 3


def publish(store: FeatureStore, name: str, value: float) -> None:
    store.publish("results", name, rows_table("results", [score(name, "pets", value)]))


@pytest.fixture
def many(store: FeatureStore) -> FeatureStore:
    """A store with more results than are opened one by one."""
    for number in range(N):
        publish(store, f"m{number:03}", number / 100)
    return store


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the files that are opened from here on."""
    names: list[str] = []
    read = record_cache._read

    def noting(storage: Any, table: str, name: str) -> Any:
        names.append(name)
        return read(storage, table, name)

    monkeypatch.setattr(record_cache, "_read", noting)
    return names


def values(path: Path | None) -> dict[str, float]:
    assert path is not None
    rows = pq.read_table(path)
    return dict(zip(rows["model"].to_pylist(), rows["value"].to_pylist(), strict=True))


def test_only_what_is_new_or_changed_is_opened_again(many, tmp_path, opened):
    assert len(values(gather(many.storage, "results", tmp_path / "cache"))) == N == len(opened)
    opened.clear()
    publish(many, "m000", 0.999)
    publish(many, "new", 0.5)
    many.storage.delete("results/m001.parquet")
    found = values(gather(many.storage, "results", tmp_path / "cache"))
    assert opened == ["results/m000.parquet", "results/new.parquet"]
    assert (found["m000"], found["new"], "m001" in found, len(found)) == (0.999, 0.5, False, N)


def test_nothing_is_opened_when_nothing_has_changed(many, tmp_path, opened):
    first = gather(many.storage, "results", tmp_path / "cache")
    opened.clear()
    assert gather(many.storage, "results", tmp_path / "cache") == first
    assert opened == []


def test_few_files_are_not_gathered(store, tmp_path):
    publish(store, "m", 0.5)
    assert gather(store.storage, "results", tmp_path / "cache") is None
    assert not (tmp_path / "cache").exists()


def flip_a_value(path: Path) -> None:
    """Change a bit where values of results lie, which stay plausible numbers."""
    column = pq.ParquetFile(path).metadata.row_group(0).column(pq.read_schema(path).names.index("value"))
    content = bytearray(path.read_bytes())
    content[column.data_page_offset + column.total_compressed_size - 2] ^= 4
    path.write_bytes(content)


@pytest.mark.parametrize(
    "damage", [lambda path: path.write_bytes(b""), lambda path: path.write_bytes(b"PAR1 PAR1"), flip_a_value]
)
def test_a_damaged_cache_is_made_anew(many, tmp_path, damage):
    path = gather(many.storage, "results", tmp_path / "cache")
    before = values(path)
    damage(path)
    assert values(gather(many.storage, "results", tmp_path / "cache")) == before


def test_a_cache_that_cannot_be_written_costs_only_the_cache(many, tmp_path):
    (tmp_path / "cache").write_text("a file where the folder should be")
    assert gather(many.storage, "results", tmp_path / "cache") is None


def test_a_column_that_a_file_is_too_old_for_is_null(many, tmp_path):
    name = "results/m000.parquet"
    many = made_before_seals(many)
    old = pq.read_table(many.storage.path(name)).drop_columns(["origin"])
    pq.write_table(old, many.storage.path(name))
    path = gather(many.storage, "results", tmp_path / "cache")
    assert path is not None
    assert pq.read_table(path)["origin"].null_count == N


def test_a_question_has_the_same_answer_with_and_without_a_cache(many, monkeypatch):
    with Database(many) as database:
        gathered_answer = database.query("leaderboard")
        rows = database.sql("select count(*) as n from results").to_pylist()
    assert list(node_cache.folder().glob("records-*.parquet"))
    monkeypatch.setenv("PROBESTORE_CACHE_GB", "0")
    with Database(many) as database:
        assert database.query("leaderboard") == gathered_answer
    assert rows == [{"n": N}]


def test_sql_sees_results_that_came_after_the_last_question(many):
    for value in (0.1, 0.2):
        publish(many, "latest", value)
        with Database(many) as database:
            assert database.sql("select value from results where model = 'latest'").to_pylist() == [{"value": value}]


def test_a_damaged_record_is_named(many, tmp_path):
    flip_a_value(Path(many.storage.path("results/m001.parquet")))
    with pytest.raises(DamagedFileError, match=r"results/m001\.parquet in the store .* is damaged"):
        gather(many.storage, "results", tmp_path / "cache")


def test_times_are_those_of_the_rows(many, tmp_path):
    path = gather(many.storage, "results", tmp_path / "cache")
    assert path is not None
    assert set(pq.read_table(path)["created_at"].to_pylist()) == {datetime(2026, 1, 1, tzinfo=UTC)}


def test_an_open_database_stays_as_it_was_when_it_was_opened(many):
    for number in range(N):
        row = {
            **cell(f"m{number:03}", "pets"),
            "hyperparameter": "l2",
            "value": 1.0,
            "metric": "top1",
            "validation": 0.5,
        }
        many.publish("tuning", f"m{number:03}", rows_table("tuning", [row]))
    with Database(many) as database:
        many.storage.delete("tuning/m000.parquet")
        Database(many).close()
        assert database.sql("select count(*) as n from stored_tuning").to_pylist() == [{"n": N}]


def test_records_are_read_once_however_few_there_are(store, opened):
    publish(store, "m", 0.5)
    publish(store, "other", 0.25)
    store.publish_import("results", "paper", rows_table("results", [score("theirs", "pets", 0.9)]))
    for _ in range(2):
        assert [row["value"] for row in store.read_records("results")] == [0.5, 0.25], "an import is no record"
    assert sorted(opened) == ["results/imported/paper.parquet", "results/m.parquet", "results/other.parquet"]


def test_records_are_the_same_without_a_cache(store, monkeypatch):
    publish(store, "m", 0.5)
    cached = store.read_records("results")
    monkeypatch.setenv("PROBESTORE_CACHE_GB", "0")
    assert store.read_records("results") == cached
    assert store.read_records("models") == []


@pytest.mark.parametrize("gigabytes", ["1", "0"])
def test_some_columns_of_all_rows_come_with_the_names_of_their_records(many, monkeypatch, tmp_path, gigabytes):
    monkeypatch.setenv("PROBESTORE_CACHE", str(tmp_path))
    monkeypatch.setenv("PROBESTORE_CACHE_GB", gigabytes)
    many.publish_import("results", "paper", rows_table("results", [score("imported", "pets", 0.5)]))
    wanted = [{"model": f"m{number:03}", "record": f"m{number:03}"} for number in range(N)]
    for _ in ("read", "out of the cache"):
        assert many.record_rows("results", ["model"]).to_pylist() == wanted
    assert many.record_rows("tuning", ["value"]).to_pylist() == []
