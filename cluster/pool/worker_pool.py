"""Tasks onto workers: dispatch, back-pressure, retries of what the machine broke.

A worker has one task at a time, and tasks wait in a `TaskQueue`, not in Ray, so nothing grows with the size of a study.
Only a worker that has said it is ready gets a task: nodes may come and go meanwhile.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TypeVar

from ray.exceptions import RayError

from cluster.pool.ray_workers import Answer, Crew, Size, Worker, reason
from cluster.pool.task_queue import Attempt, TaskQueue

_SAY_NOBODY_CAME_AFTER_SECONDS = 60.0

Task = TypeVar("Task")


class WorkerPool:
    """Workers that are started when there is work for them, and kept.

    Parameters
    ----------
    make_worker, size : callable
        See `Crew`.
    """

    def __init__(self, make_worker: Callable[[], Any], size: Callable[[Sequence[Mapping[str, float]]], Size]) -> None:
        self._crew = Crew(make_worker, size)
        self._begun: dict[Worker, Attempt[Any]] = {}

    def run(
        self,
        tasks: Iterable[Task],
        *,
        on_result: Callable[[Task, Any, str], None],
        on_retry: Callable[[Task, str, str], None],
        on_note: Callable[[str], None] = lambda _: None,
        skip: Callable[[Task], bool] | None = None,
        split: Callable[[Task], Sequence[Task]] | None = None,
    ) -> None:
        """Run every task.

        Parameters
        ----------
        tasks : iterable
            Arguments of the workers' ``run``; taken one by one when there are workers for them.
        on_result : callable
            Called with a task, what ``run`` returned (a `Failure` where no attempt came back), and the node's name.
        on_retry : callable
            Called with a task, the reason, and the node, before it is tried again.
        on_note : callable
            Called with what else is worth knowing.
        skip, split : callable, optional
            See `TaskQueue`. A task that is skipped has no result; one that was split has those of its parts.

        Raises
        ------
        ConfigurationError
            If no worker can be started.
        """
        queue = TaskQueue(tasks, skip=skip, split=split)
        patience = _Patience(self._crew, on_note)
        try:
            self._hand_out(queue)
            while self._begun or queue.n_waiting(1):
                answers = self._crew.answers(queue.seconds_to_wait())
                finished = [self._finish(answer, queue, on_retry) for answer in answers]
                self._hand_out(queue)  # first: a worker must not wait while its last result is dealt with
                for result in filter(None, finished):
                    on_result(*result)
                patience.check()
            self._hand_out(queue)
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Stop all workers, whatever they are doing."""
        self._crew.close()
        self._begun.clear()

    def _hand_out(self, queue: TaskQueue[Any]) -> None:
        """Give every idle worker a task, and see that there are as many workers as have something to do."""
        self._crew.survey()
        while self._crew.idle and (attempt := queue.take()):
            self._begun[self._crew.give(attempt.task)] = attempt
        useful = queue.n_waiting(sum(self._crew.size) - self._crew.n_busy)
        self._crew.want(max(0, useful - len(self._crew.idle)))

    def _finish(
        self, answer: Answer, queue: TaskQueue[Any], on_retry: Callable[[Any, str, str], None]
    ) -> tuple[Any, Any, str] | None:
        """Task, result and node; None if the task is to be tried again."""
        worker, future = answer
        attempt = self._begun.pop(worker)
        try:
            result = future.result()
        except RayError as error:
            result = queue.again(attempt, reason(error), node_lost=self._crew.lost(worker, error))
            if result is None:
                on_retry(attempt.task, reason(error), str(worker.node))
                return None
        else:
            self._crew.back(worker)
        return attempt.task, result, str(worker.node)


class _Patience:
    """Says it, once, when workers wait long for a place and nobody works."""

    def __init__(self, crew: Crew, on_note: Callable[[str], None]) -> None:
        self._crew = crew
        self._on_note = on_note
        self._since: float | None = time.monotonic()

    def check(self) -> None:
        if self._crew.idle or self._crew.n_busy:
            self._since = time.monotonic()
        if self._since is not None and time.monotonic() - self._since > _SAY_NOBODY_CAME_AFTER_SECONDS:
            self._on_note(
                f"Nobody works: {len(self._crew.starting)} workers wait for a place. The cluster may be busy, "
                "or its nodes may still be starting, or all be lost."
            )
            self._since = None
