"""The folder of this node that keeps what can be computed or read again, only later."""

from __future__ import annotations

import os
from pathlib import Path

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
