"""A name is a name, whatever meaning readers, shells, SQL, partitions or markup give it."""

from __future__ import annotations

import csv
import io
import json
import os
import re
import shutil
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from xml.etree import ElementTree

import duckdb
import numpy as np
import pyarrow as pa
import pytest
from given import NOW, score, wanted
from given import model as model_record
from markupsafe import escape
from shard_rows import feature_rows

from featurestore import FeatureSet, FeatureStore, SampleSet
from featurestore.care import garbage
from featurestore.care.verify import verify
from featurestore.errors import QueryError
from featurestore.plain_text import visible
from featurestore.store import layout, schema
from featurestore.store.feature_store import rows_table
from queries.asking import formats, questions
from queries.asking.database import Database
from queries.asking.views_script import views_script
from queries.report import write_report

pytestmark = pytest.mark.slow  # all together they take longer than make quick has time for

NAMES = (
    "null", "NULL", "Null", "none", "None", "nan", "NaN", "inf", "true", "True", "false", "1", "007", "1e5", "0x10",
    "1_000", "2024-01-01", "12.30", "con", "nul", "aux.txt", "a.", "a..b", "a", "a-", "a-b", "a_b", "a+b", "e1", "all",
    "select", "order", "model", "dataset", "default", "empty", "imported", "manifest.json", "store.json", "_x"[1:],
    "part-00000-of-00001.parquet", "HIVE_DEFAULT_PARTITION__", "resnet", "ResNet", "x" * 100, "x" * 99,
)  # fmt: skip
"""Each is the name of a model and of a dataset; `check_name` lets all of them pass."""

PLACES = ("lr=0.1", "[1]", "1", "a*b", "a?b", "model=other", "~", '-it\'s "100% #1" %20 ünïcödé\n')
"""Folders above a store."""


def make(uri: str, names: tuple[str, ...]) -> FeatureStore:
    """A store in which every model has seen its own dataset: images, features, and a result."""
    store = FeatureStore.create(uri)
    for number, name in enumerate(names):
        layout.check_name("model", name)
        images = SampleSet(name, "test", "samples")
        row = {"sample_id": "id0", "index": 0, "label": 0, "source": "0.png", "readable": True}
        store.write_shard(images, 0, 1, pa.Table.from_pylist([row], schema=schema.SAMPLES))
        store.finish(images, 1, {"dataset": name, "split": "test"})
        item = FeatureSet(name, name, "test", "features")
        store.write_shard(item, 0, 1, feature_rows(0, np.ones((1, 2), np.float16)))
        place = {"model": name, "tap": item.tap, "dataset": name, "split": "test"}
        store.finish(item, 1, place | {"samples": "samples"})
        described = {"dataset": name, "source": "image_folder:/x", "test_samples": "samples", "recorded_at": NOW}
        store.publish("models", name, rows_table("models", [model_record(name, 0.7)]))
        store.publish("datasets", name, rows_table("datasets", [described]))
        key = {"cell": f"cell-{number}"}
        own = wanted(name, name, test_key="features", study=name) | key
        store.publish("cells", name, rows_table("cells", [own]))
        store.publish(
            "results",
            key["cell"],
            rows_table("results", [score(name, name, 0.5, standard_error=0.1, created_at=datetime.now(UTC)) | key]),
        )
        said = {"sample_id": "id0", "index": 0, "label": 0, "predicted": 0, "top5": [0], "scores": [1.0]}
        grain = {column: own[column] for column in schema.PREDICTIONS.names if column in own}
        store.publish("predictions", key["cell"], rows_table("predictions", [grain | said]))
        store.save_study(name, "")
    return store


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> FeatureStore:
    return make(str(tmp_path_factory.mktemp("names") / "store"), NAMES)


@pytest.fixture(scope="module")
def database(store: FeatureStore) -> Iterator[Database]:
    with Database(store) as database:
        yield database


TABLES = {
    "models": "model", "datasets": "dataset", "cells": "model, dataset", "results": "model, dataset",
    "samples": "dataset", "features": "model, dataset", "stored_feature_files": "model, dataset",
}  # fmt: skip


@pytest.mark.parametrize("table", TABLES)
def test_every_table_has_each_name_once(database: Database, table: str) -> None:
    rows = database.sql(f"select {TABLES[table]} from {table}").to_pylist()
    for column in TABLES[table].split(", "):
        counts = Counter(row[column] for row in rows)
        counts.pop("none" if table == "stored_feature_files" else "", None)  # that of the file of no rows, and a name
        assert counts == Counter(set(NAMES) - ({"none"} if table == "stored_feature_files" else set()))


