"""For code, the folder is the registry: a file's name is its name on the command line and in the tables."""

from __future__ import annotations

import importlib
import pkgutil
import warnings
from collections.abc import Iterable
from importlib.metadata import EntryPoint, entry_points
from types import ModuleType
from typing import TypeVar

from featurestore.errors import ConfigurationError, UnknownNameError

Record = TypeVar("Record")

GROUPS = ("probestore.models", "probestore.datasets")
"""Entry points by which other packages bring records. Their code runs when models or datasets are looked up."""


def names(package: ModuleType) -> list[str]:
    """Return the names of the modules in a package's folder; none is imported."""
    return sorted(module.name for module in pkgutil.iter_modules(package.__path__))


def load(package: ModuleType, kind: str, name: str) -> ModuleType:
    """Import one module of a package's folder by its name.

    Raises
    ------
    UnknownNameError
        If there is no such file; close names are suggested.
    """
    place = (name, *package.__path__)
    if place not in _found:  # a study asks thousands of times, and a listing of the folder takes as long as a key
        known = names(package)
        if name not in known:
            raise UnknownNameError(kind, name, known, f"There are: {', '.join(known)}.")
        _found.add(place)
    return importlib.import_module(f"{package.__name__}.{name}")


_found: set[tuple[str, ...]] = set()  # names of modules, each with the folders of its package


def plugins() -> list[EntryPoint]:
    """Return the entry points of installed packages, by group and name; none is loaded."""
    return [entry for group in GROUPS for entry in sorted(entry_points(group=group), key=lambda entry: entry.name)]


def origin(entry: EntryPoint) -> str:
    """Return the name and version of the distribution that brings an entry point."""
    return f"{entry.dist.name} {entry.dist.version}" if entry.dist else "an unknown distribution"


def records_of_packages(group: str, kind: type[Record]) -> list[Record]:
    """Return records that other packages bring by entry points of `group`: each names a record or an iterable of them.

    An entry point that cannot be used is left out with a warning that names its distribution: a broken package must not
    stop studies that do not need it.
    """
    found: list[Record] = []
    for entry in entry_points(group=group):
        try:
            found.extend(_records(entry, kind))
        except (Exception, SystemExit) as error:  # the code of a package may raise anything
            warnings.warn(
                f"The entry point {entry.name} = {entry.value} ({group}) of {origin(entry)} is left out: "
                f"{type(error).__name__}: {error}. Repair or uninstall it; `probestore list plugins` shows all.",
                stacklevel=2,
            )
    return found


def _records(entry: EntryPoint, kind: type[Record]) -> list[Record]:
    value = entry.load()
    records = [value] if isinstance(value, kind) else list(value) if isinstance(value, Iterable) else [value]
    wrong = [record for record in records if not isinstance(record, kind)]
    if wrong:
        raise ConfigurationError(f"it must name a {kind.__name__} or an iterable of them. Got {wrong[0]!r:.200}")
    return records
