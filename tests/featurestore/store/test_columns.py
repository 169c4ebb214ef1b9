"""A table may get a column: files that are older stay as they are, and have null there."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import duckdb
import pyarrow as pa
import pytest
import sound_store
from locations import DATA

from featurestore import FeatureStore
from featurestore.care.verify import verify
from featurestore.store import schema
from featurestore.store.feature_store import rows_table
from probes import metrics
from probes.cells.rescore import rescore_cell
from queries.asking.database import Database
from queries.asking.views_script import views_script

EVERY = (*schema.SETS, *schema.TABLES)
STORED = {
    name: name if name in ("progress", "dropped_cells", "imports", "fingerprints", "sets") else f"stored_{name}"
    for name in EVERY
}
TOY = pa.field("toy", pa.float64())


@pytest.fixture(params=["store_v1", "study_v1/store", "sound"])
def old(request: pytest.FixtureRequest, tmp_path: Path) -> FeatureStore:
    """A store from before the column, made by an earlier version or here."""
    if request.param == "sound":  # it has what the others lack: rows of heads
        return sound_store.make(str(tmp_path / "old"))
    return FeatureStore.open(str(shutil.copytree(DATA / request.param, tmp_path / "old")))


@pytest.fixture
def toy(old: FeatureStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """From here on every table has one more column."""
    add_column(monkeypatch)


def add_column(monkeypatch: pytest.MonkeyPatch) -> None:
    made: Callable[..., pa.Schema] = schema.features
    for tables in (schema.SETS, schema.TABLES):
        for name, table in tables.items():
            monkeypatch.setitem(tables, name, replace(table, schema=table.schema.append(TOY)))
    for name in schema.TABLES:
        constant = {"sets": "KNOWN_SETS"}.get(name, name.upper())
        monkeypatch.setattr(schema, constant, schema.TABLES[name].schema)
    monkeypatch.setattr(schema, "SAMPLES", schema.SETS["samples"].schema)
    monkeypatch.setattr(schema, "features", lambda *kind: made(*kind).append(TOY))


def counts(ask: Callable[[str], pa.Table]) -> dict[str, int]:
    """Rows of every table, all columns of which can be read, and none of which has a toy."""
    found = {}
    for name, stored in STORED.items():
        rows = ask(f"select * from {stored}")
        assert rows["toy"].null_count == len(rows), name
        found[name] = len(rows)
    return found


@pytest.mark.usefixtures("toy")
@pytest.mark.parametrize("cache", ["50", "0"])
def test_every_view_answers_with_null_where_files_are_too_old(old, monkeypatch, cache):
    monkeypatch.setenv("PROBESTORE_CACHE_GB", cache)
    with Database(old) as database:
        found = counts(database.sql)
        views = database.sql("select view_name from duckdb_views() where not internal").column(0).to_pylist()
        for view in views:
            database.sql(f"select * from {view}")
    assert found["features"]
    assert found["results"]


@pytest.mark.usefixtures("toy")
def test_the_script_for_the_command_line_answers_too(old):
    with duckdb.connect() as connection:
        connection.execute(views_script(old))
        assert counts(lambda sql: connection.sql(sql).to_arrow_table())["features"]


@pytest.mark.usefixtures("toy")
def test_records_are_read_with_null(old):
    for table in schema.TABLES:
        for name in old.names(table):
            assert old.read_record(table, name).column("toy").null_count == len(old.read_record(table, name))


@pytest.mark.usefixtures("toy")
def test_files_that_are_too_old_for_a_column_are_sound(old):
    assert verify(old).findings == []


@pytest.mark.usefixtures("toy")
def test_metrics_are_added_to_results_that_are_too_old_for_a_column(old):
    every = [metric.name for metric in metrics.METRICS]
    for cell in old.names("results") & old.names("predictions"):
        rescore_cell(old, cell, every)
        assert old.read_record("results", cell).column("toy").null_count == len(old.read_record("results", cell))
    assert verify(old).findings == []


@pytest.mark.usefixtures("toy")
def test_old_and_new_rows_stand_side_by_side(old):
    name = next(iter(old.names("results")))
    rows = [{**row, "cell": "new", "toy": 3.0} for row in old.read_record("results", name).to_pylist()]
    old.publish("results", "new", rows_table("results", rows))
    with Database(old, gaps=("predictions", "tuning")) as database:
        toys = database.sql("select distinct toy from stored_results order by toy").column(0).to_pylist()
    assert toys == [3.0, None]


def test_no_file_is_opened_for_its_columns_where_none_can_be_too_old(store, monkeypatch):
    assert not any(map(store.lacks_columns, EVERY))
    add_column(monkeypatch)
    assert all(map(store.lacks_columns, EVERY))
