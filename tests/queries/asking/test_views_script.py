"""views.sql: a store in the plain DuckDB command line, as `Database` shows it."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from given import THREE, Given, grid, model, score
from locations import DATA
from shard_rows import feature_rows

from cluster.cli import main
from featurestore import FeatureSet, FeatureStore
from featurestore.errors import QueryError
from featurestore.store.feature_store import rows_table
from queries.asking.database import Database
from queries.asking.views_script import views_script

DUCKDB = Path(sys.executable).parent / "duckdb"
pytestmark = pytest.mark.skipif(not DUCKDB.exists(), reason="needs the command line of DuckDB: pip install duckdb-cli")

MADE = """
select 'columns' as kind, table_name || '.' || column_name || ' ' || data_type as made from duckdb_columns()
where not internal
union all
select function_type, function_name || ' ' || array_to_string(parameters, ' ') from duckdb_functions()
where not internal and function_type in ('macro', 'table_macro')
order by all
"""


def in_the_command_line(script: str, sql: str, folder: Path) -> list[dict[str, object]]:
    (folder / "views.sql").write_text(script)
    done = subprocess.run(
        [DUCKDB, "-init", "views.sql", "-json", "-c", sql], cwd=folder, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "Error" not in done.stderr, done.stderr
    rows: list[dict[str, object]] = json.loads(done.stdout or "[]")
    return rows


@pytest.fixture
def filled(tmp_path: Path) -> FeatureStore:
    """Scores and features, in a folder whose name has what SQL trips over."""
    store = FeatureStore.create(str(tmp_path / "a store's, 100%"))
    store.publish("results", "given", rows_table("results", grid(THREE)))
    store.publish("models", "given", rows_table("models", [model("a", 0.8), model("b", 0.7), model("c", None)]))
    item = FeatureSet("a", "d0", "test", "key")
    store.write_shard(item, 0, 1, feature_rows(0, np.ones((3, 2), np.float16)))
    store.finish(item, 1, {})
    return store


@pytest.mark.parametrize("empty", [True, False])
def test_the_command_line_has_the_same_tables_and_macros(filled: FeatureStore, tmp_path: Path, empty: bool) -> None:
    store = FeatureStore.create(str(tmp_path / "empty")) if empty else filled
    with Database(store) as database:
        database.query("sanity")  # some macros are made when they are first called
        ours = database.sql(MADE).to_pylist()
    theirs = in_the_command_line(views_script(store), MADE, tmp_path)
    assert theirs == ours
    assert len(ours) > 100


def test_the_command_line_gives_the_same_answers(filled: FeatureStore, tmp_path: Path) -> None:
    scores = "select model, dataset, round(logit, 12) as logit from scores('fixed', 'logistic', 'penultimate', null)"
    counts = "select (select count(*) from features) as features, (select count(*) from predictions) as predictions"
    script = views_script(filled)
    with Database(filled) as database:
        for question in (f"{scores} order by all", counts, "select model, x from source_metrics order by all"):
            assert in_the_command_line(script, question, tmp_path) == database.sql(question).to_pylist()


def test_a_store_of_an_older_version_has_the_columns_of_this_one(tmp_path: Path) -> None:
    store = FeatureStore.open(str(DATA / "store_v1"))
    sql = "select model, origin, train_steps, value from results order by all"
    rows = in_the_command_line(views_script(store), sql, tmp_path)
    with Database(store) as database:
        assert rows == database.sql(sql).to_pylist()
    assert {row["train_steps"] for row in rows} == {None}


def test_it_can_be_read_twice(filled: FeatureStore, tmp_path: Path) -> None:
    script = views_script(filled)
    (tmp_path / "again.sql").write_text(script)
    done = subprocess.run(
        [DUCKDB, "-init", "again.sql", "-c", ".read again.sql", "-csv", "-c", "select count(*) as n from results"],
        cwd=tmp_path, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert done.stdout.split() == ["n", "9"]
    assert "Error" not in done.stderr


def test_a_store_that_only_fsspec_reaches_is_refused(request: pytest.FixtureRequest) -> None:
    store = FeatureStore.create(f"memory://{request.node.name}/store")
    with pytest.raises(QueryError, match=r"reads local folders, s3:// and gs://.*probestore sql"):
        views_script(store)


def test_the_command_writes_the_file_and_says_how_to_open_it(
    given: Given, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    database = given(results=[score("a", "d", 0.5)])
    for out in (tmp_path / "v.sql", "-"):
        monkeypatch.setattr(sys, "argv", ["probestore", "views", "--store", database.uri, "--out", str(out)])
        main()
    shown = capsys.readouterr()
    assert f"duckdb -init {tmp_path / 'v.sql'}" in shown.err
    drop_time = re.compile(r"at [-\d: ]+ UTC")
    assert drop_time.sub("", shown.out).strip() == drop_time.sub("", (tmp_path / "v.sql").read_text()).strip()
