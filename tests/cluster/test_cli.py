import json
import subprocess
import sys
from contextlib import nullcontext
from pathlib import Path

import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner
from sound_store import made_before_seals

from cluster import cli
from cluster.reporting.progress import PlainReporter
from cluster.runs.study_run import run_study
from cluster.study.study_file import read_study
from featurestore import FeatureStore

BROKEN = '[[model]]\nname = "broken"\nbackbone = "python:tiny_network:broken"\nweights = "none"\ninput_size = 16\n'


@pytest.fixture
def filled(pool, study_file, store) -> FeatureStore:
    run_study(read_study(study_file(2)), store, pool=pool, reporter=PlainReporter())
    return store


@pytest.mark.parametrize("name", cli.cli.list_commands(None))
def test_every_command_has_help_with_an_example(name):
    result = CliRunner().invoke(cli.cli, [name, "--help"])
    assert result.exit_code == 0
    assert f"Example:  probestore {name}" in result.output


def test_a_current_folder_that_is_gone_is_an_error_at_once(command, tmp_path, monkeypatch):
    (gone := tmp_path / "gone").mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    code, _, err = command("list", "models")
    monkeypatch.chdir(tmp_path)
    assert (code, err.split(". ")[0]) == (2, "Error: The current folder is not there any more")


@pytest.mark.parametrize(
    "kind", ["models", "datasets", "probes", "solvers", "metrics", "backbones", "sources", "queries"]
)
def test_every_kind_can_be_listed_and_described(command, kind):
    code, out, _ = command("list", kind, "--format", "json")
    rows = json.loads(out)
    assert code == 0
    assert rows
    assert all(value for row in rows for value in row.values())


@pytest.mark.slow
def test_answers_come_in_every_format(command, filled, tmp_path):
    starts = {"csv": "rank,rank_low,", "json": "[", "markdown": "|   rank |", "latex": "% In the preamble"}
    for form, start in starts.items():
        code, out, _ = command("query", "leaderboard", "--store", filled.uri, "--format", form)
        assert (code, out.startswith(start)) == (0, True), out
    assert "tiny_1" in command("query", "leaderboard", "--store", filled.uri)[1]
    assert (
        command("query", "leaderboard", "--store", filled.uri, "--format", "parquet", "--out", tmp_path / "a.parquet")[
            0
        ]
        == 0
    )
    assert (tmp_path / "a.parquet").read_bytes()[:4] == b"PAR1"


def test_sql_and_files_of_sql_run_on_the_store(command, filled, tmp_path):
    code, out, _ = command("sql", "select count(*) as n from predictions", "--store", filled.uri, "--format", "csv")
    assert (code, out.split()) == (0, ["n", "16"])
    (tmp_path / "mine.sql").write_text("select count(*) as n from samples where split = $split")
    code, out, _ = command("query", tmp_path / "mine.sql", "-p", "split=test", "--store", filled.uri, "--format", "csv")
    assert (code, out.split()) == (0, ["n", "8"])


def test_the_store_can_come_from_the_environment(command, filled, monkeypatch):
    monkeypatch.setenv("PROBESTORE_STORE", filled.uri)
    assert command("sql", "select 1")[0] == 0


@pytest.mark.slow
def test_the_report_and_its_charts_are_written(command, filled, tmp_path):
    code, _, err = command(
        "report", "--store", filled.uri, "--out", tmp_path / "r.html", "--charts", tmp_path / "charts"
    )
    assert (code, str(tmp_path / "r.html") in err) == (0, True)
    assert "tiny_1" in (tmp_path / "r.html").read_text()
    assert list((tmp_path / "charts").glob("*.svg"))


@pytest.mark.slow
def test_probes_are_added_and_said(command, filled, pool, monkeypatch):
    monkeypatch.setattr("cluster.pool.ray_pool.RayPool", lambda *_, **__: nullcontext(pool))
    arguments = ["probe", "--probe", "knn", "--n-per-class", 2, "--few-shot-seeds", 1, "-o", "knn.ks=[1]"]
    code, _, err = command(*arguments, "--store", filled.uri)
    assert code == 0, err
    assert "Computed 4 new cells; this choice of probes has 4." in err
    assert f"probestore query leaderboard -p probe=knn --store {filled.uri}" in err
    code, _, err = command(*arguments, "--store", filled.uri)
    assert (code, "the store has all 4 cells of this choice of probes" in err) == (0, True), err
    code, _, err = command("probe", "--probe", "leep", "--store", filled.uri)
    said = "No linear classifier of tiny_0 is in the store, so these probes are left out there: leep."
    assert (code, said in " ".join(err.split())) == (0, True), err


