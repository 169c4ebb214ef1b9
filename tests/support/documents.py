"""The documents are held to the code: their examples run. Each README has a test that says which of them, and where."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from cluster.cli import cli, main


def blocks(text: str, language: str) -> list[str]:
    """Return the texts of the fenced blocks of a language."""
    return re.findall(rf"```{language}\n(.*?)```", text, flags=re.DOTALL)


def command_lines(text: str) -> list[str]:
    """Every `probestore ...` line of the blocks of shell commands."""
    return [line for block in blocks(text, "sh") for line in block.splitlines() if line.startswith("probestore ")]


def assert_options_exist(lines: Iterable[str]) -> None:
    """Each line names a command, with options and arguments that it has."""
    for line in lines:
        name, *arguments = shlex.split(line)[1:]
        command: Any = cli.get_command(None, name)  # type: ignore[arg-type]
        assert command is not None, line
        command.make_context(name, arguments)


def run_lines(lines: Iterable[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Run command lines in this process; each must end well."""
    for line in lines:
        monkeypatch.setattr("sys.argv", shlex.split(line))
        assert _exit_code() == 0, line


def run_python(text: str, name: str) -> None:
    """Run every block of Python."""
    for block in blocks(text, "python"):
        exec(compile(block, name, "exec"), {})


def assert_links_exist(document: Path) -> None:
    """Every link to a file of the repository leads to one."""
    for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", document.read_text(encoding="utf-8")):
        assert (document.parent / target).exists(), target


def assert_anchors_exist(document: Path) -> None:
    """Every link to a heading, of this document or another one, leads to one."""
    for target, anchor in re.findall(r"\]\(([^)#:]*)#([^)]+)\)", document.read_text(encoding="utf-8")):
        there = (document.parent / target) if target else document
        assert anchor in _anchors(there.read_text(encoding="utf-8")), f"{target}#{anchor}"


def commands_in_words(text: str) -> set[str]:
    """The commands that inline code names: `probestore run study.toml` names run."""
    return set(re.findall(r"`probestore ([a-z]+)[ `]", text))


def _anchors(text: str) -> set[str]:
    """The anchors that GitHub gives to headings."""
    headings = re.findall(r"^#+ (.*)$", text, flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def _exit_code() -> int:
    try:
        main()
    except SystemExit as stop:
        return int(stop.code or 0)
    return 0
