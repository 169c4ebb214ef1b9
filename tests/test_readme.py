"""The README is held to the code: its commands, study file and network run."""

import shlex
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from documents import assert_options_exist, blocks, command_lines, run_lines
from locations import ROOT
from tiny import TINY_NETWORK, save_images

from cluster.cli import cli
from cluster.reporting.progress import PlainReporter
from cluster.runs.study_run import run_study
from cluster.study.study_file import parse_study, read_study
from queries import names

README = (ROOT / "README.md").read_text(encoding="utf-8")


@pytest.fixture
def place(pool, study_file, tmp_path, monkeypatch) -> Path:
    """A folder with a small store where the README has its demo-store."""
    from featurestore import FeatureStore

    study = study_file(2)
    run_study(read_study(study), FeatureStore.create(str(tmp_path / "demo-store")), pool=pool, reporter=PlainReporter())
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_demo_and_the_checks_are_targets_of_the_makefile():
    assert "make demo\n" in blocks(README, "sh")
    for target in ("demo", "test", "check", "bench"):
        done = subprocess.run(["make", "--dry-run", target], cwd=ROOT, capture_output=True, check=False)
        assert done.returncode == 0, done.stderr


def test_the_packages_that_are_installed_by_hand_are_those_of_the_makefile():
    (line,) = (line for block in blocks(README, "sh") for line in block.splitlines() if "--no-deps" in line)
    assert f"FILES_ONLY := {line.partition('--no-deps ')[2]}\n" in (ROOT / "Makefile").read_text()


def test_every_extra_that_it_names_is_one():
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    for name in ("demo", "dashboard", "cuml"):
        assert name in extras
        assert f"`{name}`" in README


def test_it_is_short():
    assert len(README.splitlines()) <= 150


def test_ci_runs_the_test_command_of_contributing():
    assert "make test" in (ROOT / ".github" / "CONTRIBUTING.md").read_text()
    assert "make test" in (ROOT / ".ci" / "run").read_text()


def test_every_command_is_in_the_readme():
    for name in cli.list_commands(None):
        assert f"`probestore {name}" in README, name


def test_every_command_line_names_a_command_with_options_that_it_has():
    lines = command_lines(README)
    assert len(lines) >= 6
    assert_options_exist(lines)


def test_the_study_file_of_the_readme_is_one(tmp_path):
    study, model, *_ = blocks(README, "toml")
    parsed = parse_study(study + model, tmp_path / "study.toml")
    assert [spec.name for spec in parsed.models] == ["mobilenet_v2", "efficientnet_lite0", "my_net"]
    assert [spec.name for spec in parsed.datasets] == ["digits", "flowers"]
    assert model.strip().count("\n") == 5


def test_the_six_lines_of_an_own_network_run(pool, tmp_path, store):
    import torch
    from safetensors.torch import save_file

    sys.path.insert(0, str(tmp_path))
    (tmp_path / "my_net.py").write_text(TINY_NETWORK)
    import my_net

    torch.manual_seed(0)
    save_file(my_net.build().state_dict(), tmp_path / "my_net.safetensors")
    save_images(tmp_path / "flowers", {"daisy": 12, "rose": 12})
    data = '[[dataset]]\nname = "flowers"\nsource = "image_folder:flowers"\n'
    study = parse_study(blocks(README, "toml")[1].replace("224", "16") + data, tmp_path / "study.toml")
    summary = run_study(study, store, pool=pool, reporter=PlainReporter())
    assert (summary.counts["cells"], summary.failures) == (1, [])


@pytest.mark.slow
def test_the_commands_that_ask_run(place, monkeypatch):
    asking = [line for line in command_lines(README) if shlex.split(line)[1] in ("query", "sql")]
    assert len(asking) >= 3
    run_lines(asking, monkeypatch)


def test_the_examples_of_all_questions_are_commands():
    from queries import describe

    for name in names():
        words = shlex.split(describe(name).example)
        assert words[:3] == ["probestore", "query", name]
        cli.get_command(None, "query").make_context("query", words[2:])
