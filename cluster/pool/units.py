"""Units, which can be run anywhere, and lanes, on which they come to a pool.

A pool knows no kind of work by name. A unit carries all it needs by value, and is small enough to be sent anywhere.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

from cluster.pool.task_queue import Attempt, TaskQueue
from featurestore.errors import Failure, verdict_on

T = TypeVar("T")


class Hands:
    """The things that a worker holds: a device, threads, and objects that take long to load.

    Parameters
    ----------
    device : str
        ``"cpu"`` or ``"cuda"``.
    threads : int
        Number of threads that a unit may use.
    """

    def __init__(self, device: str, threads: int) -> None:
        self.device = device
        self.threads = threads
        self._held: dict[Hashable, Any] = {}

    def held(self, key: Hashable, make: Callable[[], T]) -> T:
        """Return the object that is held under `key`. At the first call, `make` makes it."""
        if key not in self._held:
            self._held[key] = make()
        found: T = self._held[key]
        return found


class Unit(Protocol):
    """A piece of work that one worker does at a time.

    ``str(unit)`` says what it is: ``pets train shard 3``.
    """

    @property
    def amount(self) -> int:
        """Amount of work, in the unit that its kind of work is counted in."""

    def run(self, hands: Hands) -> Any:
        """Do the work by calling a plain function. Return a report of a few numbers."""

    def split_up(self) -> Sequence[Unit]:
        """Return smaller units that together are this one; the unit itself if it has no parts."""


def run_unit(unit: Unit, hands: Hands) -> Any:
    """Run a unit. Return its report, or a `Failure` if the unit raised an error of its own.

    Raises
    ------
    Exception
        If the machine is to blame, so that another worker may succeed.
    """
    try:
        return unit.run(hands)
    except Exception as error:
        if verdict_on(error) == "machine":
            raise
        return Failure.of(error)


@dataclass
class Lane:
    """The units of one kind of work, on their way through a pool.

    Attributes
    ----------
    kind : str
        Name of the kind of work; a key of the table ``[cluster]``.
    queue : TaskQueue
        Units that wait for a worker.
    on_outcome : callable
        Function that is called with a unit, its report or `Failure`, and the name of the node.
    on_retry : callable
        Function that is called with a unit, the reason, and the name of the node, before the unit is tried again.
    max_running : int, optional
        At most so many units at a time.
    running, untold : int
        Number of units that workers have now, and of units that are over while `on_outcome` was not called yet.
    seconds : float
        Time that workers have taken for units that are over.
    """

    kind: str
    queue: TaskQueue[Any]
    on_outcome: Callable[[Any, Any, str], None]
    on_retry: Callable[[Any, str, str], None]
    max_running: int | None = None
    running: int = 0
    untold: int = 0
    seconds: float = 0.0

    def room(self, at_most: int) -> int:
        """Return how many more units may run now, counted up to `at_most`."""
        return at_most if self.max_running is None else min(at_most, max(0, self.max_running - self.running))


def take(lanes: Sequence[Lane]) -> tuple[Lane, Attempt[Any]] | None:
    """Return the next unit that may begin now: of the lane with the fewest running units, then the least time used.

    So no kind of work starves another: days of one kind hold back no unit of another, and a lane that comes late has a
    turn at once.
    """
    for lane in sorted(lanes, key=lambda lane: (lane.running, lane.seconds)):
        if lane.room(1) and (attempt := lane.queue.take()):
            return lane, attempt
    return None


def keep_freed_memory() -> None:
    """Let glibc reuse the memory of activations instead of returning it to the kernel after every layer.

    Otherwise each layer's output is mapped, faulted in page by page, and unmapped: up to a third of the time of a small
    network on a CPU. Other C libraries have no such settings and are left as they are.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt:
        mallopt(_M_MMAP_THRESHOLD, 32 * 1024**2)  # the most that glibc takes
        mallopt(_M_TRIM_THRESHOLD, 1024**3)


_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # <malloc.h>
