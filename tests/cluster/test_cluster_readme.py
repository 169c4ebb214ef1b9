"""The README of cluster/ is held to the code: its references, commands, study files and its new kind of work."""

from __future__ import annotations

import shlex
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from documents import assert_links_exist, assert_options_exist, blocks, command_lines, run_lines
from locations import ROOT
from silent import Silent

from cluster.cli import cli
from cluster.pool.local_pool import LocalPool
from cluster.reference import README, parts
from cluster.reporting.events import Event, UnitDone
from cluster.runs.study_run import run_study
from cluster.study.cluster_settings import kinds_of_work
from cluster.study.study_file import parse_study, read_study
from cluster.work import kinds
from featurestore import FeatureStore, readme_parts, registry

TEXT = README.read_text(encoding="utf-8")


def test_the_references_are_those_of_the_code() -> None:
    assert readme_parts.filled(TEXT, parts()) == TEXT, "run: make reference"


def test_make_reference_writes_them() -> None:
    done = subprocess.run(["make", "--dry-run", "reference"], cwd=ROOT, capture_output=True, text=True, check=True)
    assert "python -m cluster.reference" in done.stdout


def test_links_lead_to_files_and_every_folder_is_named() -> None:
    assert_links_exist(README)
    for folder in README.parent.iterdir():
        if (folder / "__init__.py").exists():
            assert f"`{folder.name}/`" in TEXT, folder.name


def test_every_command_has_a_section() -> None:
    for name in cli.list_commands(None):
        assert f"### probestore {name}" in TEXT, name


def test_every_event_is_described() -> None:
    files = {registry.load(kinds, "kind of work", name).__name__ for name in registry.names(kinds)}
    own = {found for found in every_subclass(Event) if found.__module__ in (Event.__module__, *files)} - {UnitDone}
    assert len(own) >= 12
    assert [found.name() for found in own if f"| `{found.name()}` |" not in TEXT] == []


def every_subclass(kind: type[Event]) -> set[type[Event]]:
    return {kind_below for below in kind.__subclasses__() for kind_below in (below, *every_subclass(below))}


def test_every_command_line_names_a_command_with_options_that_it_has() -> None:
    lines = command_lines(TEXT)
    assert len(lines) >= 20
    assert_options_exist(lines)


def test_the_study_files_are_read(tmp_path: Path) -> None:
    study, cluster = blocks(TEXT, "toml")
    parsed = parse_study(study, tmp_path / "study.toml")
    assert (parsed.name, parsed.models[-1].name, parsed.datasets[-1].name) == ("garden", "my_net", "flowers")
    asked = parse_study('models = ["mobilenet_v2"]\ndatasets = ["digits"]\n' + cluster, tmp_path / "study.toml").cluster
    assert asked.autoscaling
    assert asked.of("features").resources == {"a100": 0.5}
    assert all(f"`{kind}`" in TEXT for kind in kinds_of_work())


@pytest.mark.slow
def test_the_commands_that_cost_little_run(
    study_file: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    study_file(2)
    monkeypatch.chdir(tmp_path)
    lines = [line for line in command_lines(TEXT) if shlex.split(line)[1:2] != ["run"] and "study.toml" in line]
    elsewhere = ("s3://", "demo-store", "--address")
    here = [line for line in lines if not any(word in line for word in elsewhere)]
    computing = [line for line in command_lines(TEXT) if line.startswith("probestore run study.toml --local")]
    run_lines([*here, *computing], monkeypatch)
    assert {"plan.csv", "store"} <= {path.name for path in tmp_path.iterdir()}


@pytest.fixture
def new_kind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The kind of work of the README as a file among the others; the folder that it writes into."""
    (text,) = blocks(TEXT, "python")
    folder = tmp_path / "own_kinds"
    folder.mkdir()
    (folder / "means.py").write_text(text)
    kinds.__path__.append(str(folder))
    monkeypatch.chdir(tmp_path)
    yield tmp_path / "means"
    kinds.__path__.remove(str(folder))
    sys.modules.pop("cluster.work.kinds.means", None)


def test_the_new_kind_of_work_runs_once(
    new_kind: Path, study_file: Callable[..., Path], store: FeatureStore, pool: LocalPool
) -> None:
    path = study_file(2)
    first, again = Silent(), Silent()
    assert run_study(read_study(path), store, pool=pool, reporter=first).failures == []
    assert len(list(new_kind.glob("*.npy"))) == 2
    run_study(read_study(path), store, pool=pool, reporter=again)
    done = [[event.name() for event in told.events].count("mean_done") for told in (first, again)]
    assert done == [2, 0]
