"""This machine, as far as a process may use it: by its CPU affinity and by the limits of its control groups."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

_ROOT = Path("/")


def available_cpus() -> int:
    """Return the number of CPU cores that this process may keep busy, at least 1.

    On Linux these are the cores of its affinity, and no more than the quota of a container or a batch system gives.
    """
    affinity = getattr(os, "sched_getaffinity", None)
    cores = len(affinity(0)) if affinity else os.cpu_count() or 1
    return max(1, int(min([cores, *_cpu_quotas(_ROOT)])))


def available_memory() -> int:
    """Return the bytes of memory that this process may have: those of the machine, or the limit of a container."""
    whole = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return min([whole, *_memory_limits(_ROOT)])


def _cpu_quotas(root: Path) -> Iterator[float]:
    """Return the quotas of the control groups that this process is in, in cores."""
    for folder in _groups(root, "cpu"):
        quota, period = _numbers(folder / "cpu.max", 2) or [0, 0]
        if not period:  # version 1
            quota, period = (
                number for name in ("quota", "period") for number in _numbers(folder / f"cpu.cfs_{name}_us", 1) or [0]
            )
        if quota > 0 and period > 0:
            yield quota / period


def _memory_limits(root: Path) -> Iterator[int]:
    """Return the limits of the control groups that this process is in, in bytes."""
    for folder in _groups(root, "memory"):
        for name in ("memory.max", "memory.limit_in_bytes"):
            for limit in _numbers(folder / name, 1):
                if limit > 0:
                    yield limit


def _groups(root: Path, controller: str) -> Iterator[Path]:
    """Return the folders of this process's groups and of those around them, of version 2 and of version 1.

    In a container, the path that the kernel names may be that of the host; the folder above all is there at least.
    """
    try:
        lines = (root / "proc/self/cgroup").read_text(encoding="utf-8").splitlines()
    except OSError:  # not Linux
        return
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers and controller not in controllers.split(","):
            continue
        for mount in {controllers, controller} if controllers else ("", "unified"):
            top = root / "sys/fs/cgroup" / mount
            own = top / path.lstrip("/")
            yield from (folder for folder in (own, *own.parents) if folder == top or top in folder.parents)


def _numbers(file: Path, count: int) -> list[int]:
    """Return so many numbers of a file; none if there is no such file, or no limit."""
    try:
        return [int(word) for word in file.read_text(encoding="utf-8").split()[:count]]
    except (OSError, ValueError):
        return []
