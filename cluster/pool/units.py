"""Units, which can be run anywhere, and lanes, on which they come to a pool.

A pool knows no kind of work by name. A unit carries all it needs by value, and is small enough to be sent anywhere.
"""

from __future__ import annotations

import ctypes
import socket
from collections.abc import Callable, Collection, Hashable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar, runtime_checkable

from cluster.pool.task_queue import Attempt, TaskQueue
from featurestore.errors import Failure, verdict_on
from featurestore.networks.shipped_modules import Shipment

T = TypeVar("T")


class Hands:
    """The things that a worker holds: a device, threads, and objects that take long to load.

    Parameters
    ----------
    device : str
        ``"cpu"`` or ``"cuda"``.
    threads : int
        Number of threads that a unit may use.
    node : str, optional
        Name of the node; by default that of this host.
    """

    def __init__(self, device: str, threads: int, node: str | None = None) -> None:
        self.device = device
        self.threads = threads
        self.node = node or socket.gethostname()
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


@dataclass(frozen=True)
class Subject:
    """What a unit works on or with, such as the model ``resnet50``: what a node may be unfit for."""

    kind: str
    name: str

    def __str__(self) -> str:
        return f"{self.kind} {self.name}"


@dataclass(frozen=True)
class Suspect:
    """A part of a unit that failed, and that may do better on another node.

    Attributes
    ----------
    unit : Unit
        The part, as a unit of its own.
    subject : Subject
        What the failure is laid to, if it is not the node's.
    failure : Failure
        The failure, or the first of several.
    outcome : callable
        Function that returns the outcome of the part. It is called with a function that changes every `Failure` in it.
    """

    unit: Unit
    subject: Subject
    failure: Failure
    outcome: Callable[[Callable[[Failure], Failure]], Any]


Divided = tuple[tuple[Unit, Any] | None, Sequence[Suspect]]
"""What holds of an outcome, as a smaller unit and its own outcome, and what may do better on another node."""


@runtime_checkable
class DivisibleUnit(Unit, Protocol):
    """A unit whose failures may be the fault of a node. Those of other units are recorded at once."""

    @property
    def subjects(self) -> Collection[Subject]:
        """Everything that a node may be unfit for."""

    def divided(self, outcome: Any) -> Divided:
        """Divide an outcome into what holds and what may do better elsewhere."""


_NEVER_THE_NODE = frozenset({"ProbeError", "StoreError", "StoreVersionError", "WorkerDied"})


def may_be_the_nodes(failure: Failure | None) -> bool:
    """Whether another node may do better: not at mathematics, nor where a store refuses, nor after several deaths."""
    return failure is not None and failure.error not in _NEVER_THE_NODE


def suspected_whole(unit: Unit, failure: Failure, subject: Subject) -> Divided:
    """Divide the outcome of a unit that has failed as a whole."""
    if not may_be_the_nodes(failure):
        return (unit, failure), []
    return None, [Suspect(unit, subject, failure, lambda change: change(failure))]


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
    modules : callable
        Function that returns the user's modules that its units import; None if there are none beside the study.
    soon : callable
        Function that returns the number of units that will come when some that run now are over, for which workers may
        start meanwhile.
    nodes : frozenset of str
        Nodes of a joined cluster that can carry its workers; empty where there is this machine only.
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
    modules: Callable[[], Shipment | None] = lambda: None
    soon: Callable[[], int] = lambda: 0
    nodes: frozenset[str] = frozenset()
    running: int = 0
    untold: int = 0
    seconds: float = 0.0

    def room(self, at_most: int) -> int:
        """Return how many more units may run now, counted up to `at_most`."""
        return at_most if self.max_running is None else min(at_most, max(0, self.max_running - self.running))


def take(lanes: Sequence[Lane], node: str | None = None) -> tuple[Lane, Attempt[Any]] | None:
    """Return the next unit that may begin now: of the lane with the fewest running units, then the least time used.

    With a `node`, it is one that this node may have.

    So no kind of work starves another: days of one kind hold back no unit of another, and a lane that comes late has a
    turn at once.
    """
    for lane in sorted(lanes, key=lambda lane: (lane.running, lane.seconds)):
        if lane.room(1) and (attempt := lane.queue.take(node)):
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
