"""The installation that features are made with: the libraries that touch pixels and numbers, and the device."""

from __future__ import annotations

import json
import platform
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from typing import NamedTuple

_LIBRARIES = ("numpy", "pillow", "probestore", "timm", "torch", "torchvision", "transformers")


class Installation(NamedTuple):
    """An installation, as tables have it.

    Attributes
    ----------
    versions : str
        JSON: library -> version.
    device : str
        ``"cpu"``, or the card and its CUDA.
    """

    versions: str
    device: str


@cache
def versions() -> dict[str, str]:
    """Return the versions of Python and of the libraries that are installed here."""
    found = {"python": platform.python_version()}
    for name in _LIBRARIES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:  # transformers is not needed
            continue
    return dict(sorted(found.items()))


def installation(device: str) -> Installation:
    """Return the present installation, with the name of the device that features are computed on."""
    return Installation(json.dumps(versions()), device)


def public(text: str) -> dict[str, str]:
    """Return versions, as tables have them, without what says how a library was built: 2.7.1+cu128 is 2.7.1."""
    return {name: found.partition("+")[0] for name, found in json.loads(text).items()}


def differing(one: str, other: str) -> tuple[str, str]:
    """Name what differs between two installations' versions; of each of them as text, ``timm 1.0.31, torch 2.7.1``."""
    first, second = json.loads(one), json.loads(other)
    names = [name for name in sorted({*first, *second}) if first.get(name) != second.get(name)]
    return tuple(", ".join(f"{name} {has.get(name, 'not installed')}" for name in names) for has in (first, second))  # type: ignore[return-value]
