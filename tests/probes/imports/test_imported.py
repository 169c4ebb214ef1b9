"""Imports: what files become, what is refused before anything is written, and how imports and studies live together."""

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest
from given import NOW, model, score, wanted
from published import published_import
from silent import Silent

from cluster.runs.stored_runs import rescore_stored
from featurestore import FeatureStore
from featurestore.care import garbage
from featurestore.care.verify import verify
from featurestore.errors import ConfigurationError, StoreError, UnknownNameError
from featurestore.store import layout
from featurestore.store.expected import gone
from featurestore.store.feature_store import rows_table
from probes.imports.imported import add, read_import
from probes.imports.imported_columns import OTHER_SPELLINGS, headline_metric, metric
from probes.metrics import share_error
from queries.asking.database import Database

HEADER = "setting,model,dataset,metric,value,n_test\n"
TWO = f"{HEADER}fixed,Net v1,Food 101,top-1,0.8,100\nscratch,Net v1,Pets,mean per-class,0.5,50\n"


@pytest.fixture
def written(tmp_path):
    def write(name: str, text: str) -> Path:
        path = tmp_path / f"{name}.csv"
        path.write_text(text)
        return path

    return write


@pytest.fixture
def imported(written, store):
    """Import texts of files; returns the tables that changed."""

    def call(results: str = TWO, *, origin: str = "grid", **more: str) -> list[str]:
        files = {name: written(name, text) for name, text in more.items()}
        return add(store, read_import(written("results", results), origin=origin, **files), command="probestore import")

    return call


def ask(store: FeatureStore, sql: str) -> list[dict[str, object]]:
    with Database(store) as database:
        return database.sql(sql).to_pylist()


def test_results_become_rows_beside_those_of_studies(imported, store):
    imported()
    rows = ask(store, "from results order by dataset")
    assert [(row["model"], row["dataset"], row["setting"], row["metric"], row["value"]) for row in rows] == [
        ("Net v1", "Food 101", "fixed", "top1", 0.8),
        ("Net v1", "Pets", "scratch", "mean_per_class", 0.5),
    ]
    assert {(row["origin"], row["probe"], row["tap"], row["solver"], row["seed"]) for row in rows} == {
        ("grid", "logistic", "penultimate", "", 0)
    }
    assert all(row["headline"] and row["n_per_class"] is row["seconds"] is row["n_train"] is None for row in rows)
    assert [row["standard_error"] for row in rows] == [share_error(0.8, 100), None]
    assert "probestore" in json.loads(rows[0]["versions"])


def test_what_is_optional_is_kept_as_it_is_said(imported, store):
    columns = "probe,tap,n_per_class,seed,standard_error,n_train,n_val,train_steps"
    imported(
        f"{HEADER[:-1]},{columns}\n"
        "finetuned,a,d,top1,0.5,10,knn,block:1,4,2,0.25,30,5,\n"
        "finetuned,a,d,top1,0.6,10,,,,,,,,152\n"
    )
    (row,) = ask(store, "from results")
    said = ("probe", "tap", "n_per_class", "seed", "standard_error", "n_train", "n_val", "train_steps")
    assert [row[name] for name in said] == ["knn", "block:1", 4, 2, 0.25, 30, 5, None]
    (point,) = ask(store, "from training_curves")
    assert (point["train_steps"], point["value"], point["seed"]) == (152, 0.6, 0)


def test_what_is_known_of_models_fills_the_catalogue_and_other_numbers_are_source_metrics(imported, store):
    imported(
        models="model,imagenet_top1,params_millions,feature_dim,bn_scale,dropout,architecture,food\n"
        "Net v1,0.75,5.6,1024,yes,0.2,Net,0.4\nNet v2,,,,,,,\n"
    )
    first, second = ask(store, "from models order by model")
    said = ("origin", "imagenet_top1", "params", "feature_dim", "bn_scale", "dropout", "architecture", "source_metrics")
    assert [first[name] for name in said] == ["grid", 0.75, 5_600_000, 1024, True, 0.2, "Net", [("food", 0.4)]]
    assert (second["model"], second["imagenet_top1"], second["source_metrics"]) == ("Net v2", None, None)


