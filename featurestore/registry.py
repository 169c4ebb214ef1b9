"""For code, the folder is the registry: a file's name is its name on the command line and in the tables."""

from __future__ import annotations

import importlib
import pkgutil
from types import ModuleType

from featurestore.errors import UnknownNameError


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
