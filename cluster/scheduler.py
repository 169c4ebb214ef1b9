"""Tasks onto workers: dispatch, back-pressure, retries of what the machine broke.

A worker has one task at a time and tasks wait here, not in Ray, so nothing grows with the size of the study. A worker
that dies is replaced and its task goes back to the queue; a task that took `MAX_ATTEMPTS` workers with it is given up.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import ray
from ray.exceptions import RayError

from featurestore.errors import Failure

MAX_ATTEMPTS = 3
_BACK_OFF_SECONDS = 1.0

Task = TypeVar("Task")


@dataclass
class _Attempt(Generic[Task]):
    task: Task
    number: int = 1
    not_before: float = 0.0


class WorkerPool:
    """Workers that are started when there is work for them, and kept.

    Parameters
    ----------
    make_worker : callable
        Starts a worker: a Ray actor handle with a method ``run``.
    size : int
        At most so many.
    """

    def __init__(self, make_worker: Callable[[], Any], size: int) -> None:
        self._make_worker = make_worker
        self._size = size
        self._idle: list[Any] = []
        self._busy: dict[Any, tuple[Any, _Attempt[Any]]] = {}

    def run(
        self,
        tasks: Iterable[Task],
        *,
        on_result: Callable[[Task, Any], None],
        on_retry: Callable[[Task, str], None],
    ) -> None:
        """Run every task.

        Parameters
        ----------
        tasks : iterable
            Arguments of the workers' ``run``.
        on_result : callable
            Called with a task and what ``run`` returned, or with a `Failure` when every attempt lost its worker.
        on_retry : callable
            Called with a task and the reason, before it is tried again.
        """
        queue = deque(_Attempt(task) for task in tasks)
        try:
            while queue or self._busy:
                self._hand_out(queue)
                for reference in self._finished():
                    worker, attempt = self._busy.pop(reference)
                    try:
                        result = ray.get(reference)
                    except RayError as error:
                        ray.kill(worker)
                        _again_or_never(attempt, error, queue, on_result, on_retry)
                    else:
                        self._idle.append(worker)
                        on_result(attempt.task, result)
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Stop all workers, whatever they are doing."""
        for worker in [*self._idle, *(worker for worker, _ in self._busy.values())]:
            ray.kill(worker)
        self._idle.clear()
        self._busy.clear()

    def _hand_out(self, queue: deque[_Attempt[Any]]) -> None:
        while queue and queue[0].not_before <= time.monotonic() and len(self._busy) < self._size:
            worker = self._idle.pop() if self._idle else self._make_worker()
            attempt = queue.popleft()
            self._busy[worker.run.remote(attempt.task)] = (worker, attempt)

    def _finished(self) -> list[Any]:
        if not self._busy:
            time.sleep(0.05)  # only tasks that wait out their back-off are left
            return []
        done, _ = ray.wait(list(self._busy), num_returns=1, timeout=0.5)
        return list(done)


def _again_or_never(
    attempt: _Attempt[Task],
    error: RayError,
    queue: deque[_Attempt[Task]],
    on_result: Callable[[Task, Any], None],
    on_retry: Callable[[Task, str], None],
) -> None:
    reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
    if attempt.number == MAX_ATTEMPTS:
        message = (
            f"{MAX_ATTEMPTS} workers died one after another on this task; the last said: {reason} "
            "The usual cause is too little memory: use a smaller batch_size or fewer workers."
        )
        on_result(attempt.task, Failure("WorkerDied", message))
        return
    on_retry(attempt.task, reason)
    wait = _BACK_OFF_SECONDS * 2 ** (attempt.number - 1)
    queue.append(_Attempt(attempt.task, attempt.number + 1, time.monotonic() + wait))
