"""The dispatch of units to workers on Ray, and retries of units that the machine broke.

A worker has one unit at a time, and units wait in a `TaskQueue`, not in Ray, so nothing grows with the size of a study.
Only a worker that has said that it is ready gets a unit, because nodes may come and go. Kinds of work that ask for the
same resources share their workers. Those that ask for different ones divide the nodes, as long as each has something to
do.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping, Sequence
from queue import Empty, SimpleQueue
from typing import Any

from ray.exceptions import RayError

from cluster.pool.nodes import NodeName, alive_nodes
from cluster.pool.placement import Request, capacity, divided, room_for
from cluster.pool.ray_workers import Answer, RayWorkers, Size, reason
from cluster.pool.task_queue import Attempt
from cluster.pool.units import Lane, take

_SURVEY_EVERY_SECONDS = 5.0
_SAY_NOBODY_CAME_AFTER_SECONDS = 60.0
_KEEP_PLACES_SECONDS = 30.0  # of workers without work: their next unit may come soon, and a start takes seconds
_ALONE_SECONDS = 60.0  # that units wait for a worker on another node
_TURN_SECONDS = 60.0  # that workers wait where others leave them no place at all


class Team:
    """Workers that ask for the same resources, and the lanes that they serve."""

    def __init__(self, request: Request, workers: RayWorkers, *, grows: bool) -> None:
        self.request = request
        self.workers = workers
        self.lanes: list[Lane] = []
        self.joined = grows
        self._had_work = self._had_place = self._of_use = time.monotonic()

    @property
    def limit(self) -> int | None:
        """The most workers that the lanes may have together; None where one of them has no limit."""
        limits = [lane.max_running for lane in self.lanes]
        known = [limit for limit in limits if limit is not None]
        return sum(known) if len(known) == len(limits) else None

    def look(self, now: float) -> None:
        """Note the time if there is work, and if there is a worker to do it."""
        working = self.workers.n_busy > 0
        if working or self.waiting(1):
            self._had_work = now
        if working or self.workers.idle or not self.waiting(1):
            self._had_place = now
        if working or not self.workers.idle or not self.waiting(1):
            self._of_use = now

    def waiting(self, at_most: int) -> int:
        """Return how many units wait, counted up to `at_most`."""
        return min(at_most, sum(lane.queue.n_waiting(lane.room(at_most)) for lane in self.lanes))

    def takes_part(self, now: float) -> bool:
        """Whether the team gets a share of the nodes: it has something to do, or had a moment ago."""
        return now - self._had_work < _KEEP_PLACES_SECONDS

    def waits_in_vain(self, now: float) -> bool:
        """Whether the team has had work and no place for long."""
        return now - self._had_place > _TURN_SECONDS

    def next_for(self, node: NodeName, now: float) -> tuple[Lane, Attempt[Any]] | None:
        """Return the next unit for a worker on a node: one that must not go there only if nobody else came for it."""
        return take(self.lanes, None if now - self._of_use > _ALONE_SECONDS else str(node))

    def resize(self, fit: int) -> None:
        """Take note that `fit` workers find a place."""
        self.workers.size = Size(*room_for(fit, self.limit, grows=self.joined))

    def staff(self) -> None:
        """Start or stop workers, so that there are as many as have something to do."""
        room = max(0, sum(self.workers.size) - self.workers.n_busy)
        useful = self.waiting(room)
        nodes = {node for lane in self.lanes for node in lane.nodes}
        if useful and nodes.difference(str(worker.node) for worker in self.workers.idle) and self.workers.idle:
            self.workers.want_elsewhere()
        else:
            soon = sum(lane.room(lane.soon()) for lane in self.lanes)
            self.workers.want(max(0, min(room, useful + soon) - len(self.workers.idle)))


class Dispatch:
    """The way of the units of one run to workers and back.

    Parameters
    ----------
    teams : sequence of Team
    answers : SimpleQueue
        Queue into which the workers of all teams put their answers.
    note : callable
        Receiver of texts that are worth knowing.
    left_out : collection of NodeName
        Nodes that get no work.
    """

    def __init__(
        self,
        teams: Sequence[Team],
        answers: SimpleQueue[tuple[RayWorkers, Any, Any]],
        note: Callable[[str], None],
        left_out: Collection[NodeName] = (),
    ) -> None:
        self._teams = teams
        self._answers = answers
        self._note = note
        self._left_out = left_out
        self._begun: dict[Any, tuple[Lane, Attempt[Any], float]] = {}
        self._nodes: list[Mapping[str, float]] = []
        self._surveyed = -_SURVEY_EVERY_SECONDS
        self._first = 0
        self._nobody_since: float | None = time.monotonic()

    def run(self, lanes: Sequence[Lane]) -> None:
        self._hand_out()
        while self._begun or any(lane.queue.n_waiting(1) for lane in lanes):
            finished = [self._finish(*heard) for heard in self._wait()]
            self._hand_out()  # first: a worker must not wait while its last result is dealt with
            for lane, unit, result, node in filter(None, finished):
                lane.untold -= 1
                lane.on_outcome(unit, result, node)
            self._hand_out()  # what has just been told may have made more possible
            self._say_if_nobody_works()

    def _wait(self) -> list[tuple[RayWorkers, Answer]]:
        """Return all answers of busy workers that are there, after a few seconds at most."""
        starts = (team.workers.seconds_to_start_again() for team in self._teams)
        delays = (lane.queue.seconds_to_wait() for team in self._teams for lane in team.lanes)
        limits = [_SURVEY_EVERY_SECONDS, *(wait for wait in starts if wait > 0)]
        limits += [wait for wait in delays if wait is not None]
        heard = []
        try:
            heard.append(self._answers.get(timeout=min(limits)))
            while True:
                heard.append(self._answers.get_nowait())
        except Empty:
            pass
        answers = ((workers, workers.heard(who, future)) for workers, who, future in heard)
        return [(workers, answer) for workers, answer in answers if answer]

    def _hand_out(self) -> None:
        """Give every idle worker a unit, and staff the teams."""
        self._survey()
        for team in self._teams:
            self._occupy(team)
            team.staff()

    def _occupy(self, team: Team) -> None:
        """Give every idle worker of a team a unit, the last that came first: its caches are the warmest."""
        now, unfit = time.monotonic(), set[NodeName]()
        for worker in reversed(list(team.workers.idle)):
            if not team.waiting(1):
                return
            if worker.node in unfit:
                continue
            if taken := team.next_for(worker.node, now):
                lane, attempt = taken
                lane.running += 1
                self._begun[worker] = (lane, attempt, now)
                team.workers.give(worker, attempt.task)
            else:
                unfit.add(worker.node)

    def _survey(self) -> None:
        """Look from time to time at the nodes, and divide them between the teams that have something to do."""
        now = time.monotonic()
        for team in self._teams:
            team.look(now)
        if now - self._surveyed >= _SURVEY_EVERY_SECONDS:
            nodes = {node: has for node, has in alive_nodes().items() if node not in self._left_out}
            self._surveyed, self._nodes = now, list(nodes.values())
            for team in self._teams:
                team.workers.keep_on(nodes)
                fit = frozenset(str(node) for node, has in nodes.items() if capacity(team.request, [has]))
                for lane in team.lanes:
                    lane.nodes = fit if team.joined else frozenset()
            self._divide(now)
        if len(self._teams) > 1 and any(team.waiting(1) and not team.workers.n_workers for team in self._teams):
            self._divide(now)

    def _divide(self, now: float) -> None:
        taking = [team for team in self._teams if team.takes_part(now)]
        self._first = next((i for i, team in enumerate(taking) if team.waits_in_vain(now)), self._first)
        requests = [team.request for team in taking]
        limits = [team.limit for team in taking]
        fits = divided(requests, self._nodes, limits, self._first if self._first < len(taking) else 0)
        for team in self._teams:
            team.resize(fits[taking.index(team)] if team in taking else 0)
            if len(self._teams) > 1:
                team.workers.give_way()

    def _finish(self, workers: RayWorkers, answer: Answer) -> tuple[Lane, Any, Any, str] | None:
        """Return lane, unit, result and node; None if the unit is to be tried again."""
        worker, future = answer
        lane, attempt, begun = self._begun.pop(worker)
        lane.running -= 1
        lane.seconds += time.monotonic() - begun
        try:
            result = future.result()
        except RayError as error:
            lost = workers.lost(worker, error)
            result = lane.queue.again(attempt, reason(error), node_lost=lost, node=str(worker.node))
            if result is None:
                lane.on_retry(attempt.task, reason(error), str(worker.node))
                return None
        else:
            workers.back(worker)
        lane.untold += 1
        return lane, attempt.task, result, str(worker.node)

    def _say_if_nobody_works(self) -> None:
        """Write one note if no worker has been at work for long."""
        if any(team.workers.idle or team.workers.n_busy for team in self._teams):
            self._nobody_since = time.monotonic()
        if self._nobody_since is not None and time.monotonic() - self._nobody_since > _SAY_NOBODY_CAME_AFTER_SECONDS:
            starting = sum(len(team.workers.starting) for team in self._teams)
            self._note(
                f"No worker is at work, and {starting} wait for a place. The cluster may be busy, its nodes may still "
                "be starting, or all nodes may be lost."
            )
            self._nobody_since = None
