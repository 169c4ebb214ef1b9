"""The README of featurestore/ is held to the code: its tables, commands, records and Python."""

from __future__ import annotations

import shutil
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
from documents import assert_links_exist, assert_options_exist, blocks, command_lines, run_lines
from locations import ROOT
from source_contract import SourceContract

from cluster.study.study_file import parse_study
from featurestore import readme_parts, registry
from featurestore.catalogue.datasets import DatasetSpec
from featurestore.images import sources
from featurestore.reference import README, parts
from featurestore.store import schema

TEXT = README.read_text(encoding="utf-8")
READING, NEW_SOURCE = blocks(TEXT, "python")


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the golden store where the README has its demo-store."""
    shutil.copytree(ROOT / "tests" / "data" / "store_v1", tmp_path / "demo-store")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_tables_are_those_of_the_code() -> None:
    assert readme_parts.filled(TEXT, parts()) == TEXT, "run: make reference"


def test_every_table_of_a_store_is_in_it() -> None:
    assert all(f"| `{name}` |" in TEXT for name in (*schema.SETS, *schema.TABLES))


def test_links_lead_to_files_and_every_folder_is_named() -> None:
    assert_links_exist(README)
    for folder in README.parent.iterdir():
        if (folder / "__init__.py").exists():
            assert f"`{folder.name}/`" in TEXT, folder.name


def test_the_commands_run(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lines = command_lines(TEXT)
    assert_options_exist(lines)
    run_lines([line for line in lines if "study.toml" not in line], monkeypatch)  # that one needs images


def test_the_records_are_read_and_the_entry_point_is_of_a_known_group(tmp_path: Path) -> None:
    model, entry_point, dataset = blocks(TEXT, "toml")
    study = parse_study(model + dataset, tmp_path / "study.toml")
    assert [spec.name for spec in (*study.models, *study.datasets)] == ["my_net", "flowers"]
    (group,) = tomllib.loads(entry_point)["project"]["entry-points"]
    assert group in registry.GROUPS


def test_the_python_that_reads_features_runs(place: Path) -> None:
    names: dict[str, object] = {}
    exec(compile(READING, "featurestore/README.md", "exec"), names)
    assert len(names["features"].X) == len(names["features"].y) > 0  # type: ignore[attr-defined]


class TestTheNewSource(SourceContract):
    """The source of the README does what every source must do."""

    @pytest.fixture
    def spec(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[DatasetSpec]:
        (tmp_path / "grey.py").write_text(NEW_SOURCE)
        monkeypatch.setattr(sources, "__path__", [*sources.__path__, str(tmp_path)])
        yield DatasetSpec(name="grey", source="grey:20")
        sys.modules.pop("featurestore.images.sources.grey", None)