def test_what_is_known_of_datasets_fills_the_catalogue(imported, store):
    imported(
        datasets="dataset,classes,train,test,metric,best_known,provenance\nPets,37,3680,3369,mean per-class,0.96,T1\n"
    )
    (row,) = ask(store, "from datasets")
    said = ("dataset", "origin", "n_classes", "n_train", "n_test", "metric", "best_known")
    assert [row[name] for name in said] == ["Pets", "grid", 37, 3680, 3369, "mean_per_class", 0.96]
    sizes = ask(store, "from dataset_sizes order by dataset")
    assert sizes == [{"dataset": "Food 101", "n_train": None}, {"dataset": "Pets", "n_train": 3680}]


def test_the_files_may_call_a_dataset_otherwise_than_the_store(written, store):
    files = {"datasets": written("datasets", "dataset,classes\nOxford Pets,37\n")}
    read = read_import(written("results", TWO), origin="grid", **files)
    assert (read.undescribed("dataset"), read.unused("dataset")) == (["Food 101", "Pets"], ["Oxford Pets"])
    read = read_import(written("results", TWO), origin="grid", renamed={"Pets": "pets", "Oxford Pets": "pets"}, **files)
    assert (read.undescribed("dataset"), read.unused("dataset")) == (["Food 101"], [])
    add(store, read, command="probestore import")
    assert ask(store, "select distinct dataset from results order by 1 desc")[0] == {"dataset": "pets"}
    assert ask(store, "select dataset, n_classes from datasets") == [{"dataset": "pets", "n_classes": 37}]
    with pytest.raises(UnknownNameError, match="Unknown dataset 'Pet'. Did you mean 'Pets'"):
        read_import(written("results", TWO), renamed={"Pet": "pets"})


def test_two_datasets_cannot_be_renamed_to_one(written):
    text = f"{HEADER}fixed,a,d,top1,0.5,10\nfixed,a,e,top1,0.5,10\n"
    with pytest.raises(ConfigurationError, match="lines 2 and 3 are the same metric of the same cell"):
        read_import(written("results", text), renamed={"d": "e"})


# ---- again ----------------------------------------------------------------------------------------------------------


def test_importing_the_same_files_again_changes_nothing(imported, store):
    files = {"models": "model,imagenet_top1,food\nNet v1,0.75,0.4\n", "datasets": "dataset,classes\nPets,37\n"}
    assert imported(**files) == ["models", "datasets", "results"]
    before = {file.name: file for file in store.storage.files("")}
    assert imported(**files) == []
    assert {file.name: file for file in store.storage.files("")} == before


def test_other_files_of_the_same_origin_replace_those_before(imported, store):
    imported(models="model,imagenet_top1\nNet v1,0.75\n")
    assert imported(f"{HEADER}fixed,Net v1,Food 101,top1,0.9,100\n") == ["results"]
    assert [row["value"] for row in ask(store, "from stored_results")] == [0.9]
    assert [row["imagenet_top1"] for row in ask(store, "from models")] == [0.75], "there was no new file of models"


def test_of_two_imports_of_one_cell_both_are_there_and_the_later_counts(imported, store):
    imported(origin="first")
    imported(f"{HEADER}fixed,Net v1,Food 101,top1,0.9,100\n", origin="second")
    rows = ask(store, "select origin from results where dataset = 'Food 101' order by origin")
    assert rows == [{"origin": "first"}, {"origin": "second"}]
    rows = ask(store, "select origin, value from headline_results where dataset = 'Food 101'")
    assert rows == [{"origin": "second", "value": 0.9}]
    assert store.origins("results") == {"first", "second"}


# ---- with studies ---------------------------------------------------------------------------------------------------


def test_of_a_model_that_a_study_used_an_import_fills_only_what_is_not_known(imported, store):
    store.publish("models", "net", rows_table("models", [{**model("net", 0.7), "source_metrics": {"food": 0.1}}]))
    imported(models="model,imagenet_top1,params_millions,food,cars\nnet,0.9,2,0.9,0.3\n")
    (row,) = ask(store, "from models where model = 'net'")
    assert (row["origin"], row["imagenet_top1"], row["params"]) == (None, 0.7, 2_000_000)
    assert sorted(row["source_metrics"]) == [("cars", 0.3), ("food", 0.1)]


