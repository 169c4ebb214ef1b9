"""SQL lists and opens what a query can need of the image tables, and the answer is that of all files."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from given import NOW, score
from given import model as model_record
from seeds import seeds
from shard_rows import feature_rows

from featurestore import FeatureSet, FeatureStore, SampleSet
from featurestore.errors import DamagedFileError, QueryError, StoreError
from featurestore.store import layout, schema
from featurestore.store.feature_store import rows_table
from queries.asking import database as module
from queries.asking.database import Database
from queries.asking.table_files import Asked

MODELS, DATASETS, SPLITS = ("net", "wide", "Net"), ("pets", "cars", "null"), ("train", "test")


def make(uri: str) -> FeatureStore:
    """Three models that have seen three datasets; each set has its own numbers, and one its former key."""
    store = FeatureStore.create(uri)
    for d, dataset in enumerate(DATASETS):
        for split in SPLITS:
            images = SampleSet(dataset, split, "samples")
            rows = [
                {"sample_id": f"id{i}", "index": i, "label": i, "source": f"{dataset}{i}", "readable": i < d}
                for i in range(d + 1)
            ]
            store.write_shard(images, 0, 1, pa.Table.from_pylist(rows, schema=schema.SAMPLES))
            store.finish(images, 1, {})
            for m, name in enumerate(MODELS):
                for key in ("former", "now") if (m, d) == (0, 0) else ("now",):
                    item = FeatureSet(name, dataset, split, key)
                    values = np.full((d + 1, 2), 10 * m + d + (key == "former") / 2, np.float16)
                    store.write_shard(item, 0, 1, feature_rows(0, values))
                    store.finish(item, 1, {})
        described = {"dataset": dataset, "test_samples": "samples", "recorded_at": NOW}
        store.publish("datasets", dataset, rows_table("datasets", [described]))
    for name in MODELS:
        store.publish("models", name, rows_table("models", [model_record(name, 0.7)]))
    own = {"model": "net", "dataset": "pets", "setting": "fixed", "tap": "penultimate", "probe": "ncm", "solver": ""}
    keys = {f"{split}_key": "now" for split in schema.SPLITS}
    cell = {**own, **keys, "cell": "c", "seed": 0, "study": "study", "wanted_at": NOW}
    store.publish("cells", "study", rows_table("cells", [cell]))
    store.publish("results", "c", rows_table("results", [score("net", "pets", 0.5, cell="c", n_test=0)]))
    return store


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> FeatureStore:
    return make(str(tmp_path_factory.mktemp("asked") / "store"))


@pytest.fixture(scope="module")
def database(store: FeatureStore) -> Iterator[Database]:
    with Database(store) as database:
        yield database


def of(models: str | None = None, datasets: str | None = None) -> Asked:
    return Asked(*(None if names is None else frozenset(names.split()) for names in (models, datasets)))


@pytest.mark.parametrize(
    ("text", "asked"),
    [
        ("from results", {}),
        ("from features", {"features": of()}),
        ("from features where model = 'net'", {"features": of("net")}),
        ("from features where 'net' = MODEL and dataset in ('pets', 'cars')", {"features": of("net", "pets cars")}),
        ("from features where model = $model and split = 'test'", {"features": of("wide")}),
        ("from features where ($model is null or model = $model)", {"features": of("wide")}),
        ("from features where ($dataset is null or dataset = $dataset)", {"features": of()}),
        ("from features where model = 'a' or model = 'b'", {"features": of("a b")}),
        ("from features where model = 'a' or dataset = 'b'", {"features": of()}),
        ("from features where model = 'a' and model = 'b'", {"features": of("")}),
        ("from features where $model is null", {"features": of("", "")}),
        ("from features where not model = 'a'", {"features": of()}),
        ("from features where model = 7", {"features": of()}),
        ("from features where model = dataset", {"features": of()}),
        ("from features where lower(model) = 'net'", {"features": of()}),
        ("from features where model collate nocase = 'net'", {"features": of()}),
        ("from features f where f.model = 'net'", {"features": of("net")}),
        ("from features as f(model, dataset) where model = 'net'", {"features": of()}),
        ("from features tablesample 1 rows where model = 'net'", {"features": of()}),
        ("select count(*) from features having any_value(model) = 'net'", {"features": of()}),
        ("from (from features) where model = 'net'", {"features": of()}),
        ("from features where model = 'a' union all from features where model = 'b'", {"features": of("a b")}),
        ("from features where model = 'a' union all from features", {"features": of()}),
        ("from features, samples where model = 'a'", {"features": of(), "samples": of()}),
        (
            "from features f join samples using (dataset) where f.model = 'a' and samples.dataset = 'b'",
            {"features": of("a"), "samples": of(None, "b")},
        ),
        ("from results r left join features f using (model) where f.model = 'a'", {"features": of("a")}),
        ("from results semi join features using (model) where model = 'a'", {"features": of()}),
        ("from features semi join results using (model) where model = 'a'", {"features": of("a")}),
        ("from features positional join results where features.model = 'a'", {}),
        ("with features as (from samples) from features where dataset = 'pets'", {}),
        ("select (select count(*) from samples where dataset = 'pets')", {"samples": of(None, "pets")}),
        ("select 'net' as model, count(*) from samples where model = 'net'", {"samples": of()}),
        ("from models where exists (from samples where model = 'net')", {"samples": of()}),
        ("from read_parquet('stored://features/**') where model = 'a'", {}),
        ("from copies_in_training('fixed', 'penultimate', 'pets', 0.9, 0.5)", {"samples": of(None, "pets")}),
        ("from copies_in_training('fixed', 'penultimate', $dataset, 0.9, 0.5)", {"samples": of()}),
        ("from costs()", {"features": of()}),
        ("describe features", {"features": of("", ""), "samples": of("", "")}),
        ("summarize features", {}),
    ],
)
def test_what_is_asked_is_read_from_the_query(database: Database, text: str, asked: dict[str, Asked]) -> None:
    values = {"model": "wide", "dataset": None}
    assert module.asked_sets(database._tree(text), values, database._macro) == asked


def test_nothing_of_images_is_listed_until_a_query_names_them(store: FeatureStore, listed: list[str]) -> None:
    with Database(store) as database:
        for question in ("leaderboard", "coverage", "provenance", "models_used", "progress", "sanity_of_results"):
            database.query(question)
        database.sql("describe features")
        assert not [folder for folder in listed if folder.startswith(("features", "samples", "predictions"))]
        database.sql("from predictions")
        database.sql("from samples")
        database.sql("from samples")
        own = [folder for folder in listed if folder.startswith(("features", "samples", "predictions"))]
        assert set(own) == {"predictions", "predictions/packed", "samples"}
        assert own.count("samples") == 1


def test_only_the_sets_that_are_asked_for_are_listed(store: FeatureStore, listed: list[str]) -> None:
    with Database(store) as database:
        listed.clear()
        found = database.sql("select distinct model, dataset from features where model = 'net' and dataset = 'pets'")
        assert found.to_pylist() == [{"model": "net", "dataset": "pets"}]
        assert listed == ["features/model=net/tap=penultimate/dataset=pets"]
        listed.clear()
        assert database.sql("select count(*) as n from features where dataset = 'null'")["n"].to_pylist() == [18]
        assert listed == [f"features/model={name}/tap=penultimate/dataset=null" for name in sorted(MODELS)]


@pytest.mark.parametrize(
    ("question", "given"),
    [
        ("nearest_neighbours", {"model": "net", "dataset": "cars"}),
        ("features_of_classes", {"model": "net", "dataset": "cars"}),
    ],
)
def test_questions_about_a_model_and_a_dataset_list_no_other(
    store: FeatureStore, listed: list[str], question: str, given: dict[str, str]
) -> None:
    with Database(store) as database:
        listed.clear()
        assert len(database.query(question, **given))
        assert set(listed) == {"features/model=net/tap=penultimate/dataset=cars", "samples/dataset=cars"}


def test_tables_that_are_made_late_have_all_images(store: FeatureStore) -> None:
    with Database(store) as database:
        database.sql("from missing_classes('pets') where exists (from samples where dataset = 'pets')")
        found = database.sql("select count(distinct dataset) as kept from seen_images").to_pylist()
    assert found == [{"kept": len(DATASETS)}]


def test_another_part_that_is_gone_or_damaged_is_no_matter(tmp_path: Path) -> None:
    store = make(str(tmp_path / "store"))
    part = Path(store.uri, FeatureSet("wide", "pets", "test", "now").folder, layout.part_name(0, 1))
    part.unlink()
    with Database(store) as database:
        assert len(database.sql("from features where model = 'net' and dataset = 'pets'")) == 2
        with pytest.raises(StoreError, match="model=wide"):
            database.sql("select count(distinct feature) from features where model = 'wide'")
        with pytest.raises(StoreError, match="model=wide"):
            database.sql("select count(distinct feature) from features")
    part.write_bytes(b"PAR1")
    with Database(store) as database, pytest.raises(DamagedFileError, match="model=wide"):
        database.sql("select count(distinct feature) from features")


@pytest.mark.parametrize("model", ["model", "models.model"])
def test_images_that_are_gone_are_missed_whatever_model_is_asked_for(tmp_path: Path, model: str) -> None:
    store = make(str(tmp_path / "store"))
    Path(store.uri, SampleSet("pets", "test", "samples").folder, layout.part_name(0, 1)).unlink()
    text = f"select model, (select count(distinct source) from samples where {model} = 'net') from models"
    with Database(store) as database, pytest.raises(StoreError, match="dataset=pets"):
        database.sql(text)


def test_sql_opens_nothing_of_the_store_but_its_tables(database: Database) -> None:
    others = ("store.json", "../store/store.json", "_staging/x.parquet", "/etc/passwd", "features/", "results/../x")
    for name in (*others, SampleSet("pets", "test", "samples").folder + "/manifest.json"):
        for path in (f"stored://{name}", f"stored:/{name}", name):
            with pytest.raises(QueryError):
                database.sql(f"from read_parquet('{path}')")


# ---- chance --------------------------------------------------------------------------------------------------------


class Chance:
    """Random queries over the image tables, with conditions on models and datasets anywhere."""

    TABLES = (
        "features",
        "samples",
        "stored_features",
        "stored_samples",
        "stored_feature_files",
        "current_feature_sets",
    )

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)

    def any(self, *choices: str) -> str:
        return self.random.choice(choices)

    def value(self) -> str:
        return self.any(*(f"'{name}'" for name in (*MODELS, *DATASETS, "NET", "none")), "$text", "$nothing", "null")

    def condition(self, names: tuple[str, ...], depth: int = 2) -> str:
        if depth and self.random.random() < 0.5:
            parts = [self.condition(names, depth - 1) for _ in range(self.random.randint(2, 3))]
            return f"({self.any(' and ', ' or ').join(parts)})"
        column = self.any(*names) + self.any("model", "dataset", "dataset", "split")
        return self.any(
            f"{column} = {self.value()}", f"{self.value()} = {column}", f"{column} in ({self.value()}, {self.value()})",
            f"not ({column} = {self.value()})", f"{column} <> {self.value()}", f"{column} is null",
            f"($nothing is null or {column} = $nothing)", f"($text is null or {column} = $text)",
            "true",
            f"exists (from {self.any(*self.TABLES)} as c where c.dataset = {self.value()} and c.model = {column})",
        ) if depth else f"{column} = {self.value()}"  # fmt: skip

    def select(self, depth: int = 2) -> str:
        table, other = self.any(*self.TABLES), self.any(*self.TABLES, "datasets", "results")
        if depth and self.random.random() < 0.3:
            table = f"({self.select(depth - 1)})"
        where = [f"where {self.condition(('', 'a.'))}", f"where {self.condition(('a.', 'b.', ''))}"]
        join = self.any("join", "left join", "right join", "full join", "semi join", "anti join")
        on = self.any("using (dataset)", "on a.dataset = b.dataset", "on b.dataset = 'pets'", "on a.split = b.split")
        return self.any(
            f"select a.dataset, count(*) as n from {table} as a {where[0]} group by all",
            f"select * exclude (dataset) from {table} as a {where[0]}",
            f"select 'pets' as dataset, a.dataset as model from {table} as a {where[0]}",
            f"select a.dataset, count(*) as n from {table} as a {join} {other} as b {on} {where[1]} group by all",
            f"select count(*) as n from {table} as a, {other} as b {where[1]}",
            f"with c as (from {table} as a {where[0]}) select dataset, count(*) as n from c group by all",
            f"select * from {table} as a where dataset = (select min(dataset) from {other} as a {where[0]})",
            f"select dataset, n from (select dataset, count(*) as n from {table} as a {where[0]} group by all) as a",
        )


@pytest.mark.slow
@pytest.mark.parametrize("seed", seeds(3, 40))
def test_the_answer_is_that_of_all_files(store: FeatureStore, seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    chance, answered, bounded = Chance(seed), 0, 0
    with Database(store) as narrow, Database(store) as whole:
        for _ in range(60):
            text = chance.select()
            values = {"text": chance.any(*MODELS, *DATASETS), "nothing": None}
            used = {name: value for name, value in values.items() if f"${name}" in text}
            with monkeypatch.context() as all_files:
                all_files.setattr(module, "asked_sets", lambda *_: {})
                expected = answer(whole, text, used)
            assert answer(narrow, text, used) == expected, text
            answered += isinstance(expected, list)
            asked = module.asked_sets(narrow._tree(text), used, narrow._macro)
            bounded += any(one != Asked() for one in asked.values())
    assert answered > 20
    assert bounded > 5


def answer(database: Database, text: str, values: dict[str, object]) -> object:
    try:
        return sorted(map(repr, database.run_text(text, **values).to_pylist()))
    except QueryError:
        return QueryError
