"""What is true of every document: links lead somewhere, commands exist with their options, TOML and Python are that."""

from __future__ import annotations

import ast
import re
import tomllib
from pathlib import Path

import pytest
from documents import (
    assert_anchors_exist,
    assert_links_exist,
    assert_options_exist,
    blocks,
    command_lines,
    commands_in_words,
)
from locations import ROOT

from cluster.cli import cli

DOCUMENTS = sorted(
    path
    for pattern in ("*.md", ".github/*.md", "*/README.md", "cluster/deploy/README.md")
    for path in ROOT.glob(pattern)
    if not path.parent.name.startswith(".") or path.parent.name == ".github"
)


@pytest.fixture(params=DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def document(request: pytest.FixtureRequest) -> Path:
    path: Path = request.param
    return path


def test_links_lead_to_files_and_headings(document: Path) -> None:
    assert_links_exist(document)
    assert_anchors_exist(document)


def test_commands_exist_and_have_these_options(document: Path) -> None:
    text = document.read_text(encoding="utf-8")
    assert_options_exist(command_lines(text))
    assert commands_in_words(text) <= set(cli.list_commands(None))  # type: ignore[arg-type]


def test_toml_is_toml_and_python_is_python(document: Path) -> None:
    text = document.read_text(encoding="utf-8")
    for block in blocks(text, "toml"):
        tomllib.loads(block)
    for block in blocks(text, "python"):
        compile(block, document.name, "exec")


STEP = re.compile(r"`([\w.]+)` in\s+\[([\w/.]+)\]")


def test_every_step_of_a_walk_is_where_the_architecture_says() -> None:
    text = (ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8")
    walks = [part for part in text.split("\n## ") if part.startswith("Walk: ")]
    assert [len(STEP.findall(walk)) for walk in walks] == [10, 10, 14]
    for walk in walks:
        for name, path in STEP.findall(walk):
            assert name in _defined(ROOT / path), f"{name} in {path}"


def _defined(path: Path) -> set[str]:
    """Functions and methods of a file: `read_study`, `Dataset.read`."""
    body = ast.parse(path.read_text(encoding="utf-8")).body
    functions = {node.name for node in body if isinstance(node, ast.FunctionDef)}
    classes = [node for node in body if isinstance(node, ast.ClassDef)]
    return functions | {f"{c.name}.{m.name}" for c in classes for m in c.body if isinstance(m, ast.FunctionDef)}


def test_the_layers_of_the_architecture_are_those_that_are_checked() -> None:
    text = (ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8")
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    for contract in contracts:
        if contract["type"] == "layers" and contract.get("containers"):
            (package,) = contract["containers"]
            (row,) = (line for line in text.splitlines() if line.startswith(f"| [{package}]"))
            shown = [names.split(", ") for names in row.split("|")[2].replace("`", "").strip().split(" -> ")]
            checked = [names.split(" | ") for names in contract["layers"]]
            assert shown == [layer for layer in checked if set(layer) <= {name for part in shown for name in part}]


def test_make_targets_exist() -> None:
    text = (ROOT / ".github" / "CONTRIBUTING.md").read_text(encoding="utf-8")
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), flags=re.MULTILINE))
    named = set(re.findall(r"`make ([a-z]+)`", text))
    assert named <= targets
    assert targets - {"clean", "demo"} <= named