def test_of_a_cell_that_was_computed_and_imported_the_later_is_shown(imported, store):
    computed = score("Net v1", "Food 101", 0.6, created_at=datetime(2100, 1, 1, tzinfo=UTC))
    imported()
    sql = "select value, origin from scores('fixed', 'logistic', 'penultimate', null)"
    assert ask(store, sql) == [{"value": 0.8, "origin": "grid"}]
    store.publish("results", "c1", rows_table("results", [computed]))
    assert ask(store, sql) == [{"value": 0.6, "origin": None}]


def test_imports_are_sound_and_no_garbage_and_no_cells_of_studies(imported, store):
    imported(models="model,imagenet_top1,food\nNet v1,0.75,0.4\n", datasets="dataset,classes\nPets,37\n")
    store.publish("cells", "s", rows_table("cells", [wanted("a", "d0")]))
    assert verify(store).findings == []
    assert garbage.find(store, older_than=NOW - NOW) == []
    assert store.names("results") == store.names("models") == set()
    assert not rescore_stored(store, reporter=Silent()).counts
    with Database(store) as database:
        assert database.query("coverage")["status"].to_pylist() == ["missing"]


def test_a_file_of_an_import_under_another_name_is_an_error_of_the_store(imported, store):
    imported()
    path = Path(store.uri, layout.import_path("results", "grid"))
    path.rename(path.with_name("other.parquet"))
    (found,) = verify(store).findings
    assert (found.place, found.what) == ("results/imported/other.parquet", "its content is not what was written")
    assert "import other again" in found.advice


def test_a_model_may_be_called_as_an_import_is(imported, store):
    store.publish("models", "grid", rows_table("models", [model("grid", 0.7)]))
    imported(models="model,imagenet_top1\nNet v1,0.75\n")
    assert [row["model"] for row in ask(store, "from models order by model")] == ["Net v1", "grid"]
    assert verify(store).sound


def test_imports_are_told_from_what_was_computed(imported, store):
    store.publish("results", "c1", rows_table("results", [score("Net v1", "Food 101", 0.6, solver="")]))
    imported()
    imported(f"{HEADER}fixed,Net v1,Food 101,top1,0.9,100\n", origin="later")
    with Database(store) as database:
        imports = database.query("imports").drop_columns(["imported_at", "versions"]).to_pylist()
        computed = database.query("provenance").to_pylist()
    names = ("origin", "settings", "n_results", "n_counted", "n_models", "n_datasets")
    assert [tuple(row[name] for name in names) for row in imports] == [
        ("grid", "fixed, scratch", 2, 1, 1, 2),
        ("later", "fixed", 1, 0, 1, 1),
    ]
    assert [row["n_cells"] for row in computed] == [1]


# ---- which metric is compared ---------------------------------------------------------------------------------------


SEVERAL = f"{HEADER}fixed,a,d,top1,0.5,10\nfixed,a,d,mean_per_class,0.4,10\nfixed,a,d,nll,2.5,10\n"


def test_of_several_metrics_the_datasets_own_is_compared(imported, store):
    imported(SEVERAL, datasets="dataset,metric\nd,mean per class\n")
    headlines = ask(store, "select metric from results where headline")
    assert headlines == [{"metric": "mean_per_class"}]
    assert len({row["cell"] for row in ask(store, "from results")}) == 1


def test_several_metrics_of_a_dataset_that_nobody_knows_are_refused(imported, store):
    with pytest.raises(
        ConfigurationError, match=r"line 2, column metric: 'd' has several metrics here \(mean_per_class"
    ):
        imported(SEVERAL)
    assert store.origins("results") == set()


def test_a_study_of_the_store_says_which_metric_a_dataset_has(imported, store):
    row = {"dataset": "d", "metric": "mean_per_class", "recorded_at": NOW}
    store.publish("datasets", "d", rows_table("datasets", [row]))
    imported(SEVERAL, datasets="dataset,metric\nd,top1\n")
    assert ask(store, "select metric from results where headline") == [{"metric": "mean_per_class"}]
    with pytest.raises(ConfigurationError, match="'d' is known with the metric mean_per_class, .* Got top1"):
        imported(f"{HEADER}fixed,a,d,top1,0.5,10\n", origin="other")


