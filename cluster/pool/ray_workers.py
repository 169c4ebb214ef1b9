"""The workers of a pool: started where there is a place for them, counted when they are ready, missed when they die."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from queue import Empty, SimpleQueue
from typing import Any, NamedTuple

import ray
from ray.exceptions import ActorUnavailableError, RayActorError, RayError

from cluster.pool.nodes import NodeName, alive_nodes
from featurestore.errors import ConfigurationError, ProbestoreError

_SURVEY_EVERY_SECONDS = 5.0
_MOST_FAILED_STARTS = 3
_LONGEST_BACK_OFF_SECONDS = 60.0


class Size(NamedTuple):
    """How many workers there may be.

    Attributes
    ----------
    fit : int
        That find a place on the nodes that are there.
    spare : int
        More that may wait for a place, so that an autoscaler sees that they are wanted.
    """

    fit: int
    spare: int = 0


@dataclass(eq=False)
class Worker:
    """A Ray actor, and the node it has said to be on."""

    actor: Any
    node: NodeName


class Answer(NamedTuple):
    """What came back from a worker: `future` holds its result, or the error that Ray reports."""

    worker: Worker
    future: Any


class Crew:
    """Workers that are starting, and workers that wait for a task.

    Parameters
    ----------
    make_worker : callable
        Starts a worker: a Ray actor handle with the methods ``ready``, which returns its `NodeName`, and ``run``.
    size : callable
        How many there may be, from the resources of the nodes that are alive; asked again every few seconds.
    """

    def __init__(self, make_worker: Callable[[], Any], size: Callable[[Sequence[Mapping[str, float]]], Size]) -> None:
        self.idle: list[Worker] = []
        self.starting: list[Any] = []
        self.size = Size(0)
        self._make_worker = make_worker
        self._size_of = size
        self._busy: set[Worker] = set()
        self._events: SimpleQueue[tuple[Any, Any]] = SimpleQueue()
        self._surveyed = -_SURVEY_EVERY_SECONDS
        self._failed_starts = 0
        self._start_again = 0.0

    @property
    def n_busy(self) -> int:
        """How many have a task."""
        return len(self._busy)

    def survey(self) -> None:
        """Look from time to time how many workers the nodes carry, and drop those whose node is gone."""
        if time.monotonic() - self._surveyed >= _SURVEY_EVERY_SECONDS:
            nodes = alive_nodes()
            self._surveyed = time.monotonic()
            self.size = self._size_of(list(nodes.values()))
            self.idle = [worker for worker in self.idle if worker.node in nodes]

    def want(self, n_starting: int) -> None:
        """Have so many workers starting, if that many may be, and stop those that wait for a node in vain."""
        n_workers = len(self.starting) + len(self.idle) + len(self._busy)
        if time.monotonic() >= self._start_again:
            for _ in range(min(n_starting - len(self.starting), sum(self.size) - n_workers)):
                actor = self._make_worker()
                self.starting.append(actor)
                self._watch(actor, actor.ready.remote())
        for _ in range(min(len(self.starting) - n_starting, n_workers - self.size.fit)):
            ray.kill(self.starting.pop())  # the last one; an autoscaler need not bring a node for it

    def give(self, task: Any) -> Worker:
        """Hand a task to an idle worker."""
        worker = self.idle.pop()
        self._busy.add(worker)
        self._watch(worker, worker.actor.run.remote(task))
        return worker

    def answers(self, timeout: float | None) -> list[Answer]:
        """Wait for answers of busy workers, at most so many seconds; it may be less. Take all that are there.

        Raises
        ------
        ConfigurationError
            If workers cannot be started.
        """
        found = []
        for who, future in self._next(timeout):
            if isinstance(who, Worker):
                if who in self._busy:  # else it was stopped
                    self._busy.remove(who)
                    found.append(Answer(who, future))
            elif who in self.starting:
                self.starting.remove(who)
                self._welcome(who, future)
        return found

    def back(self, worker: Worker) -> None:
        """A worker has done its task and can take the next one."""
        self.idle.append(worker)

    def lost(self, worker: Worker, error: RayError) -> bool:
        """Give up a worker; True if its node was lost, so that it was nothing the worker did."""
        ray.kill(worker.actor)
        return _node_lost(error) or worker.node not in alive_nodes()

    def close(self) -> None:
        """Stop all workers, whatever they are doing."""
        for actor in [*self.starting, *(worker.actor for worker in [*self.idle, *self._busy])]:
            ray.kill(actor)
        self.starting.clear()
        self.idle.clear()
        self._busy.clear()

    def _watch(self, who: Any, reference: Any) -> None:
        """Let Ray call when there is an answer: nobody has to ask about all of them to hear of one."""
        reference.future().add_done_callback(partial(self._note, who))

    def _note(self, who: Any, future: Any) -> None:
        self._events.put((who, future))

    def _next(self, timeout: float | None) -> list[tuple[Any, Any]]:
        limits = [_SURVEY_EVERY_SECONDS if timeout is None else min(timeout, _SURVEY_EVERY_SECONDS)]
        if self._start_again > time.monotonic():
            limits.append(self._start_again - time.monotonic())
        events = []
        try:
            events.append(self._events.get(timeout=min(limits)))
            while True:
                events.append(self._events.get_nowait())
        except Empty:
            return events

    def _welcome(self, actor: Any, future: Any) -> None:
        try:
            self.idle.append(Worker(actor, future.result()))
            self._failed_starts = 0
        except ProbestoreError as error:  # the worker itself says why it cannot work
            if not self.idle and not self._busy:
                raise ConfigurationError(str(getattr(error, "cause", error))) from error
            ray.kill(actor)  # a node that came late; those that work go on
            self._count_failed_start(str(getattr(error, "cause", error)))
        except RayError as error:
            ray.kill(actor)
            if not _node_lost(error):
                self._count_failed_start(reason(error))

    def _count_failed_start(self, why: str) -> None:
        self._failed_starts += 1
        self._start_again = time.monotonic() + min(2.0 ** (self._failed_starts - 1), _LONGEST_BACK_OFF_SECONDS)
        if self._failed_starts >= _MOST_FAILED_STARTS and not self.idle and not self._busy:
            raise ConfigurationError(
                f"A worker must be able to start, but {self._failed_starts} died one after another while they did; the "
                f"last said: {why} Every node needs this version of probestore and what it depends on, and "
                "enough memory for the workers that are placed on it."
            )


def reason(error: RayError) -> str:
    """Why Ray says that a worker did not answer, in a sentence or two."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()] or [type(error).__name__]
    if isinstance(error, RayActorError) and getattr(error, "actor_init_failed", False):
        return lines[-1]  # of the traceback
    told = next((line for line in lines if " because " in line), lines[0])
    return told.split(" Some common causes")[0]


def _node_lost(error: RayError) -> bool:
    """Whether the error itself says that it was the node: lost, taken away, or out of reach."""
    return (
        isinstance(error, ActorUnavailableError) or getattr(error, "preempted", False) or "node has died" in str(error)
    )
