"""The README files and their examples."""

from __future__ import annotations

import re
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from unittest.mock import patch

from cluster.cli import cli, main


def blocks(readme: Path, language: str) -> list[str]:
    """The examples of a README in this language."""
    return re.findall(rf"```{language}\n(.*?)```", readme.read_text(encoding="utf-8"), flags=re.DOTALL)


def commands(readme: Path) -> list[list[str]]:
    """The words after `probestore` of each command line of a README."""
    lines = [line for block in blocks(readme, "sh") for line in block.splitlines()]
    return [shlex.split(line)[1:] for line in lines if line.startswith("probestore ")]


def check_commands(readme: Path) -> None:
    """Fail unless every command line names a command with options that it has."""
    for name, *arguments in commands(readme):
        cli.get_command(None, name).make_context(name, arguments)


def run(words: Sequence[str]) -> int:
    """Run a command in this process; return its exit code."""
    with patch.object(sys, "argv", ["probestore", *words]):
        try:
            main()
        except SystemExit as stop:
            return int(stop.code or 0)
    return 0
