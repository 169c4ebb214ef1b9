"""The processes that this one has started, and those that they have started: Ray is many."""

from __future__ import annotations

import os
import signal
from collections import defaultdict
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

_PROC = Path("/proc")


def descendants() -> dict[int, str]:
    """Return the ids of all processes below this one, each with the time of its start, which tells it from a later one.

    There are none where the system has no /proc, as macOS.
    """
    children: dict[int, list[int]] = defaultdict(list)
    started: dict[int, str] = {}
    for folder in _PROC.glob("[0-9]*"):
        with suppress(OSError, IndexError, ValueError):  # it has ended
            state = _state(int(folder.name))
            children[int(state[1])].append(int(folder.name))
            started[int(folder.name)] = state[19]
    found, to_do = dict[int, str](), [os.getpid()]
    while to_do:
        own = children[to_do.pop()]
        found.update((process, started[process]) for process in own)
        to_do.extend(own)
    return found


def kill(processes: Mapping[int, str]) -> None:
    """Kill those processes of a former `descendants` that are still there."""
    for process, start in processes.items():
        with suppress(OSError, IndexError):  # it has ended, or is of another user
            if _state(process)[19] == start:
                os.kill(process, signal.SIGKILL)


def _state(process: int) -> list[str]:
    """Return the fields of /proc/<id>/stat after the name: state, parent, ...; the twentieth is the time of start."""
    return (_PROC / str(process) / "stat").read_text(errors="replace").rpartition(")")[2].split()
