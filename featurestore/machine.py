"""This machine, as far as a process may use it."""

from __future__ import annotations

import os


def available_cpus() -> int:
    """Return the number of CPU cores that this process may run on, at least 1; on macOS these are all."""
    affinity = getattr(os, "sched_getaffinity", None)
    return len(affinity(0)) if affinity else os.cpu_count() or 1
