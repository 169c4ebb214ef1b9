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
    """Name what differs between the versions of two installations; of each of them: ``timm 1.0.31, torch 2.7.1``."""
    first, second = json.loads(one), json.loads(other)
    names = [name for name in sorted({*first, *second}) if first.get(name) != second.get(name)]
    texts = (", ".join(f"{name} {has.get(name, 'not installed')}" for name in names) for has in (first, second))
    return next(texts), next(texts)


def described(one: Installation, other: Installation) -> tuple[str, str]:
    """Name what differs between two installations, devices included; empty texts if nothing does."""
    has, had = differing(one.versions, other.versions)
    if one.device != other.device:
        has, had = f"{has}, {one.device}" if has else one.device, f"{had}, {other.device}" if had else other.device
    return has, had