@pytest.mark.parametrize("name", NAMES)
def test_a_filter_by_name_finds_it(database: Database, name: str) -> None:
    both = f"select count(*) as n from features join samples using (dataset, sample_id) where model = '{name}'"
    assert database.sql(f"{both} and dataset = '{name}' and tap = 'penultimate'")["n"].to_pylist() == [1]


def test_the_views_script_has_the_same_rows(store: FeatureStore, database: Database) -> None:
    with duckdb.connect() as plain:
        plain.execute(views_script(store))
        for table, columns in TABLES.items():
            sql = f"select {columns} from {table} order by all"
            assert plain.execute(sql).fetchall() == [tuple(row.values()) for row in database.sql(sql).to_pylist()]


@pytest.mark.slow
def test_no_question_gives_another_name(tmp_path: Path) -> None:
    names = ("null", "nan", "1e5", "true", "2024-01-01", "resnet", "ResNet")
    with Database(make(str(tmp_path / "store"), names)) as database:
        for name in questions.names():
            answer = database.query(name)
            for column in {"model", "dataset", "other"} & set(answer.column_names):
                assert set(answer[column].to_pylist()) <= {*names, None}, name
        assert Counter(database.query("models_used")["model"].to_pylist()) == Counter(names)
        assert Counter(database.query("coverage")["dataset"].to_pylist()) == Counter(names)


@pytest.mark.parametrize("form", ["csv", "json", "markdown", "latex", "table"])
def test_every_form_of_an_answer_has_each_name_once(database: Database, form: str) -> None:
    answer = database.sql("select model, 1 as one from models")
    stream = io.StringIO()
    formats.write(answer, form, stream)
    text = stream.getvalue()
    match form:
        case "csv":
            found = [row["model"] for row in csv.DictReader(io.StringIO(text))]
        case "json":
            found = [row["model"] for row in json.loads(text)]
        case "markdown":
            found = [line.split("|")[1].strip().replace("\\_", "_") for line in text.splitlines()[2:]]
        case "latex":
            body = text.split("\\midrule\n")[1].split("\\bottomrule")[0]
            found = [line.split(" & ")[0].strip().replace("\\_", "_") for line in body.splitlines()]
        case _:
            found = [line.split()[0] for line in text.splitlines()[3:-2]]
    assert Counter(found) == Counter(NAMES)


def test_checks_and_garbage_know_every_name(store: FeatureStore) -> None:
    assert verify(store).findings == []
    assert garbage.find(store, older_than=timedelta(0)) == []
    assert {item.dataset for item in store.sets()} == set(NAMES)
    assert store.names("models") == store.names("datasets") == set(NAMES)


@pytest.mark.parametrize("place", PLACES)
def test_a_store_may_lie_below_any_folder(tmp_path: Path, place: str) -> None:
    for decoy in PLACES:  # what a pattern would match, and what would not be read
        (tmp_path / decoy).mkdir()
    store = make(str(tmp_path / place / "store"), ("null", "net"))
    with Database(store) as database:
        for table in ("features", "samples", "results"):
            assert Counter(database.sql(f"from {table}")["dataset"].to_pylist()) == {"null": 1, "net": 1}
        assert database.sql("from features").column_names == [*schema.features(pa.float16(), 2).names, *_PARTITIONS]
        assert database.uri == str(tmp_path / place / "store")


_PARTITIONS = ("dataset", "key", "model", "split", "tap")


@pytest.mark.parametrize("place", PLACES)
def test_the_views_script_reads_such_a_store_or_says_how(tmp_path: Path, place: str) -> None:
    store = make(str(tmp_path / place / "store"), ("net",))
    if set("*?[=") & set(place):
        with pytest.raises(QueryError, match=re.escape(f"the store lies at {store.uri}. Make a link to it")):
            views_script(store)
        (tmp_path / "link").symlink_to(store.uri)
        store = FeatureStore.open(str(tmp_path / "link"))
    with duckdb.connect() as plain:
        plain.execute(views_script(store))
        assert plain.execute("select model, dataset from features").fetchall() == [("net", "net")]


def test_a_temporary_folder_that_is_no_plain_path_is_passed_over(
    store: FeatureStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "run=1").mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "run=1"))
    with Database(store) as database:
        assert len(database.sql("from features")) == len(NAMES)


@pytest.mark.parametrize("tap", ["block:%41", "block:a/b=c", "block:null", "block:é [0]*?"])
def test_a_tap_keeps_its_name(tmp_path: Path, tap: str) -> None:
    store = FeatureStore.create(str(tmp_path / "store"))
    item = FeatureSet("net", "pets", "test", "key", tap)
    store.write_shard(item, 0, 1, feature_rows(0, np.ones((1, 2), np.float16)))
    store.finish(item, 1, {})
    assert store.sets() == [item]
    with Database(store) as database:
        assert database.sql("from features")["tap"].to_pylist() == [tap]


