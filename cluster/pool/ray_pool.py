"""A pool of workers on Ray, on this machine or on a cluster."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from queue import SimpleQueue
from types import TracebackType
from typing import TYPE_CHECKING, Any

from cluster.pool import stop_signals
from cluster.pool.placement import Request, capacity, inventory, place_all
from cluster.pool.ray_session import RaySession
from cluster.pool.units import Lane
from cluster.study.cluster_settings import ClusterSettings
from featurestore.errors import ClusterLostError, ConfigurationError, StoreError
from featurestore.store import layout

if TYPE_CHECKING:
    from cluster.pool.dispatch import Team
    from cluster.pool.nodes import NodeName, UnfitNodeError
    from cluster.pool.ray_workers import RayWorkers
    from cluster.pool.store_token import StoreToken
    from featurestore import FeatureStore
    from featurestore.networks.shipped_modules import Shipment


class RayPool:
    """A pool of workers on this machine or on a cluster. It costs nothing until it gets units, and serves many runs.

    Parameters
    ----------
    address : str, optional
        ``"auto"``, ``"host:port"`` or ``"ray://host:port"`` joins a cluster; None starts Ray on this machine.
    cluster : ClusterSettings, optional
        Resources that workers ask for; by default those that suit the nodes.
    store : FeatureStore, optional
        Store that nodes of a joined cluster must see. That is checked before work starts: one that does not gets none.
    """

    def __init__(
        self, address: str | None = None, *, cluster: ClusterSettings | None = None, store: FeatureStore | None = None
    ) -> None:
        self._session = RaySession(address)
        self._cluster = cluster or ClusterSettings()
        self._store = store
        self._token: StoreToken | None = None
        self._modules: Shipment | None = None  # that workers have
        self._writer = uuid.uuid4().hex  # of what its workers stage
        self._at_the_end = ExitStack()
        self._cleans_up = False
        self._checked: set[NodeName] = set()
        self._left_out: set[NodeName] = set()
        self._note: Callable[[str], None] = lambda text: None
        self._teams: dict[Request, Team] = {}
        self._answers: SimpleQueue[tuple[RayWorkers, Any, Any]] = SimpleQueue()

    def __enter__(self) -> RayPool:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
        self._session.end()
        self._at_the_end.close()
        if self._token:
            token, self._token = self._token, None
            try:
                token.remove()
            except StoreError:
                if value is None:  # else what went wrong before says more
                    raise

    def start(self) -> None:
        """Start or join Ray, unless it is running. `run` calls this when there is work.

        Raises
        ------
        ConfigurationError
            If Ray cannot be started or joined.
        """
        self._session.start()

    def run(self, lanes: Sequence[Lane], *, note: Callable[[str], None] = lambda text: None) -> None:
        """Run all units of the lanes, and those that come while they run.

        Parameters
        ----------
        lanes : sequence of Lane
            Lanes, one for each kind of work.
        note : callable
            Receiver of texts that are worth knowing.

        Raises
        ------
        ConfigurationError
            If Ray cannot be started or joined, if no node can carry a worker, or if none of those sees the store.
        ClusterLostError
            If the head of a joined cluster answers no more.
        """
        if not any(lane.queue.n_waiting(1) for lane in lanes):
            return
        self._note = note
        self._session.start(note)
        self._clean_up_later()
        from cluster.pool.dispatch import Dispatch

        try:
            teams = self._teams_for(lanes, note)
            Dispatch(teams, self._answers, note, self._left_out).run(lanes)
        except (ClusterLostError, ConnectionError) as error:
            self._session.lost = True
            self.close()
            if isinstance(error, ClusterLostError):
                raise
            raise ClusterLostError(
                f"The Ray cluster at {self._session.address} is lost: {error}. What was done is stored. Start the "
                "cluster again, and run the same command again: it goes on where this run ended."
            ) from error
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Stop all workers, whatever they are doing."""
        for team in self._teams.values():
            team.workers.close(cluster_lost=self._session.lost)
        self._teams.clear()

    def _clean_up_later(self) -> None:
        """See to it that nothing stays in the staging folder of what workers were killed over, once they are gone."""
        if self._store and not self._cleans_up:
            self._cleans_up = True
            self._at_the_end.callback(self._remove_staged)
            if self._store.storage.is_local:  # others may take their time
                self._at_the_end.enter_context(stop_signals.at_a_sudden_end(self._remove_staged))

    def _remove_staged(self) -> None:
        if self._store:
            with suppress(StoreError):  # `probestore gc` finds what is left
                for name in self._store.storage.list_files(layout.STAGING):
                    if name.startswith(f"{layout.STAGING}/{self._writer}"):
                        self._store.storage.delete(name)

    def _teams_for(self, lanes: Sequence[Lane], note: Callable[[str], None]) -> list[Team]:
        """Return the teams that serve the lanes. Workers that ask for the same stay; others are stopped."""
        from cluster.pool.nodes import alive_nodes

        nodes, settings = alive_nodes(), {lane.kind: self._cluster.of(lane.kind) for lane in lanes}
        requests = place_all(list(nodes.values()), settings)
        able = [node for node, has in nodes.items() if any(capacity(request, [has]) for request in requests.values())]
        if able and self._session.address and self._store:
            self._check_store(able, note)
            nodes = {node: has for node, has in nodes.items() if node not in self._left_out}
            requests = place_all(list(nodes.values()), settings)
        for lane in lanes:
            if not capacity(requests[lane.kind], list(nodes.values())):
                self._check_that_nodes_may_come(lane.kind, requests[lane.kind], list(nodes.values()), note)
        modules = next(filter(None, (lane.modules() for lane in lanes)), None) if self._session.address else None
        for request in set(self._teams) - (set(requests.values()) if modules == self._modules else set()):
            self._teams.pop(request).workers.close()
        self._modules = modules
        for lane in lanes:
            lane.max_running = self._cluster.of(lane.kind).max_workers
        for request in requests.values():
            if request not in self._teams:
                self._teams[request] = self._new_team(request)
            self._teams[request].lanes = [lane for lane in lanes if requests[lane.kind] == request]
        return list(self._teams.values())

    def _check_that_nodes_may_come(
        self, kind: str, request: Request, nodes: Sequence[Mapping[str, float]], note: Callable[[str], None]
    ) -> None:
        message = (
            f"No node can carry a worker for {kind}, which asks for {request}. There is: {inventory(nodes, request)}."
        )
        if not self._cluster.autoscaling:
            raise ConfigurationError(
                f"{message} Ask for less in the table [cluster] of the study ({kind} = {{ ... }}), or add such a node. "
                "If the cluster starts nodes on demand, set autoscaling = true in that table."
            )
        note(f"{message} The run waits for the cluster to start one.")

    def _check_store(self, nodes: Sequence[NodeName], note: Callable[[str], None]) -> None:
        """Leave out the nodes that do not see the store."""
        from cluster.pool.store_token import StoreToken, other_versions

        if self._token is None and self._store is not None:
            self._token = StoreToken.write(self._store)
        if self._token is None or not (new := [node for node in nodes if node not in self._checked]):
            return
        seen = self._token.look(new)
        complaints = {node: said.complaint for node, said in seen.items() if said.complaint}
        for text in other_versions(seen):
            note(text)
        self._checked.update(new)
        self._left_out.update(complaints)
        if complaints and self._left_out.issuperset(nodes):
            raise self._token.error(complaints)
        if complaints:
            note(self._token.note(complaints))

    def _new_team(self, request: Request) -> Team:
        from cluster.pool.dispatch import Team
        from cluster.pool.nodes import elsewhere
        from cluster.pool.ray_actor import Worker
        from cluster.pool.ray_workers import RayWorkers

        worker: Any = Worker
        options = {"num_cpus": request.cpus, "num_gpus": request.gpus, "resources": dict(request.resources)}
        if request.memory:
            options["memory"] = request.memory
        device = "cuda" if request.gpus else "cpu"
        folder = None if self._session.address else str(Path.cwd())  # Ray's workers on this machine start elsewhere

        def make_worker(away_from: Collection[str]) -> Any:
            away_from = {*away_from, *(node.id for node in self._left_out)}
            there = {**options, "scheduling_strategy": elsewhere(away_from)} if away_from else options
            made = worker.options(**there)
            return made.remote(device, request.cpus, self._writer, self._token, folder, self._modules)

        workers = RayWorkers(make_worker, self._answers, self._leave_out)
        return Team(request, workers, grows=self._session.address is not None)

    def _leave_out(self, unfit: UnfitNodeError) -> None:
        """Give a node no more work; it may have joined late."""
        from cluster.pool.nodes import alive_nodes

        if unfit.node in self._left_out:
            return
        self._left_out.add(unfit.node)
        able = [node for node, has in alive_nodes().items() if any(capacity(request, [has]) for request in self._teams)]
        if self._left_out.issuperset(able):
            raise ConfigurationError(str(unfit)) from unfit
        self._note(f"{unfit} It gets no work; the others do it.")
