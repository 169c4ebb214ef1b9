"""The environment of `make lowest` holds the versions that pyproject.toml declares, so that those are what it tests."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator
from importlib.metadata import distributions

from locations import ROOT
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version


def declared() -> Iterator[Requirement]:
    """The requirements of the project and of the extras that `make lowest` installs."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    for line in project["dependencies"] + extras["dashboard"] + extras["demo"] + extras["test"]:
        if (requirement := Requirement(line)).name != project["name"]:
            yield requirement


def test_the_lowest_versions_are_installed() -> None:
    (packages,) = (ROOT / ".venv-lowest").glob("lib/python*/site-packages")
    installed = {canonicalize_name(found.name): Version(found.version) for found in distributions(path=[str(packages)])}
    for requirement in declared():
        (bound,) = requirement.specifier
        assert bound.operator in (">=", "=="), requirement
        assert installed[canonicalize_name(requirement.name)] == Version(bound.version), requirement
