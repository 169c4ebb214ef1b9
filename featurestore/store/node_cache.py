"""The folder of this node that keeps what can be computed or read again, only later."""

from __future__ import annotations

import os
import shutil
import uuid
from contextlib import suppress
from pathlib import Path
from typing import Self

from featurestore.errors import ConfigurationError
from featurestore.given_files import given_path


def folder() -> Path:
    """Return ``PROBESTORE_CACHE``, else ``$XDG_CACHE_HOME/probestore``, else ``~/.cache/probestore``.

    Where a user has no home it is a place that cannot be written, and so nothing is kept.
    """
    own = os.environ.get("PROBESTORE_CACHE")
    home = os.path.expanduser("~")  # noqa: PTH111 - pathlib's own raises where there is no home
    usual = os.environ.get("XDG_CACHE_HOME") or f"{home if home != '~' else os.devnull}/.cache"
    return given_path(own) if own else Path(usual) / "probestore"


def limit_bytes() -> int:
    """Return ``PROBESTORE_CACHE_GB``, which is in GB (10^9 bytes), in bytes; by default 50 GB. With 0, nothing is kept.

    Raises
    ------
    ConfigurationError
        If it is not a number.
    """
    gigabytes = os.environ.get("PROBESTORE_CACHE_GB") or "50"
    try:
        return int(float(gigabytes) * 1e9)
    except (ValueError, OverflowError) as error:
        raise ConfigurationError(
            f"PROBESTORE_CACHE_GB must be a number of GB, such as 50. Got {gigabytes!r}."
        ) from error


class NodeCache:
    """What a node keeps of one kind, in a folder.

    Parameters
    ----------
    folder : Path
        Made when it is needed. Other things in it are left alone.
    limit_bytes : int
        Space that all kinds may take together. With 0, nothing is kept.
    """

    def __init__(self, folder: Path, limit_bytes: int) -> None:
        self._folder = folder
        self._limit_bytes = limit_bytes

    @classmethod
    def default(cls) -> Self:
        """Return the cache that the environment names.

        Raises
        ------
        ConfigurationError
            If its limit is not a number.
        """
        return cls(folder(), limit_bytes())


def make_room(place: Path, needed: int, limit: int) -> None:
    """Remove what was used longest ago, and what killed writers left, until `needed` bytes are free below a limit.

    Matrices (``features-*``) and listings of datasets (``datasets-*``) share the limit. Other things are left alone.
    """
    found = []
    for entry in (*place.glob("features-*"), *place.glob("datasets-*")):
        with suppress(OSError):  # another process is removing it
            size = sum(file.stat().st_size for file in (entry.iterdir() if entry.is_dir() else [entry]))
            found.append((entry.stat().st_mtime_ns, size, entry))
    total = sum(size for _, size, _ in found)
    for _, size, entry in sorted(found):
        if total + needed <= limit:
            break
        remove(entry)
        total -= size


def remove(entry: Path) -> None:
    """Remove a file or a folder of the cache. Whoever has mapped it keeps it; it is no error if it is gone."""
    doomed = entry.with_name(f"features-{uuid.uuid4().hex}.partial")
    with suppress(OSError):  # another process was first
        entry.rename(doomed)
    with suppress(OSError):
        doomed.unlink()
    shutil.rmtree(doomed, ignore_errors=True)
