"""Where tests find the project, its stored data, and what may lie beside it; which of their folders are slow."""

from __future__ import annotations

from pathlib import Path

ROOT = Path(__file__).parents[2]
TESTS = ROOT / "tests"
DATA = TESTS / "data"
SHARED = ROOT.parent / "shared"

MARKED_FOLDERS = {"ray": "ray", "s3": "s3", "browser": "browser", "fuzz": "slow", "long": "long"}
"""Folder of tests that are slow by nature -> their marker. `make quick` leaves all of them out, `make test` long."""
