"""Workers on Ray, which are started where there is a place, get units when they are ready, and may die."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection
from dataclasses import dataclass
from queue import SimpleQueue
from typing import Any, NamedTuple

import ray
from ray.exceptions import ActorUnavailableError, RayActorError, RayError, RayTaskError

from cluster.pool.nodes import NodeName, UnfitNodeError, alive_nodes
from featurestore.errors import ConfigurationError, ProbestoreError

_MOST_FAILED_STARTS = 3
_LONGEST_BACK_OFF_SECONDS = 60.0


class Size(NamedTuple):
    """The number of workers that there may be.

    Attributes
    ----------
    fit : int
        Number of workers that find a place on the present nodes.
    spare : int
        Number of further workers that may wait for a place, so that an autoscaler sees that they are wanted.
    """

    fit: int
    spare: int = 0


@dataclass(eq=False)
class Worker:
    """A Ray actor, and the node that it says it is on."""

    actor: Any
    node: NodeName


class Answer(NamedTuple):
    """The answer of a worker. `future` holds its result, or the error that Ray reports."""

    worker: Worker
    future: Any


class RayWorkers:
    """Workers that ask for the same resources: some are starting, some wait for a unit, and some have one.

    Parameters
    ----------
    make_worker : callable
        Function that starts a worker on any node but those with the given ids. It returns a Ray actor handle with the
        methods ``ready``, which returns its `NodeName`, and ``run``.
    answers : SimpleQueue
        Queue that gets (who, future) when a worker answers. All workers of a pool share it, so that one wait is enough.
    on_unfit : callable, optional
        Function that is called for a node on which no worker can work. It may raise ConfigurationError.
    """

    def __init__(
        self,
        make_worker: Callable[[Collection[str]], Any],
        answers: SimpleQueue[tuple[RayWorkers, Any, Any]],
        on_unfit: Callable[[UnfitNodeError], None] | None = None,
    ) -> None:
        self.idle: list[Worker] = []
        self.starting: list[Any] = []
        self.size = Size(0)
        self._make_worker = make_worker
        self._on_unfit = on_unfit
        self._answers = answers
        self._busy: set[Worker] = set()
        self._failed_starts = 0
        self._start_again = 0.0

    @property
    def n_busy(self) -> int:
        """Number of workers that have a unit."""
        return len(self._busy)

    @property
    def n_workers(self) -> int:
        """Number of workers, including those that are starting."""
        return len(self.starting) + len(self.idle) + len(self._busy)

    def seconds_to_start_again(self) -> float:
        """Return the seconds until a worker may be started, after some died at their start; not positive if now."""
        return self._start_again - time.monotonic()

    def keep_on(self, nodes: Collection[NodeName]) -> None:
        """Drop idle workers whose node is gone."""
        self.idle = [worker for worker in self.idle if worker.node in nodes]

    def want(self, n_starting: int) -> None:
        """Let `n_starting` workers be starting, as far as the size allows it. Stop others that wait for a node."""
        if self.seconds_to_start_again() <= 0:
            for _ in range(min(n_starting - len(self.starting), sum(self.size) - self.n_workers)):
                self._start(away_from=())
        for _ in range(min(len(self.starting) - n_starting, self.n_workers - self.size.fit)):
            ray.kill(self.starting.pop())  # the last one; an autoscaler need not bring a node for it

    def want_elsewhere(self) -> None:
        """Have a worker on another node than those of the idle workers, in the place of one of them if there is none.

        What waits must not go to them.
        """
        if self.starting or not self.idle or self.seconds_to_start_again() > 0:
            return
        away_from = {worker.node.id for worker in self.idle}
        if self.n_workers >= sum(self.size):
            if self._busy:
                return  # one of them will be free
            ray.kill(self.idle.pop().actor)
        self._start(away_from)

    def _start(self, away_from: Collection[str]) -> None:
        actor = self._make_worker(away_from)
        self.starting.append(actor)
        self._watch(actor, actor.ready.remote())

    def give_way(self) -> None:
        """Stop idle workers beyond the present size, so that other teams find a place."""
        while self.idle and self.n_workers > self.size.fit:
            ray.kill(self.idle.pop().actor)

    def give(self, worker: Worker, unit: Any) -> None:
        """Hand a unit to an idle worker."""
        self.idle.remove(worker)
        self._busy.add(worker)
        self._watch(worker, worker.actor.run.remote(unit))

    def heard(self, who: Any, future: Any) -> Answer | None:
        """Deal with an answer. Return it if a unit has ended.

        Raises
        ------
        ConfigurationError
            If workers cannot be started.
        """
        if isinstance(who, Worker):
            if who in self._busy:  # else it was stopped
                self._busy.remove(who)
                return Answer(who, future)
        elif who in self.starting:
            self.starting.remove(who)
            self._welcome(who, future)
        return None

    def back(self, worker: Worker) -> None:
        """Count a worker that has done its unit among the idle ones."""
        self.idle.append(worker)

    def lost(self, worker: Worker, error: RayError) -> bool:
        """Give up a worker. Return True if its node was lost, so that its unit is not to blame."""
        gone = worker.node not in alive_nodes()
        ray.kill(worker.actor)
        return gone or _node_lost(error)

    def close(self, *, cluster_lost: bool = False) -> None:
        """Stop all workers, whatever they are doing. Those of a lost cluster end without being told."""
        for actor in [*self.starting, *(worker.actor for worker in [*self.idle, *self._busy])]:
            if not cluster_lost:
                ray.kill(actor)
        self.starting.clear()
        self.idle.clear()
        self._busy.clear()

    def _watch(self, who: Any, reference: Any) -> None:
        """Let Ray put an answer into the queue, so that nobody has to ask all workers."""
        reference.future().add_done_callback(lambda future: self._answers.put((self, who, future)))

    def _welcome(self, actor: Any, future: Any) -> None:
        try:
            self.idle.append(Worker(actor, future.result()))
            self._failed_starts = 0
        except ProbestoreError as error:  # the worker itself says why it cannot work
            cause = getattr(error, "cause", error)
            if self._on_unfit and isinstance(cause, UnfitNodeError):
                ray.kill(actor)
                self._on_unfit(cause)
                return
            if not self.idle and not self._busy:
                raise ConfigurationError(str(cause)) from error
            ray.kill(actor)  # a node that came late; those that work go on
            self._count_failed_start(str(cause))
        except RayError as error:
            ray.kill(actor)
            if not _node_lost(error):
                self._count_failed_start(reason(error))

    def _count_failed_start(self, why: str) -> None:
        self._failed_starts += 1
        self._start_again = time.monotonic() + min(2.0 ** (self._failed_starts - 1), _LONGEST_BACK_OFF_SECONDS)
        if self._failed_starts >= _MOST_FAILED_STARTS and not self.idle and not self._busy:
            raise ConfigurationError(
                f"Workers must be able to start, but {self._failed_starts} died one after another at their start. The "
                f"last said: {why} Install this version of probestore and its dependencies on every node, and see that "
                "each node has enough memory for its workers."
            )


def reason(error: RayError) -> str:
    """Return the reason that Ray gives why a worker did not answer, in a sentence or two."""
    if isinstance(error, RayTaskError) and (cause := getattr(error, "cause", None)):  # what the worker itself raised
        return f"{type(cause).__name__}: {cause}"
    lines = [line.strip() for line in str(error).splitlines() if line.strip()] or [type(error).__name__]
    if isinstance(error, RayActorError) and getattr(error, "actor_init_failed", False):
        return lines[-1]  # of the traceback
    told = next((line for line in lines if " because " in line), lines[0])
    return told.split(" Some common causes")[0]


def _node_lost(error: RayError) -> bool:
    """Whether the error says that the node was lost, taken away, or out of reach."""
    return (
        isinstance(error, ActorUnavailableError) or getattr(error, "preempted", False) or "node has died" in str(error)
    )
