"""A pool of workers on Ray: units are dispatched, held back, and retried where a machine broke them.

A worker has one unit at a time, and units wait in a `TaskQueue`, not in Ray, so nothing grows with the size of a study.
Only a worker that has said it is ready gets a unit: nodes may come and go meanwhile. Kinds that ask for the same share
their workers; those that ask for different ones divide the nodes between them, as long as both have something to do.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from queue import Empty, SimpleQueue
from types import TracebackType
from typing import TYPE_CHECKING, Any, NamedTuple

from cluster.pool.placement import Request, capacity, divided, inventory, place_all
from cluster.pool.ray_session import RaySession
from cluster.pool.units import Lane, take
from cluster.study.cluster_settings import ClusterSettings
from featurestore.errors import ConfigurationError, StoreError

if TYPE_CHECKING:
    from cluster.pool.nodes import NodeName
    from cluster.pool.ray_workers import Answer, RayWorkers
    from cluster.pool.store_token import StoreToken
    from cluster.pool.task_queue import Attempt
    from featurestore import FeatureStore

_LEAST_SPARE = 4  # workers that may wait for nodes to come; as many as there are, where that is more
_SURVEY_EVERY_SECONDS = 5.0
_SAY_NOBODY_CAME_AFTER_SECONDS = 60.0
_KEEP_PLACES_SECONDS = 30.0  # of workers without work: their next unit may come soon, and a start takes seconds
_TURN_SECONDS = 60.0  # that workers wait where others leave them no place at all


class _Ask(NamedTuple):
    """What makes workers the same: what each asks for, and how many there may be."""

    request: Request
    max_workers: int | None


class RayPool:
    """Workers on this machine or on a cluster; costs nothing until it is given units, and serves any number of runs.

    Parameters
    ----------
    address : str, optional
        ``"auto"``, ``"host:port"`` or ``"ray://host:port"`` joins a cluster; None starts Ray on this machine.
    cluster : ClusterSettings, optional
        What workers ask for; by default what suits the nodes.
    store : FeatureStore, optional
        Every node of a cluster that is joined must see it, which is made sure before work starts.
    """

    def __init__(
        self, address: str | None = None, *, cluster: ClusterSettings | None = None, store: FeatureStore | None = None
    ) -> None:
        self._session = RaySession(address)
        self._cluster = cluster or ClusterSettings()
        self._store = store
        self._token: StoreToken | None = None
        self._checked: set[NodeName] = set()
        self._teams: dict[_Ask, _Team] = {}
        self._answers: SimpleQueue[tuple[RayWorkers, Any, Any]] = SimpleQueue()

    def __enter__(self) -> RayPool:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
        self._session.end()
        if self._token:
            token, self._token = self._token, None
            try:
                token.remove()
            except StoreError:
                if value is None:  # else what went wrong before says more
                    raise

    def run(self, lanes: Sequence[Lane], *, note: Callable[[str], None] = lambda text: None) -> None:
        """Run all units of these lanes, and those that come while they run.

        Parameters
        ----------
        lanes : sequence of Lane
        note : callable
            Is told what else is worth knowing.

        Raises
        ------
        ConfigurationError
            If Ray cannot be started or joined, if no node can carry a worker, or if one does not see the store.
        """
        if not any(lane.queue.n_waiting(1) for lane in lanes):
            return
        self._session.start()
        try:
            teams = self._teams_for(lanes, note)
            _Dispatch(teams, self._answers, note).run(lanes)
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Stop all workers, whatever they are doing."""
        for team in self._teams.values():
            team.workers.close()
        self._teams.clear()

    def _teams_for(self, lanes: Sequence[Lane], note: Callable[[str], None]) -> list[_Team]:
        """Workers for each lane: those that are there already, where they ask for the same. Others have to go."""
        from cluster.pool.nodes import alive_nodes

        nodes = alive_nodes()
        requests = place_all(list(nodes.values()), {lane.kind: self._cluster.of(lane.kind) for lane in lanes})
        for lane in lanes:
            if not capacity(requests[lane.kind], list(nodes.values())):
                self._check_that_nodes_may_come(lane.kind, requests[lane.kind], list(nodes.values()), note)
        if self._session.address and self._store:
            self._check_store(
                [node for node, has in nodes.items() if any(capacity(r, [has]) for r in requests.values())]
            )
        asks = {lane.kind: _Ask(requests[lane.kind], self._cluster.of(lane.kind).max_workers) for lane in lanes}
        for ask in [ask for ask in self._teams if ask not in asks.values()]:
            self._teams.pop(ask).workers.close()
        for ask in asks.values():
            if ask not in self._teams:
                self._teams[ask] = self._new_team(ask)
        for ask, team in self._teams.items():
            team.lanes = [lane for lane in lanes if asks[lane.kind] == ask]
        return list(self._teams.values())

    def _check_that_nodes_may_come(
        self, kind: str, request: Request, nodes: Sequence[Mapping[str, float]], note: Callable[[str], None]
    ) -> None:
        message = (
            f"No node can carry a worker for {kind}: it asks for {request}. There is: {inventory(nodes, request)}."
        )
        if not self._cluster.autoscaling:
            raise ConfigurationError(
                f"{message} Ask for less in the table [cluster] of the study ({kind} = {{ ... }}), or add such a node; "
                "where the cluster starts nodes on demand, set autoscaling = true in that table."
            )
        note(f"{message} Waiting for the cluster to grow.")

    def _check_store(self, nodes: Sequence[NodeName]) -> None:
        from cluster.pool.store_token import StoreToken

        if self._token is None and self._store is not None:
            self._token = StoreToken.write(self._store)
        if self._token and (new := [node for node in nodes if node not in self._checked]):
            self._token.check(new)
            self._checked.update(new)

    def _new_team(self, ask: _Ask) -> _Team:
        from cluster.pool.ray_actor import Worker
        from cluster.pool.ray_workers import RayWorkers

        worker: Any = Worker
        request = ask.request
        options = {"num_cpus": request.cpus, "num_gpus": request.gpus, "resources": dict(request.resources)}
        if request.memory:
            options["memory"] = request.memory
        device = "cuda" if request.gpus else "cpu"
        make_worker = partial(worker.options(**options).remote, device, request.cpus, self._token)
        return _Team(ask, RayWorkers(make_worker, self._answers), grows=self._session.address is not None)


