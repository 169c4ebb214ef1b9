"""The built wheel outside the clone: what a user gets from `pip install probestore`, with no extra."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from locations import ROOT

pytestmark = pytest.mark.timeout(1800)  # it installs about 6 GB

UV = str(Path(sys.executable).parent / "uv")


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The programs of an environment that holds the wheel, the packages that it names, and nothing of the clone."""
    folder = tmp_path_factory.mktemp("installed")
    done("uv", "build", "--wheel", "--out-dir", folder, ROOT)
    done("uv", "venv", "--python", sys.executable, folder / "venv")
    (wheel,) = folder.glob("*.whl")
    constraints = ["--constraint", ROOT / "constraints.txt"]
    done("uv", "pip", "install", "--python", folder / "venv", *constraints, wheel)
    yield folder / "venv" / "bin"
    shutil.rmtree(folder)  # pytest would keep it, and that of the two sessions before


def done(program: str | Path, *arguments: str | Path, cwd: Path | None = None) -> str:
    """Run a program to its end without this project's variables; returns what it said."""
    variables = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "VIRTUAL_ENV")}
    command = [UV if program == "uv" else program, *arguments]
    process = subprocess.run(command, capture_output=True, text=True, check=False, cwd=cwd, env=variables)
    assert process.returncode == 0, process.stderr
    return process.stdout + process.stderr


def test_the_wheel_runs_a_study_answers_it_and_draws_its_report(
    installed: Path, study_file: Callable[..., Path], tmp_path: Path
) -> None:
    study = study_file(2)
    probestore, store = installed / "probestore", tmp_path / "store"
    first = done(probestore, "run", study, "--store", store, cwd=tmp_path)
    assert "Computed 80 image features and 2 new cells; the study has 2." in first
    assert "Nothing is missing" in done(probestore, "run", study, "--store", store, cwd=tmp_path)
    models = "select distinct model from results order by model"
    answer = done(probestore, "sql", models, "--store", store, "--format", "csv", cwd=tmp_path)
    assert answer.split() == ["model", "tiny_0", "tiny_1"]
    done(probestore, "report", "--store", store, "--out", tmp_path / "report.html", cwd=tmp_path)
    assert "tiny_1" in (tmp_path / "report.html").read_text()


def test_the_packages_come_from_the_wheel(installed: Path, tmp_path: Path) -> None:
    names = ("featurestore", "probes", "queries", "cluster", "probestore")
    code = f"for name in {names}: print(__import__(name).__file__)"
    files = done(installed / "python", "-c", code, cwd=tmp_path).split()
    assert len(files) == len(names)
    assert all(Path(file).is_relative_to(installed.parent) for file in files), files
