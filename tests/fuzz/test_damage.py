"""Damage to files of a store and of a node's cache changes no number. The whole of it is run by hand: make fuzz."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from damages import KINDS
from locations import ROOT

UNMISSED = ("heads",)
"""Kinds of file that SQL does not miss: `verify` does."""
NOTICED = [kind for kind in KINDS if kind not in UNMISSED]


def damage(*arguments: object) -> str:
    """What `damage.py` prints, when it finds no fault: a process of its own, as children of this one have threads."""
    line = [sys.executable, Path(__file__).with_name("damage.py"), *map(str, arguments)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(line, capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    return done.stdout


def of_kinds(*kinds: str) -> list[str]:
    return [word for kind in kinds for word in ("--kind", kind)]


def test_a_few_dozen_damages_change_no_number_and_errors_name_the_file_and_a_command():
    damage("--per-kind", 1, "--unmended", *of_kinds(*NOTICED))


@pytest.mark.long
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("kinds", [NOTICED[half::2] for half in (0, 1)], ids=["one half", "the other"])
def test_damages_of_every_kind_change_no_number_and_are_mended_by_what_errors_advise(tmp_path, kinds):
    damage("--per-kind", 25, "--seed", 1, "--out", tmp_path / "verdicts.json", *of_kinds(*kinds))


@pytest.mark.long
@pytest.mark.timeout(3600)
def test_the_same_damages_change_numbers_where_nothing_is_checked():
    printed = damage("--unchecked", "--per-kind", 100, "--kind", "features")
    wrong = re.search(r"(\d+) of 100", printed)
    assert wrong, printed
    assert int(wrong[1]) > 10
