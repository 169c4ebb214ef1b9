"""`probestore import`: from files to findings, and what is said."""

import shlex
import sys
from pathlib import Path

import pytest
from published import ORIGIN, RENAMED, published_files

from cluster.cli import main
from featurestore import FeatureStore
from featurestore.care.mend import mend
from featurestore.care.verify import verify
from queries.asking.database import Database, connect

RESULTS = "setting,model,dataset,metric,value,n_test\nfinetuned,Net v1,Pets,top1,0.8,100\n"


@pytest.fixture
def command(monkeypatch, capsys, tmp_path):
    """Run `probestore import results` on a store of this test: (exit code, standard error)."""

    def call(*arguments: object) -> tuple[int, str]:
        line = ["probestore", "import", "results", *map(str, arguments), "--store", str(tmp_path / "store")]
        monkeypatch.setattr(sys, "argv", line)
        code = 0
        try:
            main()
        except SystemExit as stop:
            code = int(stop.code or 0)
        return code, capsys.readouterr().err

    return call


@pytest.fixture
def results(tmp_path) -> Path:
    path = tmp_path / "grid.csv"
    path.write_text(RESULTS)
    return path


def test_it_says_what_it_did_and_what_to_ask(command, results, tmp_path):
    code, said = command(results)
    assert code == 0
    assert "Imported 1 result of 1 model on 1 dataset (finetuned) as 'grid'; changed: results." in said
    assert "imagenet_top1 of Net v1 is not known. Correlations leave out models without it." in said
    assert f"probestore query transfer_correlation -p setting=finetuned --store {tmp_path / 'store'}" in said
    assert "Nothing has changed: 1 result of 1 model" in command(results)[1]


def test_it_says_which_source_metrics_and_datasets_it_was_told_of(command, results, tmp_path):
    models, datasets = tmp_path / "models.csv", tmp_path / "datasets.csv"
    models.write_text("model,imagenet_top1,food\nNet v1,0.7,0.2\n")
    datasets.write_text("dataset,classes\nOxford Pets,37\n")
    code, said = command(results, "--models", models, "--datasets", datasets)
    assert code == 0
    assert "Beside imagenet_top1, -p source=NAME takes these source metrics: food." in said
    assert (
        "The file of datasets does not name Pets, and the results do not name its Oxford Pets. "
        "If two names mean one dataset, add --rename OLD=NEW." in said
    )
    assert "is not known" not in said
    assert "does not name" not in command(results, "--datasets", datasets, "--rename", "Oxford Pets=Pets")[1]


def test_it_says_what_it_took_for_granted_and_what_it_cannot_know(command, results, tmp_path):
    models = tmp_path / "models.csv"
    models.write_text("model,imagenet_top1\nnet v1,0.7\n")
    results.write_text(RESULTS.replace("top1", "mean_per_class"))
    said = " ".join(command(results, "--models", models)[1].split())
    assert "results are taken for those of probe logistic, tap penultimate, seed 0." in said
    assert "they are in no test of one dataset: mean_per_class (1)." in said
    assert "The file of models does not name Net v1, and the results do not name its net v1." in said
    assert "different models, though a person may take them for one: 'Net v1' and 'net v1'." in said


def test_what_is_wrong_ends_it_and_leaves_no_store(command, results, tmp_path):
    results.write_text(RESULTS.replace("0.8", "80"))
    code, said = command(results)
    assert (code, (tmp_path / "store").exists()) == (2, False)
    assert "grid.csv, line 2, column value: top1 must be a fraction between 0 and 1 (0.751, not 75.1). Got 80.0" in said


def test_metrics_that_cannot_be_told_apart_leave_no_store_either(command, results, tmp_path):
    results.write_text(f"{RESULTS}finetuned,Net v1,Pets,mean_per_class,0.7,100\n")
    code, said = command(results)
    assert (code, (tmp_path / "store").exists()) == (2, False)
    assert "'Pets' has several metrics here (mean_per_class, top1)" in said


@pytest.fixture
def paper(command, tmp_path) -> Database:
    files = published_files()
    more = [f"--{name}={files[name]}" for name in ("models", "datasets")]
    names = [f"--rename={old}={new}" for old, new in RENAMED.items()]
    code, said = command(files["results"], *more, "--origin", ORIGIN, *names)
    assert (code, "576 results of 16 models on 12 datasets" in said) == (0, True)
    with connect(str(tmp_path / "store")) as database:
        yield database


@pytest.mark.slow
def test_the_published_correlations_come_out_of_the_published_files(paper):
    found = {
        setting: paper.query("transfer_correlation", setting=setting).to_pylist()[0]
        for setting in ("fixed", "finetuned", "scratch")
    }
    assert {setting: round(row["r"], 2) for setting, row in found.items()} == {
        "fixed": 0.99,
        "finetuned": 0.96,
        "scratch": 0.55,
    }
    assert {(row["n_models"], row["n_datasets"]) for row in found.values()} == {(16, 12)}


def test_the_published_correlations_on_small_and_larger_datasets_come_out(paper):
    rows = paper.query("correlation_by_training_size", setting="scratch").to_pylist()
    assert [(round(row["r"], 2), row["n_datasets"]) for row in rows] == [(0.29, 7), (0.86, 5)]


def test_a_model_of_ones_own_lies_near_the_published_line(paper, command, results, tmp_path):
    """What the paper measured of Inception v3, under a name and names of datasets that a study can have."""
    sql = "select dataset, metric, value, n_test from results where model = 'Inception v3' and setting = 'fixed'"
    rows = paper.sql(sql).to_pylist()
    lines = [
        f"fixed,mine,{row['dataset'].replace(' ', '_')},{row['metric']},{row['value']},{row['n_test']}" for row in rows
    ]
    results.write_text("\n".join([RESULTS.splitlines()[0], *lines]))
    models = tmp_path / "mine.csv"
    models.write_text("model,imagenet_top1\nmine,0.7863\n")
    assert command(results, "--models", models)[0] == 0
    with connect(str(tmp_path / "store")) as database:
        (row,) = database.query("predicted_transfer").to_pylist()
    assert (row["model"], row["reference"], row["n_datasets"], row["n_reference"]) == ("mine", "kornblith2019", 12, 16)
    assert (row["inside"], row["extrapolated"]) == (True, False)
    assert abs(row["residual"]) < 0.05


def test_rows_that_are_gone_come_again_with_the_command_that_the_mending_prints(
    command, results, tmp_path, monkeypatch
):
    models = tmp_path / "its models.csv"
    models.write_text("model,imagenet_top1\nNet v1,0.7\n")
    command(results, "--models", models, "--rename", "Pets=pets")
    store = FeatureStore.open(str(tmp_path / "store"))
    for table in ("results", "models"):
        (tmp_path / "store" / table / "imported" / "grid.parquet").unlink()
    (again,) = mend(store, verify(store)).remaking.commands
    words = shlex.split(again)
    assert words[-2:] == ["--store", store.uri]
    monkeypatch.chdir("/")
    assert command(*words[3:-2])[0] == 0
    assert verify(store).findings == []
    with Database(store) as database:
        assert database.sql("select dataset, imagenet_top1 from results join models using (model)").to_pylist() == [
            {"dataset": "pets", "imagenet_top1": 0.7}
        ]
