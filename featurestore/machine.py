"""This machine, as far as a process may use it."""

from __future__ import annotations

import os
import sys


def available_cpus() -> int:
    """Number of CPU cores that this process may run on, at least 1; macOS does not restrict processes to some."""
    if sys.platform == "linux":
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
