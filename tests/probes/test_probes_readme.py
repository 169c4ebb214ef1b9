"""The README of probes/ is held to the code: its tables, commands, study file and Python."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
from documents import assert_links_exist, assert_options_exist, blocks, command_lines, run_lines
from locations import ROOT
from tasks import task

from cluster.study.study_file import parse_study
from featurestore import readme_parts
from probes.methods import FitResources
from probes.reference import README, parts

TEXT = README.read_text(encoding="utf-8")

IMPORTED = {
    "accuracies.csv": "setting,model,dataset,metric,value,n_test\n"
    + "".join(f"fixed,net {i},pets,top1,0.{i},100\n" for i in range(5, 9)),
    "models.csv": "model,imagenet_top1\n" + "".join(f"net {i},0.7{i}\n" for i in range(5, 9)),
    "datasets.csv": "dataset,classes,train,test,metric\npets,2,80,100,top1\n",
}


def test_the_tables_are_those_of_the_code() -> None:
    assert readme_parts.filled(TEXT, parts()) == TEXT, "run: make reference"


def test_every_probe_has_a_source_and_every_option_a_meaning() -> None:
    for row in (parts()["probes"] + "\n" + parts()["options"]).splitlines():
        assert not row.endswith("|  |"), row


def test_links_lead_to_files_and_every_folder_is_named() -> None:
    assert_links_exist(README)
    for folder in README.parent.iterdir():
        if (folder / "__init__.py").exists():
            assert f"`{folder.name}/`" in TEXT, folder.name


@pytest.mark.slow
def test_the_commands_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copytree(ROOT / "tests" / "data" / "store_v1", tmp_path / "demo-store")
    for name, text in IMPORTED.items():
        (tmp_path / name).write_text(text)
    monkeypatch.chdir(tmp_path)
    lines = command_lines(TEXT)
    assert len(lines) >= 6
    assert_options_exist(lines)
    run_lines([line for line in lines if not line.startswith("probestore probe ")], monkeypatch)  # that starts workers
    assert (tmp_path / "published").is_dir()


def test_the_study_file_is_one(tmp_path: Path) -> None:
    (text,) = blocks(TEXT, "toml")
    assert list(parse_study(text, tmp_path / "study.toml").probe.probes) == ["logistic", "knn", "ncm"]


def test_the_estimators_run_and_the_new_probe_is_a_method(capsys: pytest.CaptureFixture[str]) -> None:
    estimators, new_probe = blocks(TEXT, "python")
    exec(compile(estimators, "probes/README.md", "exec"), {})
    assert float(capsys.readouterr().out) < 1e-3
    method: dict[str, Any] = {}
    exec(compile(new_probe, "probes/README.md", "exec"), method)
    assert {"HYPERPARAMETER", "SOLVERS", "MULTILABEL", "Options", "fit"} <= set(method)
    given = task()
    scores = method["fit"](given, method["Options"](), FitResources()).scores(given.X)
    assert scores.sum(axis=1) == pytest.approx(1)
