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
    number: int
    not_before: float = 0.0


def dispatch(
    tasks: Iterable[Task],
    make_worker: Callable[[], Any],
    n_workers: int,
    *,
    on_result: Callable[[Task, Any], None],
    on_retry: Callable[[Task, str], None],
) -> None:
    """Run every task on one of `n_workers` workers.

    Parameters
    ----------
    tasks : iterable
        Arguments of the workers' ``run``.
    make_worker : callable
        Starts a worker: a Ray actor handle with a method ``run``.
    on_result : callable
        Called with a task and what ``run`` returned, or with a `Failure` when every attempt killed its worker.
    on_retry : callable
        Called with a task and the reason, before it is tried again.
    """
    queue = deque(_Attempt(task, 1) for task in tasks)
    workers = [make_worker() for _ in range(min(n_workers, len(queue)))]
    idle = list(workers)
    busy: dict[Any, tuple[Any, _Attempt[Task]]] = {}
    try:
        while queue or busy:
            while idle and queue and queue[0].not_before <= time.monotonic():
                worker, attempt = idle.pop(), queue.popleft()
                busy[worker.run.remote(attempt.task)] = (worker, attempt)
            done, _ = ray.wait(list(busy), num_returns=1, timeout=0.5) if busy else ([], [])
            if not busy:
                time.sleep(0.1)  # only tasks that wait out their back-off are left
            for reference in done:
                worker, attempt = busy.pop(reference)
                try:
                    result = ray.get(reference)
                except RayError as error:
                    workers.remove(worker)
                    ray.kill(worker)
                    if queue or busy or attempt.number < MAX_ATTEMPTS:
                        workers.append(worker := make_worker())
                    _again_or_never(attempt, error, queue, on_result, on_retry)
                else:
                    on_result(attempt.task, result)
                idle.append(worker)
    finally:
        for worker in workers:
            ray.kill(worker)


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
