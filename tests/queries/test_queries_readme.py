"""The README of queries/ is held to the code: its list of questions, its commands, SQL and Python."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest
from documents import assert_links_exist, assert_options_exist, blocks, command_lines, run_lines, run_python
from locations import ROOT

from featurestore import readme_parts
from queries.asking import questions
from queries.asking.database import connect
from queries.asking.reference import README, parts

TEXT = README.read_text(encoding="utf-8")


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the golden store where the README has its demo-store."""
    shutil.copytree(ROOT / "tests" / "data" / "store_v1", tmp_path / "demo-store")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_list_of_questions_is_that_of_the_files() -> None:
    assert readme_parts.filled(TEXT, parts()) == TEXT, "run: make reference"


def test_make_reference_writes_the_list(tmp_path: Path) -> None:
    done = subprocess.run(["make", "--dry-run", "reference"], cwd=ROOT, capture_output=True, text=True, check=True)
    assert "python -m queries.asking.reference" in done.stdout
    with pytest.raises(ValueError, match="two comments of the part 'questions' once"):
        readme_parts.filled("no marks", parts())


def test_links_lead_to_files_and_every_folder_is_named() -> None:
    assert_links_exist(README)
    for folder in README.parent.iterdir():
        if (folder / "__init__.py").exists():
            assert f"`{folder.name}/`" in TEXT, folder.name


@pytest.mark.slow
def test_the_commands_of_the_readme_run(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lines = command_lines(TEXT)
    assert len(lines) >= 7
    assert_options_exist(lines)
    run_lines(lines, monkeypatch)
    assert {path.name for path in place.iterdir()} >= {
        "report.html",
        "figures",
        "figure1.pdf",
        "views.sql",
        "curves.csv",
    }


def test_the_sql_of_the_readme_runs(place: Path) -> None:
    text, new_question = blocks(TEXT, "sql")
    with connect("demo-store") as database:
        assert database.sql(text).column_names == ["source", "label_name", "models"]
        asked = questions.parse(new_question, Path("results_by_model.sql"))
        assert database.run_text(new_question).column_names == list(asked.columns)
        assert asked.text.endswith("?")
        assert asked.grain == "one row per model."


def test_the_python_of_the_readme_runs(place: Path) -> None:
    run_python(TEXT, "queries/README.md")
    assert {path.name for path in place.iterdir()} >= {"classes.csv", "grid.tex", "figure1.pdf"}


def test_the_readme_of_queries_names_every_macro_that_it_promises(place: Path) -> None:
    with connect("demo-store") as database:
        macros = set(
            database.sql("select function_name from duckdb_functions() where not internal").column(0).to_pylist()
        )
    promised = (
        "student_p",
        "paired_p",
        "mcnemar_p",
        "wilcoxon_p",
        "kendall",
        "holm",
        "logit",
        "pearson",
        "average_rank",
    )
    assert set(promised) <= macros
    assert all(f"`{name}`" in TEXT for name in promised)
