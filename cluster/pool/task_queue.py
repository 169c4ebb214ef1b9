"""A queue of tasks that wait for a worker, and the retries of tasks that lost theirs. It needs no Ray.

Tasks are made when a worker can do them, so that nothing grows with their number.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Generic, TypeVar

from featurestore.errors import Failure

MAX_ATTEMPTS = 3  # of a task that takes its worker with it
MAX_LOSSES = 30  # of a task whose nodes are taken away: not its fault, but no task should go round for ever
_SPLIT_AFTER = 2  # workers lost
_BACK_OFF_SECONDS = 1.0
_LONGEST_BACK_OFF_SECONDS = 60.0
_MOST_LOOKED_AT = 256  # waiting tasks, before a node that may have none of them gets nothing

Task = TypeVar("Task")


@dataclass(frozen=True)
class Attempt(Generic[Task]):
    """An attempt to do a task.

    Attributes
    ----------
    task : Task
        The task.
    deaths : int
        Number of workers that died on the task while their node lived.
    losses : int
        Number of nodes that were lost while they worked on the task.
    died_on : frozenset of str
        Nodes on which workers died on the task.
    """

    task: Task
    deaths: int = 0
    losses: int = 0
    died_on: frozenset[str] = frozenset()


@dataclass(frozen=True)
class _Delayed(Generic[Task]):
    attempt: Attempt[Task]
    due: float


class TaskQueue(Generic[Task]):
    """The tasks of one kind of work of a run.

    Parameters
    ----------
    tasks : callable
        Function that returns an iterator over the tasks that can begin now. It is called again when the last iterator
        has ended, so that tasks that become possible later are taken as well.
    skip : callable, optional
        Function that says whether a task has become pointless. It is called before the task would be handed out.
    split : callable, optional
        Function that returns the smaller tasks that a task is made of. A task on which two workers died is done in
        parts, so that the part that is to blame does not harm the others.
    fits : callable, optional
        Function that says whether a node may have an attempt; by default every node may have every one.
    """

    def __init__(
        self,
        tasks: Callable[[], Iterator[Task]],
        *,
        skip: Callable[[Task], bool] | None = None,
        split: Callable[[Task], Sequence[Task]] | None = None,
        fits: Callable[[Attempt[Task], str], bool] | None = None,
    ) -> None:
        self._tasks = tasks
        self._fits = fits
        self._source: Iterator[Task] = iter(())
        self._skip = skip
        self._split = split
        self._waiting: deque[Attempt[Task]] = deque()
        self._delayed: list[_Delayed[Task]] = []

    def put(self, task: Task) -> None:
        """Put a task before all others."""
        self._waiting.appendleft(Attempt(task))

    def take(self, node: str | None = None) -> Attempt[Task] | None:
        """Return the next attempt that may begin now; None if there is none, or none yet.

        Parameters
        ----------
        node : str, optional
            Node that is to do it; by default one that may have every task.
        """
        passed = 0
        while passed < _MOST_LOOKED_AT and self._n_ready(passed + 1) > passed:
            attempt = self._waiting[passed]
            if self._skip and self._skip(attempt.task):
                del self._waiting[passed]
            elif node is None or self._fits is None or self._fits(attempt, node):
                del self._waiting[passed]
                return attempt
            else:
                passed += 1
        return None

    def n_waiting(self, at_most: int) -> int:
        """Return how many attempts wait for a worker or for their time to come, counted up to `at_most`."""
        return min(at_most, self._n_ready(at_most) + len(self._delayed))

    def seconds_to_wait(self) -> float | None:
        """Return the seconds until the next attempt whose time is yet to come; None if there is none."""
        return max(0.0, min(item.due for item in self._delayed) - time.monotonic()) if self._delayed else None

    def again(self, attempt: Attempt[Task], reason: str, *, node_lost: bool, node: str = "") -> Failure | None:
        """Take back an attempt that lost its worker.

        The task is tried again after a time that doubles with every loss.

        Parameters
        ----------
        attempt : Attempt
        reason : str
            Reason why the worker was lost, for the failure.
        node_lost : bool
            Whether the node was lost, so that the task is not to blame.
        node : str
            Node whose worker was lost. Another one comes first for the next attempt.

        Returns
        -------
        Failure or None
            The failure, if the task is not tried again.
        """
        if node_lost:
            tried = replace(attempt, losses=attempt.losses + 1)
        else:
            tried = replace(attempt, deaths=attempt.deaths + 1, died_on=attempt.died_on | {node})
        parts = self._parts(tried)
        if len(parts) == 1 and (tried.deaths == MAX_ATTEMPTS or tried.losses == MAX_LOSSES):
            return _given_up(tried, reason)
        wait = min(_BACK_OFF_SECONDS * 2 ** (tried.deaths + tried.losses - 1), _LONGEST_BACK_OFF_SECONDS)
        due = time.monotonic() + wait
        self._delayed.extend(_Delayed(part, due) for part in parts)
        return None

    def _parts(self, attempt: Attempt[Task]) -> list[Attempt[Task]]:
        if attempt.deaths < _SPLIT_AFTER or self._split is None:
            return [attempt]
        parts = self._split(attempt.task)
        return [Attempt(part) for part in parts] if len(parts) > 1 else [attempt]

    def _n_ready(self, at_most: int) -> int:
        """Return how many attempts may begin now, counted up to `at_most`. As many tasks are made as that needs."""
        now = time.monotonic()
        self._waiting.extend(item.attempt for item in self._delayed if item.due <= now)
        self._delayed = [item for item in self._delayed if item.due > now]
        while len(self._waiting) < at_most and (attempt := self._new()):
            self._waiting.append(attempt)
        return len(self._waiting)

    def _new(self) -> Attempt[Task] | None:
        for task in self._source:
            return Attempt(task)
        self._source = self._tasks()
        for task in self._source:
            return Attempt(task)
        return None


def _given_up(attempt: Attempt[Task], reason: str) -> Failure:
    if attempt.losses == MAX_LOSSES:
        lost = f"{MAX_LOSSES} nodes were lost one after another while they worked on this task"
        message = f"{lost}. The last loss: {reason} Run the same command again when the cluster loses fewer nodes."
    else:
        message = (
            f"{MAX_ATTEMPTS} workers died one after another on this task. The last said: {reason} "
            "The usual cause is too little memory. Use a smaller batch_size or fewer workers."
        )
    return Failure("WorkerDied", message, "passing")
