"""Tasks that wait for a worker, and what becomes of those that lost theirs. No Ray in here, and nothing grows.

Tasks are pulled from where they come from when there is somebody to do them.
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

Task = TypeVar("Task")


@dataclass(frozen=True)
class Attempt(Generic[Task]):
    """A task on its way.

    Attributes
    ----------
    deaths : int
        Workers that died on it while their node lived.
    losses : int
        Nodes that were lost under it.
    """

    task: Task
    deaths: int = 0
    losses: int = 0


@dataclass(frozen=True)
class _Delayed(Generic[Task]):
    attempt: Attempt[Task]
    due: float


class TaskQueue(Generic[Task]):
    """The tasks of one kind of a run.

    Parameters
    ----------
    tasks : callable
        Returns an iterator over what can begin now; asked again whenever the last one has run dry, so that what becomes
        possible later is taken as well.
    skip : callable, optional
        Whether a task has become pointless; asked when it would be handed out.
    split : callable, optional
        A task to the smaller ones it is made of. One that took two workers with it is done in parts, so that what is
        wrong with one of them does not take the others along.
    """

    def __init__(
        self,
        tasks: Callable[[], Iterator[Task]],
        *,
        skip: Callable[[Task], bool] | None = None,
        split: Callable[[Task], Sequence[Task]] | None = None,
    ) -> None:
        self._tasks = tasks
        self._source: Iterator[Task] = iter(())
        self._skip = skip
        self._split = split
        self._waiting: deque[Attempt[Task]] = deque()
        self._delayed: list[_Delayed[Task]] = []

    def take(self) -> Attempt[Task] | None:
        """The next attempt that may begin now; None if there is none, or none yet."""
        while self._n_ready(1):
            attempt = self._waiting.popleft()
            if not (self._skip and self._skip(attempt.task)):
                return attempt
        return None

    def n_waiting(self, at_most: int) -> int:
        """How many attempts wait for a worker or for their time to come, counted up to `at_most`."""
        return min(at_most, self._n_ready(at_most) + len(self._delayed))

    def seconds_to_wait(self) -> float | None:
        """Until the next attempt that waits for its time; None if there is none."""
        return max(0.0, min(item.due for item in self._delayed) - time.monotonic()) if self._delayed else None

    def again(self, attempt: Attempt[Task], reason: str, *, node_lost: bool) -> Failure | None:
        """Take an attempt back that lost its worker.

        It goes to the end of what waits, after a time that doubles with every loss.

        Returns
        -------
        Failure or None
            Why it is not tried again.
        """
        if node_lost:
            tried = replace(attempt, losses=attempt.losses + 1)
        else:
            tried = replace(attempt, deaths=attempt.deaths + 1)
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
        """Bring in what may begin now, as far as it is asked for."""
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
        lost = f"{MAX_LOSSES} nodes were lost one after another under this task"
        message = f"{lost}; the last: {reason} Run the same command again when the cluster is calm."
    else:
        message = (
            f"{MAX_ATTEMPTS} workers died one after another on this task; the last said: {reason} "
            "The usual cause is too little memory: use a smaller batch_size or fewer workers."
        )
    return Failure("WorkerDied", message, "passing")