@pytest.mark.slow
def test_events_go_to_a_file_or_to_standard_output_alone(command, pool, study_file, tmp_path, monkeypatch):
    monkeypatch.setattr("cluster.pool.ray_pool.RayPool", lambda *_, **__: nullcontext(pool))
    run = ["run", study_file(1), "--store", tmp_path / "s", "--events"]
    for _ in range(2):
        code, out, err = command(*run, tmp_path / "events.jsonl")
        assert (code, "tiny_0" in out) == (0, True), err
    names = [json.loads(line)["event"] for line in (tmp_path / "events.jsonl").read_text().splitlines()]
    assert names.count("run_started") == names.count("run_ended") == 2, "the file is appended to"
    assert (names.count("shard_done"), names.count("cell_done")) == (6, 1)
    code, out, _ = command(*run, "-")
    assert code == 0
    assert [json.loads(line)["event"] for line in out.splitlines()][-1] == "run_ended"
    code, _, err = command(*run, tmp_path)
    assert (code, str(tmp_path) in err, "Traceback" in err) == (2, True, False)


@pytest.mark.slow
def test_what_failed_before_is_said_with_what_tries_it_again(command, pool, study_file, tmp_path, monkeypatch):
    monkeypatch.setattr("cluster.pool.ray_pool.RayPool", lambda *_, **__: nullcontext(pool))
    run = ["run", study_file(1, BROKEN), "--store", tmp_path / "s"]
    said = "1 of them: this work failed in an earlier run and was not tried again"
    assert [said in command(*run, *more)[2] for more in ((), (), ("--retry-failed",))] == [False, True, False]
    code, out, err = command("plan", *run[1:])
    assert (code, "failed before" in out) == (1, True)
    assert "Not possible or not tried: 1 of 2 rows." in err


def test_a_dry_run_is_the_plan(command, study_file, tmp_path):
    arguments = [study_file(1), "--store", tmp_path / "none"]
    dry, plan = command("run", *arguments, "--dry-run"), command("plan", *arguments)
    assert dry == plan
    assert dry[0] == 0
    assert "Missing: 6 of 6 shards" in dry[2]
    assert not (tmp_path / "none").exists()


@pytest.mark.slow
def test_metrics_are_added_and_said(command, filled):
    for path in Path(filled.uri).glob("results/*.parquet"):
        table = pq.read_table(path, partitioning=None)
        pq.write_table(table.filter(pc.not_equal(table["metric"], "top5")), path)
    made_before_seals(filled)
    arguments = ["rescore", "--local", "--metric", "top5", "--store", filled.uri]
    assert "Added 2 rows to the results of 2 cells." in command(*arguments)[2]
    assert command(*arguments)[::2] == (
        0,
        "Nothing is missing: every cell whose predictions are stored has all of these metrics that apply to it.\n",
    )
    code, out, _ = command("sql", "select count(*) n from results where metric = 'top5'", "--store", filled.uri)
    assert (code, "2" in out) == (0, True)


def test_probes_are_listed_with_what_can_be_set(command):
    rows = {row["probe"]: row for row in json.loads(command("list", "probes", "--format", "json")[1])}
    assert rows["logistic"]["chooses"] == "l2"
    assert rows["logistic"]["solvers"].startswith("path, ")
    assert "l2s=[45 values, 1e-10 to 10]" in rows["logistic"]["options"]
    assert (rows["ncm"]["chooses"], rows["ncm"]["solvers"]) == ("-", "-")