def test_a_store_that_nobody_may_write_answers(tmp_path: Path) -> None:
    store = make(str(tmp_path / "store"), ("net",))
    copy = tmp_path / "read-only"
    shutil.copytree(store.uri, copy)
    for folder, _, files in os.walk(copy, topdown=False):
        for name in files:
            (Path(folder) / name).chmod(0o444)
        Path(folder).chmod(0o555)
    with Database(FeatureStore.open(str(copy))) as database:
        assert len(database.sql("from features")) == 1


CLASSES = (
    "<script>alert(1)</script>", "</table>", "a&amp;b", "'quoted'", '"quoted"', "two\nlines", "two lines",
    "two\rlines", "two\r\nlines", "tab\tbed", "tab bed", "é", "e\u0301", "👩‍👩‍👧",
    "a\u202egpj", "\ufeffa", "a", "\x1b[31mred", "nul\x00l", "a|b", "a\\|b", "50 % $x$ #1", "*bold*",
    "_it_", "`code`", "[x](y)", "=cmd()", "+1", "-1", "@here", "-", "null", "None", "NaN", "1e5",
    "2024-01-01", "a,b", 'say ""', "a--b", " padded ", "\\", "{{ 1 + 1 }}", "%41", "\u2028",
)  # fmt: skip
"""Names of classes and of what is imported: no rule holds for them."""


@pytest.fixture(scope="module")
def odd() -> pa.Table:
    return pa.table({"name": CLASSES, "row": range(len(CLASSES))})


def test_csv_and_json_give_any_text_back(odd: pa.Table, tmp_path: Path) -> None:
    for form in ("csv", "json"):
        formats.save(odd, form, tmp_path / f"a.{form}")
    with (tmp_path / "a.csv").open(encoding="utf-8", newline="") as file:
        assert [row["name"] for row in csv.DictReader(file)] == list(CLASSES)
    read = json.loads((tmp_path / "a.json").read_text(encoding="utf-8"))
    assert [row["name"] for row in read] == list(CLASSES)
    back = duckdb.read_csv(str(tmp_path / "a.csv"), all_varchar=True, header=True, max_line_size=100_000)
    assert len(back) == len(CLASSES)


@pytest.mark.parametrize("form", ["markdown", "latex", "table"])
def test_no_text_breaks_a_table_or_reads_as_another(odd: pa.Table, form: str) -> None:
    stream = io.StringIO()
    formats.write(odd, form, stream)
    lines = stream.getvalue().split("\n")
    rows = [line for line in lines if re.search(rf"\d\s*({re.escape('|')}|{re.escape(chr(92) * 2)})?\s*$", line)]
    texts = {line.rsplit("&" if form == "latex" else "|" if form == "markdown" else " ", 1)[0].strip() for line in rows}
    assert len(texts) >= len(CLASSES) - (1 if form == "table" else 0)  # of two lines, the first has no number
    assert not set(CONTROLS) & set(stream.getvalue())


CONTROLS = "\x00\x1b\r\t\u202e\ufeff\u2028"


def test_markdown_shows_what_github_would_read_as_markup(odd: pa.Table) -> None:
    stream = io.StringIO()
    formats.write(odd, "markdown", stream)
    cells = [re.split(r"(?<!\\)(?:\\\\)*\|", line)[1:-1] for line in stream.getvalue().splitlines()[2:]]
    assert all(len(row) == 2 for row in cells)
    plain = [re.sub(r"\\([!-/:-@\[-`{-~])", r"\1", row[0]).strip() for row in cells]
    assert plain == [visible(text).replace("\n", "\\n").strip() for text in CLASSES]


@pytest.mark.slow
def test_the_report_shows_any_imported_name_as_text(tmp_path: Path) -> None:
    store = FeatureStore.create(str(tmp_path / "store"))
    names = [name for name in CLASSES if name.strip()][:24]
    rows = [score(name, f"d{i}", 0.5 + 0.01 * i, standard_error=0.1) for name in names for i in range(2)]
    store.publish("results", "r", rows_table("results", rows))
    store.publish("models", "m", rows_table("models", [model_record(name, 0.7) for name in names]))
    write_report(store.uri, tmp_path / "report.html", charts_dir=tmp_path / "charts")
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert not set(CONTROLS.replace("\t", "")) & set(page)
    assert "<script" not in page
    cells = Counter(re.findall(r'<th scope="row"(?: class="long")?>([^<]*)</th>', page))
    for name in names:
        shown = str(escape(visible(name).replace("\n", "\\n").replace("\t", "\\t")))
        assert cells[shown] >= 1, name
    for chart in (tmp_path / "charts").glob("*.svg"):
        ElementTree.parse(chart)