def test_two_imports_must_mean_the_same_metric_by_a_dataset(imported):
    imported()
    with pytest.raises(ConfigurationError, match="'Pets' is known with the metric mean_per_class"):
        imported(f"{HEADER}fixed,a,Pets,top1,0.5,10\n", origin="other")
    assert imported(f"{HEADER}fixed,a,Pets,top1,0.5,10\n") == ["results"], "its own rows are replaced"


def test_a_loss_alone_is_kept_and_not_compared(imported, store):
    imported(f"{HEADER}fixed,a,d,nll,2.5,10\n")
    assert ask(store, "select headline, standard_error from results") == [{"headline": False, "standard_error": None}]


# ---- refused --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("fixd,a,d,top1,0.5,10", r"line 2, column setting: .*Did you mean 'fixed'\? Got 'fixd'"),
        ("fixed,a,d,top2,0.5,10", r"line 2, column metric: must be one of top1, .*Did you mean 'top"),
        ("fixed,a,d,top1,75.1,10", r"line 2, column value: top1 must be a fraction .*\(0.751, not 75.1\). Got 75.1"),
        ("fixed,a,d,ece,-0.1,10", "line 2, column value: ece must be a fraction"),
        ("fixed,a,d,nll,-1,10", "line 2, column value: nll must not be negative"),
        ("fixed,a,d,top1,0.5,", "line 2, column n_test: must have a value"),
        ("fixed,a,d,top1,0.5,0", "line 2, column n_test: must be a whole number, at least 1"),
        ("fixed,,d,top1,0.5,10", "line 2, column model: must have a value"),
        (
            "fixed,a,d,top1,92%,10",
            "line 2, column value: must be a number, with a point before its decimals. Got '92%'",
        ),
        (
            'fixed,a,d,top1,"0,92",10',
            "line 2, column value: must be a number, with a point before its decimals. Got '0,92'",
        ),
        ("fixed,a,d,top1,NaN,10", "line 2, column value: must be a number"),
        ('fixed,a,d,top1,0.5,"3,669"', "line 2, column n_test: must be a whole number"),
        ("fixed,a,d,top1,0.5,10\nfixed,b,d,top1,0.5,10\nfixed,a,d,top-1,0.6,10", "lines 2 and 4 are the same metric"),
    ],
)
def test_results_that_cannot_be_right_are_refused_before_anything_is_written(imported, store, line, message):
    with pytest.raises(ConfigurationError, match=message):
        imported(HEADER + line + "\n", models="model,imagenet_top1\na,0.75\n")
    assert store.origins("models") == store.origins("results") == set()


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"models": "model,imagenet_top1\na,75.1\n"}, r"models.csv, line 2, column imagenet_top1: .*0.751, not 75.1"),
        ({"models": "model,params,params_millions\na,1,1\n"}, "params and params_millions say the same"),
        ({"models": "model,params_millions\na,0\n"}, "must be a number of millions above 0"),
        ({"models": "model,backbone\na,resnet50\n"}, "must be family:identifier"),
        ({"models": "model,weight\na,file.pth\n"}, r"column weight: must be a number.*Did you mean 'weights'"),
        ({"models": "model,dropout\na,0.1\na,0.2\n"}, "lines 2 and 3 are the same model, twice"),
        ({"datasets": "dataset,class\nd,3\n"}, r"unknown column 'class'. Did you mean 'classes'"),
        ({"datasets": "dataset,metric\nd,nll\n"}, "must be a metric of which more is better"),
        ({"datasets": "dataset,n_train\nd,3\nd,4\n"}, "lines 2 and 3 are the same dataset, twice"),
    ],
)
def test_what_cannot_be_known_of_models_and_datasets_is_refused(imported, files, message):
    with pytest.raises(ConfigurationError, match=message):
        imported(**files)


@pytest.mark.parametrize("error", [0.52, 52, 0.2])
def test_a_standard_error_in_percent_is_refused(imported, error):
    with pytest.raises(ConfigurationError, match=r"column standard_error: must be a fraction, .*0\.0083 at most"):
        imported(f"{HEADER[:-1]},standard_error\nfixed,a,d,top1,0.92,3669,{error}\n")
    assert imported(f"{HEADER[:-1]},standard_error\nfixed,a,d,top1,0.92,3669,0.0045\n") == ["results"]