@pytest.mark.slow
def test_mistakes_are_messages_with_exit_code_2(command, tmp_path, study_file, store):
    (tmp_path / "file").write_text("")
    (tmp_path / "bad.toml").write_text("models = [")
    (tmp_path / "bad.sql").write_text("select 1\nfrom nowhere")
    study = study_file(1)
    for arguments, message in [
        (["quary"], "Did you mean 'query'"),
        (["run", tmp_path / "nope.toml"], "There is no study file"),
        (["run", tmp_path / "bad.toml"], "is not TOML"),
        (["run", study, "--store", tmp_path / "file"], "is a file"),
        (["run", study, "--store", tmp_path], "is not a store and is not empty"),
        (["run", study, "--store", "s4://bucket"], "Cannot open the store"),
        (["query", "leaderbord", "--store", store.uri], "Did you mean 'leaderboard'"),
        (["query", "leaderboard", "-p", "seting=fixed", "--store", store.uri], "Did you mean 'setting'"),
        (["query", "leaderboard", "-p", "setting", "--store", store.uri], "key=value"),
        (["query", tmp_path / "bad.sql", "--store", store.uri], "bad.sql:2"),
        (["query", tmp_path / "none.sql", "--store", store.uri], "cannot be read"),
        (["sql", "drop table results", "--store", store.uri], "read-only"),
        (["sql", "select * from '/etc/passwd'", "--store", store.uri], "Error: SQL"),
        (["report", "--store", tmp_path / "nowhere"], "There is no store"),
        (["list", "modles"], "modles"),
        (["probe", "--store", store.uri], "Missing option '--probe'"),
        (["probe", "--probe", "kn", "--store", store.uri], "Did you mean 'knn'"),
        (["probe", "--probe", "knn", "-o", "knn.k=1", "--store", store.uri], "Did you mean 'ks'"),
        (["probe", "--probe", "knn", "--n-per-class", 0, "--store", store.uri], "at least 1. Got 0"),
        (["probe", "--probe", "knn", "--store", store.uri], "There is nothing to probe"),
        (["probe", "--probe", "knn", "--store", tmp_path / "nowhere"], "There is no store"),
        (["rescore", "--metric", "top_5", "--store", store.uri], "Did you mean 'top5'"),
        (
            ["run", study, "--address", "nowhere", "--store", tmp_path / "s"],
            "must be auto, host:port or ray://host:port",
        ),
        (["run", study, "--local", "--address", "auto", "--store", tmp_path / "s"], "give one of them"),
        (["run", study, "--address", "127.0.0.1:1", "--store", tmp_path / "s"], "Nothing answers at 127.0.0.1:1"),
    ]:
        code, _, err = command(*arguments)
        assert (code, message in err, "Traceback" in err) == (2, True, False), (arguments, err)


def test_a_store_that_cannot_be_written_is_a_message(command, study_file):
    code, _, err = command("run", study_file(1), "--store", "/proc/store")
    assert (code, "to write a file to the store /proc/store, and cannot" in err) == (2, True)


@pytest.mark.slow
def test_questions_on_an_empty_store_have_answers(command, store):
    from queries import names

    for name in names():
        code, _, err = command("query", name, "--store", store.uri)
        assert (code, err) == (0, ""), name


@pytest.mark.slow
def test_failed_cells_are_exit_code_1_and_a_table(study_file, tmp_path):
    """In a process of its own, as a user would run it."""
    command = [Path(sys.executable).parent / "probestore", "run", study_file(1, BROKEN), "--store", tmp_path / "s"]
    command.append("--local")
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1, done.stderr
    assert "1 failed" in done.stderr
    assert "Computed 40 image features and 1 new cell; the study has 2." in done.stderr
    assert "tiny_0" in done.stdout
    again = subprocess.run([*command[:2], study_file(1), *command[3:]], capture_output=True, text=True, check=False)
    assert again.returncode == 0
    assert "Nothing is missing: the store has the 1 cell of the study." in again.stderr


def test_windows_is_refused_by_name(command, monkeypatch):
    monkeypatch.setattr(sys, "platform", "win32")
    code, _, err = command("list", "metrics")
    assert (code, "this machine runs Windows" in err, "Subsystem for Linux" in err) == (2, True, True)


def test_a_store_in_memory_is_refused_where_other_processes_work(command, study_file):
    code, _, said = command("run", study_file(1), "--store", "memory://here/store")
    assert code == 2
    assert "Add --local" in said
