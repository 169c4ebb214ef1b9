"""The folder of this node that keeps what can be computed or read again, only later."""

from __future__ import annotations

import os
from pathlib import Path

from featurestore.errors import ConfigurationError


def folder() -> Path:
    """Return ``PROBESTORE_CACHE``, else ``$XDG_CACHE_HOME/probestore``, else ``~/.cache/probestore``."""
    own = os.environ.get("PROBESTORE_CACHE")
    return Path(own) if own else Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "probestore"


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