class _Team:
    """Workers that ask for the same, and the lanes that they serve."""

    def __init__(self, ask: _Ask, workers: RayWorkers, *, grows: bool) -> None:
        self.ask = ask
        self.workers = workers
        self.lanes: list[Lane] = []
        self._grows = grows
        self._had_work = self._had_place = time.monotonic()

    def look(self, now: float) -> None:
        """Note whether there is work, and whether there is anybody to do it."""
        working = self.workers.n_busy > 0
        if working or self.waiting(1):
            self._had_work = now
        if working or self.workers.idle or not self.waiting(1):
            self._had_place = now

    def waiting(self, at_most: int) -> int:
        """How many units wait, counted up to `at_most`."""
        return min(at_most, sum(lane.queue.n_waiting(at_most) for lane in self.lanes))

    def takes_part(self, now: float) -> bool:
        """Whether nodes are divided with it: it has something to do, or had a moment ago."""
        return now - self._had_work < _KEEP_PLACES_SECONDS

    def waits_in_vain(self, now: float) -> bool:
        """Whether it has had no place for long."""
        return now - self._had_place > _TURN_SECONDS

    def resize(self, fit: int) -> None:
        """Have place for `fit` workers; for more where nodes may yet come, and twice as many each time they do."""
        from cluster.pool.ray_workers import Size

        most = fit + max(_LEAST_SPARE, fit) if self._grows else fit
        if (limit := self.ask.max_workers) is not None:
            fit, most = min(fit, limit), min(most, limit)
        self.workers.size = Size(fit, most - fit)

    def staff(self) -> None:
        """See that there are as many workers as have something to do."""
        useful = self.waiting(max(0, sum(self.workers.size) - self.workers.n_busy))
        self.workers.want(max(0, useful - len(self.workers.idle)))


class _Dispatch:
    """The units of one run on their way to workers and back."""

    def __init__(
        self, teams: Sequence[_Team], answers: SimpleQueue[tuple[RayWorkers, Any, Any]], note: Callable[[str], None]
    ) -> None:
        self._teams = teams
        self._answers = answers
        self._note = note
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
        """Answers of busy workers, after a few seconds at most; all that are there."""
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
        """Give every idle worker a unit, and see that there are as many workers as have something to do."""
        self._survey()
        for team in self._teams:
            while team.workers.idle and (taken := take(team.lanes)):
                lane, attempt = taken
                lane.running += 1
                self._begun[team.workers.give(attempt.task)] = (lane, attempt, time.monotonic())
            team.staff()

    def _survey(self) -> None:
        """Look from time to time at the nodes, and divide them between the teams that have something to do."""
        from cluster.pool.nodes import alive_nodes

        now = time.monotonic()
        for team in self._teams:
            team.look(now)
        if now - self._surveyed >= _SURVEY_EVERY_SECONDS:
            nodes = alive_nodes()
            self._surveyed, self._nodes = now, list(nodes.values())
            for team in self._teams:
                team.workers.keep_on(nodes)
            self._divide(now)
        if len(self._teams) > 1 and any(team.waiting(1) and not team.workers.n_workers for team in self._teams):
            self._divide(now)

    def _divide(self, now: float) -> None:
        taking = [team for team in self._teams if team.takes_part(now)]
        self._first = next((i for i, team in enumerate(taking) if team.waits_in_vain(now)), self._first)
        requests = [team.ask.request for team in taking]
        limits = [team.ask.max_workers for team in taking]
        fits = divided(requests, self._nodes, limits, self._first if self._first < len(taking) else 0)
        for team in self._teams:
            team.resize(fits[taking.index(team)] if team in taking else 0)
            if len(self._teams) > 1:
                team.workers.give_way()

    def _finish(self, workers: RayWorkers, answer: Answer) -> tuple[Lane, Any, Any, str] | None:
        """Lane, unit, result and node; None if the unit is to be tried again."""
        from ray.exceptions import RayError

        from cluster.pool.ray_workers import reason

        worker, future = answer
        lane, attempt, begun = self._begun.pop(worker)
        lane.running -= 1
        lane.seconds += time.monotonic() - begun
        try:
            result = future.result()
        except RayError as error:
            result = lane.queue.again(attempt, reason(error), node_lost=workers.lost(worker, error))
            if result is None:
                lane.on_retry(attempt.task, reason(error), str(worker.node))
                return None
        else:
            workers.back(worker)
        lane.untold += 1
        return lane, attempt.task, result, str(worker.node)

    def _say_if_nobody_works(self) -> None:
        """Say it, once, when workers wait long for a place and nobody works."""
        if any(team.workers.idle or team.workers.n_busy for team in self._teams):
            self._nobody_since = time.monotonic()
        if self._nobody_since is not None and time.monotonic() - self._nobody_since > _SAY_NOBODY_CAME_AFTER_SECONDS:
            starting = sum(len(team.workers.starting) for team in self._teams)
            self._note(
                f"Nobody works: {starting} workers wait for a place. The cluster may be busy, "
                "or its nodes may still be starting, or all be lost."
            )
            self._nobody_since = None
