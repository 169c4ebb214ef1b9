"""Database: parameters, errors that help, and a fence that holds."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from shard_rows import feature_rows

from featurestore import FeatureSet, FeatureStore, SampleSet
from featurestore.errors import QueryError, StoreError, UnknownNameError
from featurestore.store import schema
from featurestore.store.commit import Storage
from featurestore.store.feature_store import rows_table
from queries import describe, names
from queries.asking.database import Database, _own_table_macros, connect

NOW = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.fixture
def store(tmp_path: Path) -> FeatureStore:
    """An empty store, whose path has what SQL and globs trip over."""
    return FeatureStore.create(str(tmp_path / "a store's, 100%"))


@pytest.fixture(scope="module")
def db(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Database]:
    """A store with one result; nothing that a test does can change it."""
    store = FeatureStore.create(str(tmp_path_factory.mktemp("shared") / "a store's, 100%"))
    store.publish("results", "c1", rows_table("results", [result("c1")]))
    with Database(store, gaps=["predictions"]) as database:
        yield database


def cell(key: str, **changes: object) -> dict[str, object]:
    grain = {"model": "m", "dataset": "d", "setting": "fixed", "tap": "penultimate", "probe": "logistic"}
    return {"cell": key, **grain, "solver": "path", "seed": 0, **changes}


def result(key: str, **changes: object) -> dict[str, object]:
    counts = {"n_train": 8, "n_val": 2, "n_test": 10}
    score = {"metric": "top1", "headline": True, "value": 0.5, "seconds": 1.0, "versions": "{}", "created_at": NOW}
    return {**cell(key), **counts, **score, **changes}


def wanted(key: str, **changes: object) -> dict[str, object]:
    keys = {"train_key": f"{key}-train", "val_key": f"{key}-val", "test_key": f"{key}-test"}
    return {**cell(key), "study": "s", **keys, "wanted_at": NOW, **changes}


# ---- the files of questions ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", names())
def test_every_question_says_what_it_answers(name: str, db: Database) -> None:
    question = describe(name)
    assert question.text.endswith("?")
    assert question.grain.startswith("one row")
    assert question.example.startswith(f"probestore query {name}")
    assert all(question.columns.values())
    assert all(parameter.meaning for parameter in question.parameters)
    assert db.query(name).column_names == list(question.columns)


@pytest.mark.slow
def test_every_question_has_an_answer_on_an_empty_store(store: FeatureStore) -> None:
    with Database(store) as database:
        answers = {name: database.query(name) for name in names()}
    for name, answer in answers.items():
        assert answer.num_rows == (1 if describe(name).grain == "one row." else 0), name
        assert "null" not in {str(kind) for kind in answer.schema.types}, name


def test_a_declared_parameter_is_used_and_a_used_one_declared() -> None:
    for name in names():
        question = describe(name)
        (statement,) = duckdb.extract_statements(question.sql)
        assert statement.named_parameters == {parameter.name for parameter in question.parameters}


def test_the_table_functions_of_the_scripts_are_known_without_asking_duckdb(db: Database) -> None:
    asked = "select distinct function_name from duckdb_functions() where function_type = 'table_macro' and not internal"
    assert _own_table_macros() == set(db.sql(asked)["function_name"].to_pylist())


def test_a_question_is_parsed_once(db: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    parsed: list[str] = []
    extract = duckdb.extract_statements
    monkeypatch.setattr(duckdb, "extract_statements", lambda text: parsed.append(text) or extract(text))
    db.query("leaderboard")
    assert parsed.count(describe("leaderboard").sql) == 1


# ---- calling ----------------------------------------------------------------------------------------------------


def test_an_unknown_question_is_answered_with_a_suggestion(db: Database) -> None:
    with pytest.raises(UnknownNameError, match="Did you mean 'leaderboard'"):
        db.query("leaderbord")


def test_text_in_double_quotes_is_told_to_be_the_name_of_a_column(db: Database) -> None:
    with pytest.raises(QueryError, match="In SQL, double quotes are for names of columns. Text has single ones: 'vit'"):
        db.sql('select value from results where model = "vit"')
    with pytest.raises(QueryError, match="not found in FROM clause(?!.*double quotes)"):
        db.sql("select vit from results")


def test_an_unknown_parameter_is_answered_with_those_there_are(db: Database) -> None:
    with pytest.raises(
        QueryError, match=r"no parameter 'seting'. Did you mean 'setting'\? Its parameters: n_per_class"
    ):
        db.query("leaderboard", seting="fixed")


def test_a_parameter_of_the_wrong_type_is_refused(db: Database) -> None:
    with pytest.raises(QueryError, match=r"'n_per_class' of leaderboard must be BIGINT .* Got 'ten'"):
        db.query("leaderboard", n_per_class="ten")


def test_parameters_come_as_text_or_as_values(db: Database) -> None:
    assert db.query("leaderboard", n_per_class="null").num_rows == 1
    assert db.query("leaderboard", n_per_class=None).num_rows == 1
    assert db.query("leaderboard", n_per_class="10").num_rows == 0
    assert db.query("leaderboard", setting="scratch").num_rows == 0


def test_a_value_is_never_read_as_sql(db: Database) -> None:
    assert db.query("leaderboard", setting="fixed' or 'a' = 'a").num_rows == 0


def test_a_file_of_the_user_runs_with_its_defaults_and_without(db: Database, tmp_path: Path) -> None:
    path = tmp_path / "mine.sql"
    path.write_text(
        "-- How many?\n-- Parameters:\n--   floor = 0.2\nselect count(*) n from results where value > $floor"
    )
    assert db.run_file(path).to_pylist() == [{"n": 1}]
    assert db.run_file(path, floor="0.9").to_pylist() == [{"n": 0}]
    path.write_text("select $word as word")
    assert db.run_file(path, word="hello").to_pylist() == [{"word": "hello"}]
    with pytest.raises(QueryError, match="mine needs a value for: word"):
        db.run_file(path)


def test_an_error_names_file_and_line(db: Database, tmp_path: Path) -> None:
    path = tmp_path / "mine.sql"
    path.write_text("-- What?\n\nselect model,\n  acuracy\nfrom results\n")
    with pytest.raises(QueryError, match=r"mine\.sql:4: .*acuracy"):
        db.run_file(path)
    path.write_text("-- What?\n-- Parameters:\n--   floor  without a default\nselect 1")
    with pytest.raises(QueryError, match=r"mine\.sql:3: parameter 'floor' must have a default"):
        db.run_file(path)
    with pytest.raises(QueryError, match=r"absent\.sql cannot be read"):
        db.run_file(tmp_path / "absent.sql")


def test_sql_that_is_nested_too_deeply_to_be_checked_is_refused(db: Database) -> None:
    with pytest.raises(QueryError, match=r"SQL: the SQL is nested too deeply .* list_sum"):
        db.sql(f"select {'+'.join(['1'] * 900)}")
    assert db.sql("select 1 as n").to_pylist() == [{"n": 1}]


def test_half_a_character_is_refused_with_its_place(db: Database) -> None:
    """A command line brings such for a byte that is no UTF-8."""
    with pytest.raises(
        QueryError, match=r"SQL: the text must consist of whole characters\. Got '\\udcff' at position 8"
    ):
        db.run_text("select '\udcff'")
    with pytest.raises(QueryError, match=r"SQL, parameter word: the text must .* Got '\\udcff' at position 1"):
        db.run_text("select $word as word", word="a\udcff")


def test_there_must_be_a_store(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="There is no store"):
        connect(str(tmp_path / "nowhere"))


# ---- the fence --------------------------------------------------------------------------------------------------

REFUSED = {
    "another file": "select * from read_text('/etc/passwd')",
    "another file as Parquet": "select * from read_parquet('/etc/passwd')",
    "another file by its name": "select * from '/etc/hosts.csv'",
    "another file by going up": "select * from read_parquet('{store}/../secret.parquet')",
    "a listing": "select * from glob('/etc/*')",
    "writing into the store": "copy (select 1) to '{store}/results/x.parquet'",
    "writing over a file": "copy (select 1) to '{store}/results/c1.parquet'",
    "writing elsewhere": "copy results to '/tmp/probestore-leak.csv'",
    "writing under EXPLAIN": "explain analyze copy (select 1) to '{store}/x.csv'",
    "export": "export database '{store}'",
    "attach": "attach '{store}/other.db'",
    "a setting": "set enable_external_access = true",
    "a reset": "reset lock_configuration",
    "a pragma": "pragma database_list",
    "an extension": "install httpfs",
    "loading": "load httpfs",
    "a call": "call enable_logging(storage = 'file', storage_path = '{store}')",
    "a log file from a SELECT": "select * from enable_logging(storage = 'file', storage_path = '{store}')",
    "a log file from inside": "with a as (select * from system.main.Enable_Logging('x')) select 1",
    "SQL inside a string": "select * from query('select * from enable_logging()')",
    "serialised SQL": "select * from json_execute_serialized_sql('')",
    "credentials": "select * from duckdb_secrets()",
    "two statements": "select 1; select 2",
    "nothing": "-- only a comment",
    "a table": "create table t as select 1",
    "dropping a view": "drop view results",
    "a prepared statement": "prepare p as select 1",
    "the network": "select * from read_parquet('https://example.invalid/a.parquet')",
    "a Python variable": "select * from NOW",
}


@pytest.mark.parametrize("attempt", REFUSED)
def test_sql_is_refused(attempt: str, db: Database) -> None:
    outside = Path(db.uri).parent
    pq.write_table(pa.table({"secret": [1]}), outside / "secret.parquet")
    before = {path: path.read_bytes() for path in outside.rglob("*") if path.is_file()}
    with pytest.raises(QueryError):
        db.sql(REFUSED[attempt].format(store=db.uri.replace("'", "''")))
    assert {path: path.read_bytes() for path in outside.rglob("*") if path.is_file()} == before
    assert db.sql("select value from results").to_pylist() == [{"value": 0.5}]


@pytest.mark.parametrize("statement", ["describe results", "show tables", "from results", "summarize results"])
def test_looking_around_is_allowed(statement: str, db: Database) -> None:
    assert db.sql(statement).num_rows > 0


def test_macros_and_functions_are_open_to_everyone(db: Database) -> None:
    assert db.sql("select logit(0.5, 10) as x, i from range(2) as r(i)").to_pylist() == [
        {"x": 0.0, "i": 0},
        {"x": 0.0, "i": 1},
    ]


# ---- what is current ---------------------------------------------------------------------------------------------


def test_of_two_cells_of_a_grain_the_last_computed_is_shown(store: FeatureStore) -> None:
    store.publish("results", "old", rows_table("results", [result("old", value=0.1)]))
    store.publish("results", "new", rows_table("results", [result("new", value=0.2, created_at=NOW + timedelta(1))]))
    with Database(store) as database:
        assert database.sql("select value from results").to_pylist() == [{"value": 0.2}]


def test_a_cell_that_is_wanted_again_is_shown_again(store: FeatureStore) -> None:
    store.publish("results", "old", rows_table("results", [result("old", value=0.1)]))
    store.publish("results", "new", rows_table("results", [result("new", value=0.2, created_at=NOW + timedelta(1))]))
    store.publish("cells", "s", rows_table("cells", [wanted("old", wanted_at=NOW + timedelta(2)), wanted("new")]))
    with Database(store) as database:
        assert database.sql("select value from results").to_pylist() == [{"value": 0.1}]
        assert database.sql("select cell from cells").to_pylist() == [{"cell": "old"}]


def test_a_wanted_cell_hides_its_predecessor_until_it_is_computed(store: FeatureStore) -> None:
    store.publish("results", "old", rows_table("results", [result("old")]))
    store.publish("cells", "s", rows_table("cells", [wanted("new", wanted_at=NOW + timedelta(1))]))
    with Database(store) as database:
        assert database.sql("from results").num_rows == 0
        assert database.query("coverage")["status"].to_pylist() == ["missing"]


def test_features_are_those_that_current_cells_read(store: FeatureStore) -> None:
    for key in ("c1-train", "superseded"):
        write_features(store, FeatureSet("m", "d", "train", key), [[3.0, 4.0], [0.0, 0.0]])
    write_features(store, FeatureSet("001", "d", "train", "unasked"), [[1.0, 0.0, 0.0]])
    store.publish("cells", "s", rows_table("cells", [wanted("c1")]))
    with Database(store) as database:
        summary = database.query("feature_summary").to_pylist()
    assert summary == [
        {"model": "001", "dataset": "d", "split": "train", "key": "unasked", "rows": 1, "dim": 3}
        | {"mean_norm": 1.0, "zero_share": pytest.approx(2 / 3)},
        {"model": "m", "dataset": "d", "split": "train", "key": "c1-train", "rows": 2, "dim": 2}
        | {"mean_norm": 2.5, "zero_share": 0.5},
    ]


def test_samples_are_of_the_sets_that_the_record_of_the_dataset_names(store: FeatureStore) -> None:
    for key in ("z", "a"):
        row = {"sample_id": "s", "index": 0, "label": 0, "source": key, "readable": False, "reason": "0 bytes"}
        item = SampleSet("d", "train", key)
        store.write_shard(item, 0, 1, pa.Table.from_pylist([row], schema=schema.SAMPLES))
        store.finish(item, 1, {})
    with Database(store) as database:
        assert sorted(database.query("skipped_images")["source"].to_pylist()) == ["a", "z"]
    record = dict.fromkeys(("source", "metric", "train_made", "val_made", "test_made", "fingerprint"), "")
    record |= {"dataset": "d", "n_classes": 2, "class_names": [], "n_train": 1, "n_val": 1, "n_test": 1}
    record |= {"multilabel": False, "train_samples": "z", "recorded_at": NOW}
    store.publish("datasets", "d", rows_table("datasets", [record]))
    with Database(store) as database:
        assert database.query("skipped_images")["source"].to_pylist() == ["z"]


def write_features(store: FeatureStore, item: FeatureSet, vectors: list[list[float]]) -> None:
    rows = [{"sample_id": str(i), "index": i, "label": 0, "feature": vector} for i, vector in enumerate(vectors)]
    table = pa.Table.from_pylist(rows, schema=schema.features(pa.float16(), len(vectors[0])))
    store.write_shard(item, 0, 1, table)
    store.finish(item, 1, {})


def test_sql_reads_a_store_on_any_file_system_of_fsspec_and_nothing_else_there(request):
    """DuckDB goes through the file system that the store itself uses."""
    root = f"memory://{request.node.name}"
    store = FeatureStore.create(f"{root}/store")
    item = FeatureSet("net", "pets", "train", "key")
    store.write_shard(item, 0, 1, feature_rows(0, np.ones((3, 2), np.float16)))
    store.finish(item, 1, {})
    Storage(root).publish("outside.parquet", b"secret")
    with connect(f"{root}/store") as database:
        assert database.sql("select count(*) as n from features").to_pylist() == [{"n": 3}]
        assert database.query("coverage").num_rows == 0
        with pytest.raises(QueryError, match="Permission|disabled|access"):
            database.sql(f"from read_parquet('{root}/outside.parquet')")


def test_a_signal_ends_a_query_that_runs(db: Database) -> None:
    begun = time.monotonic()
    timer = threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGINT))
    timer.start()
    with pytest.raises(KeyboardInterrupt):
        db.sql("select count(*) from range(100000000000) a, range(10) b where a.range % 7 = b.range")
    assert time.monotonic() - begun < 60
    assert db.sql("select 1 as x").to_pylist() == [{"x": 1}]
