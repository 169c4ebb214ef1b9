"""probes/README.md is held to the code: its tables are those of the code, and its examples run."""

import pytest
from readmes import blocks, check_commands, commands, run
from tasks import task

from cluster.study.study_file import parse_study
from featurestore import readme_parts
from probes import reference
from probes.methods import FitResources

IMPORTED = {
    "accuracies.csv": "setting,model,dataset,metric,value,n_test\n"
    + "".join(f"fixed,net {i},pets,top1,0.{i},100\n" for i in range(5, 9)),
    "models.csv": "model,imagenet_top1\n" + "".join(f"net {i},0.7{i}\n" for i in range(5, 9)),
    "datasets.csv": "dataset,classes,train,test,metric\npets,2,80,100,top1\n",
}


def test_the_tables_of_the_readme_are_those_of_the_code():
    text = reference.README.read_text(encoding="utf-8")
    assert readme_parts.filled(text, reference.parts()) == text, "run: python -m probes.reference"


def test_every_probe_has_a_source_and_every_option_a_meaning():
    for row in reference.parts()["probes"].splitlines()[2:] + reference.parts()["options"].splitlines()[2:]:
        assert not row.endswith("|  |"), row


def test_the_command_lines_are_commands_with_options_that_they_have():
    assert len(commands(reference.README)) >= 6
    check_commands(reference.README)


def test_the_study_file_is_one(tmp_path):
    (text,) = blocks(reference.README, "toml")
    study = parse_study(text, tmp_path / "study.toml")
    assert list(study.probe.probes) == ["logistic", "knn", "ncm"]


def test_the_estimators_run_and_the_new_probe_is_a_method(capsys):
    estimators, new_probe = blocks(reference.README, "python")
    exec(compile(estimators, "README.md", "exec"), {})
    assert float(capsys.readouterr().out) < 1e-3
    method = {}
    exec(compile(new_probe, "README.md", "exec"), method)
    assert {"HYPERPARAMETER", "SOLVERS", "MULTILABEL", "Options", "fit"} <= set(method)
    given = task()
    scores = method["fit"](given, method["Options"](), FitResources()).scores(given.X)
    assert scores.sum(axis=1) == pytest.approx(1)


def test_the_import_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name, text in IMPORTED.items():
        (tmp_path / name).write_text(text)
    for words in commands(reference.README):
        if "published" in words:
            assert run(words) == 0