def test_what_is_taken_for_granted_is_told(written):
    columns = f"{HEADER[:-1]},seed,probe\n"
    read = read_import(written("r", f"{columns}fixed,a,d,top1,0.5,10,1,knn\nfixed,b,d,nll,0.5,10,2,\n"))
    assert read.defaults() == {"probe": "logistic", "tap": "penultimate"}
    assert read.without_error() == {"nll": 1}


def test_names_that_differ_in_the_form_of_letters_only_are_told(written):
    lines = "fixed,caf\u00e9,d,top1,0.5,10\nfixed,cafe\u0301,d,top1,0.5,10\nfixed,b,D,top1,0.5,10\n"
    read = read_import(written("r", HEADER + lines), models=written("m", "model,imagenet_top1\nB,0.7\n"))
    assert read.alike("model") == [["B", "b"], ["cafe\u0301", "caf\u00e9"]]
    assert read.alike("dataset") == [["D", "d"]]
    assert (read.undescribed("model"), read.unused("model")) == (["b", "cafe\u0301", "caf\u00e9"], ["B"])


def test_an_import_is_called_as_its_file_is_or_as_it_is_told(written):
    assert read_import(written("kornblith2019", TWO)).origin == "kornblith2019"
    with pytest.raises(ConfigurationError, match=r"becomes part of a path. Got 'my results'. .*--origin"):
        read_import(written("my results", TWO))
    with pytest.raises(ConfigurationError, match="--origin"):
        read_import(written("results", TWO), origin="../x")


@pytest.mark.parametrize("spelling", ["top1", "Top-1", "top 1", "TOP_1"])
def test_metrics_are_read_whatever_their_case_and_signs(spelling):
    assert metric(spelling) == "top1"
    assert metric("Mean Per-Class") == "mean_per_class"


def test_the_papers_spellings_are_ours():
    assert {headline_metric(spelling) for spelling in OTHER_SPELLINGS} == {"map_11point"}


def test_every_column_of_an_import_is_one_of_its_table(imported, store):
    """A name that no table has would be dropped without a word."""
    from featurestore.store import schema
    from probes.imports import imported_columns

    for name in (name for name, table in schema.TABLES.items() if table.imported):
        kind = getattr(imported_columns, name.capitalize())
        columns = schema.TABLES[name].schema.names
        assert set(kind.model_fields) - {other for other, _ in kind.SAME} <= set(columns)


# ---- the published grid ---------------------------------------------------------------------------------------------


def test_all_of_the_published_grid_is_taken(store):
    read = published_import()
    assert (len(read.results), len(read.names("model")), len(read.names("dataset"))) == (576, 16, 12)
    add(store, read, command="probestore import")
    (metrics,) = ask(store, "select list(distinct metric order by metric) as names from results where headline")
    assert metrics["names"] == ["map_11point", "mean_per_class", "top1"]
    assert all(row["n_train"] for row in ask(store, "from dataset_sizes"))


# ---- what is gone ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("table", ["results", "models", "datasets"])
def test_rows_of_an_import_that_are_gone_are_missed(imported, store, table):
    imported(models="model,params\nNet v1,1000\n", datasets="dataset,classes\nPets,37\n")
    Path(store.uri, layout.import_path(table, "grid")).unlink()
    (lost,) = gone(store)
    assert (lost.table, lost.file) == (table, f"{table}/imported/grid.parquet")
    with pytest.raises(StoreError, match=f"{lost.file}.*verify --mend"):
        Database(store)


def test_an_import_without_models_keeps_the_command_that_brought_them(written, store):
    models = written("models", "model,params\nNet v1,1000\n")
    results = written("results", TWO)
    add(store, read_import(results, origin="grid", models=models), command="first")
    add(store, read_import(results, origin="grid"), command="second")
    rows = ask(store, "select added_to, command from imports order by added_to")
    assert [(row["added_to"], row["command"]) for row in rows] == [("models", "first"), ("results", "second")]
