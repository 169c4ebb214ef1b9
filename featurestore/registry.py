"""For code, the folder is the registry: a file's name is its name on the command line and in the tables."""

from __future__ import annotations

import importlib
import pkgutil
from importlib.metadata import entry_points
from types import ModuleType
from typing import TypeVar

from featurestore.errors import UnknownNameError

Record = TypeVar("Record")


def names(package: ModuleType) -> list[str]:
    """Names of the modules in a package's folder; none is imported."""
    return sorted(module.name for module in pkgutil.iter_modules(package.__path__))


def load(package: ModuleType, kind: str, name: str) -> ModuleType:
    """Import one module of a package's folder, now that it is asked for.

    Raises
    ------
    UnknownNameError
        If there is no such file; close names are suggested.
    """
    known = names(package)
    if name not in known:
        raise UnknownNameError(kind, name, known, f"There are: {', '.join(known)}.")
    return importlib.import_module(f"{package.__name__}.{name}")


def records_of_packages(group: str, kind: type[Record]) -> list[Record]:
    """Records that other packages bring by entry points of `group`: each names a record or an iterable of them."""
    found: list[Record] = []
    for entry in entry_points(group=group):
        value = entry.load()
        found.extend([value] if isinstance(value, kind) else value)
    return found
