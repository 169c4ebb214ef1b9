"""Ray, started when the first work comes and stopped at the end: on this machine, or by joining a cluster.

Ray is imported here at call time: a run that finds nothing missing never pays for it.
"""

from __future__ import annotations

import logging
import os
import re
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from cluster.pool.placement import Request, capacity, inventory, place
from cluster.study.cluster_settings import ClusterSettings, WorkerSettings
from featurestore.errors import ConfigurationError, StoreError

if TYPE_CHECKING:
    from cluster.pool.nodes import NodeName
    from cluster.pool.ray_workers import Size
    from cluster.pool.store_token import StoreToken
    from cluster.pool.worker_pool import WorkerPool
    from cluster.reporting.events import Reporter, StageStarted
    from featurestore import FeatureStore

_OBJECT_STORE_BYTES = 128 * 1024**2  # tasks and reports are a few hundred bytes; features never pass through it
_LEAST_SPARE = 4  # workers that may wait for nodes to come; as many as there are, where that is more
_SECONDS_TO_ANSWER = 10.0
_TRIES = 4  # of starting or joining Ray, where another may help

# The server that the head starts for each client has thirty seconds, unless Ray is told more, and some die in their
# fork (ray-project/ray#63202), which is said in either way.
_NOT_UP_IN_TIME = "Starting Ray client server failed"
_CLIENT_SERVER_DIED = (_NOT_UP_IN_TIME, "Initialization failure from server")
_ADDRESS = re.compile(r"auto|(ray://)?[^/\s]+:\d+")

Task = TypeVar("Task")
Role = Literal["extract", "probe"]


class Runtime:
    """A Ray session and its workers; costs nothing until it is given tasks, and serves any number of studies.

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
        self._address = address
        self._cluster = cluster or ClusterSettings()
        self._store = store
        self._token: StoreToken | None = None
        self._requests: dict[Role, Request] = {}
        self._pool: WorkerPool | None = None
        self._pool_is_for: tuple[Request, int | None] | None = None
        self._notes: list[str] = []
        self._started = False

    def __enter__(self) -> Runtime:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._close_pool()
        if self._started:  # even if it was interrupted half way
            import ray

            ray.shutdown()
            self._started = False
        if self._token:
            token, self._token = self._token, None
            try:
                token.remove()
            except StoreError:
                if value is None:  # else what went wrong before says more
                    raise

    def run(
        self,
        tasks: Iterable[Task],
        *,
        on_result: Callable[[Task, Any, str], None],
        on_retry: Callable[[Task, str, str], None],
        role: Role = "extract",
        **more: Any,
    ) -> None:
        """Run tasks on as many workers as the cluster carries; see `cluster.pool.worker_pool.WorkerPool.run`.

        Raises
        ------
        ConfigurationError
            If Ray cannot be started or joined, if no node can carry a worker, or if one does not see the store.
        """
        self.start(role).run(tasks, on_result=on_result, on_retry=on_retry, **more)

    def run_stage(
        self,
        stage: StageStarted,
        tasks: Iterable[Task],
        *,
        on_result: Callable[[Task, Any, str], None],
        describe: Callable[[Task], str],
        reporter: Reporter,
        role: Role = "extract",
        skip: Callable[[Task], bool] | None = None,
        split: Callable[[Task], Sequence[Task]] | None = None,
    ) -> None:
        """Run tasks as a stage, which ends however they do."""
        from cluster.reporting.events import Note, Retry, StageEnded

        begin = time.monotonic()
        reporter.tell(stage)
        try:
            pool = self.start(role)
            while self._notes:
                reporter.tell(Note(self._notes.pop(0)))
            pool.run(
                tasks,
                on_result=on_result,
                on_retry=lambda task, reason, node: reporter.tell(Retry(stage.stage, describe(task), reason, node)),
                on_note=lambda text: reporter.tell(Note(text)),
                skip=skip,
                split=split,
            )
        finally:
            reporter.tell(StageEnded(stage.stage, time.monotonic() - begin))

    def start(self, role: Role = "extract") -> WorkerPool:
        """Start or join Ray, unless that is done, and make ready for workers of a role; `run` does it by itself.

        Workers that ask for the same are the same workers. Others have to go first: they would hold what the new ones
        are waiting for.
        """
        if not self._started:
            with _interrupt_deferred():
                self._connect()
        settings: WorkerSettings = getattr(self._cluster, role)
        request = self._request(role, settings)
        is_for = (request, settings.max_workers)
        if self._pool is None or self._pool_is_for != is_for:
            self._close_pool()
            self._pool, self._pool_is_for = self._new_pool(request, settings.max_workers), is_for
        return self._pool

    def _close_pool(self) -> None:
        if self._pool:
            self._pool.close()
            self._pool = None

    def _connect(self) -> None:
        if self._address and not _ADDRESS.fullmatch(self._address):
            raise ConfigurationError(f"--address must be auto, host:port or ray://host:port. Got {self._address!r}.")
        if self._address and self._address != "auto":
            _check_reachable(self._address)
        import ray

        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        # Ray's coming default; asked for now, it changes nothing here and avoids a warning at every start.
        os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
        local = {"address": "local", "include_dashboard": False, "object_store_memory": _OBJECT_STORE_BYTES}
        options: dict[str, Any] = {"address": self._address} if self._address else local
        self._started = True
        for tries_left in reversed(range(_TRIES)):
            try:
                ray.init(log_to_driver=False, logging_level=logging.ERROR, **options)
                return
            except Exception as error:  # a Ray that is slow to start raises a bare one
                ray.shutdown()
                if not tries_left or not any(text in str(error) for text in _CLIENT_SERVER_DIED):
                    raise ConfigurationError(f"Cannot start {self._where()}: {_in_short(error)}") from error

    def _where(self) -> str:
        return f"the Ray cluster at {self._address!r}" if self._address else "Ray on this machine"

    def _request(self, role: Role, settings: WorkerSettings) -> Request:
        """What a worker of this role asks for: decided once, when some node can carry it and sees the store."""
        if role not in self._requests:
            from cluster.pool.nodes import alive_nodes

            nodes = alive_nodes()
            request = place(list(nodes.values()), settings)
            if not capacity(request, list(nodes.values())):
                self._check_that_nodes_may_come(role, request, list(nodes.values()))
            if self._address and self._store:
                self._check_store([node for node, has in nodes.items() if capacity(request, [has])])
            self._requests[role] = request
        return self._requests[role]

    def _check_that_nodes_may_come(self, role: Role, request: Request, nodes: Sequence[Mapping[str, float]]) -> None:
        from cluster.pool.nodes import autoscales

        there = inventory(nodes, request)
        message = f"No node can carry a worker that is to {role}: it asks for {request}. There is: {there}."
        if not autoscales():
            raise ConfigurationError(
                f"{message} Ask for less in the table [cluster] of the study ({role} = {{ ... }}), or add such a node."
            )
        self._notes.append(f"{message} Waiting for the cluster to grow.")

    def _check_store(self, nodes: Sequence[NodeName]) -> None:
        from cluster.pool.store_token import StoreToken

        if self._token is None and self._store is not None:
            self._token = StoreToken.write(self._store)
        if self._token:
            self._token.check(nodes)

    def _new_pool(self, request: Request, max_workers: int | None) -> WorkerPool:
        from cluster.pool.actor import Worker
        from cluster.pool.worker_pool import WorkerPool

        worker: Any = Worker
        options = {"num_cpus": request.cpus, "num_gpus": request.gpus, "resources": dict(request.resources)}
        if request.memory:
            options["memory"] = request.memory
        device = "cuda" if request.gpus else "cpu"
        make_worker = partial(worker.options(**options).remote, device, request.cpus, self._token)
        return WorkerPool(make_worker, partial(_size, request, max_workers, grows=self._address is not None))


def _size(request: Request, max_workers: int | None, nodes: Sequence[Mapping[str, float]], *, grows: bool) -> Size:
    """How many workers there may be; more than fit where nodes may yet come, and twice as many each time they do."""
    from cluster.pool.ray_workers import Size

    fit = capacity(request, nodes)
    most = fit + max(_LEAST_SPARE, fit) if grows else fit
    if max_workers is not None:
        fit, most = min(fit, max_workers), min(most, max_workers)
    return Size(fit, most - fit)


def _in_short(error: Exception) -> str:
    lines = str(error).strip().splitlines() or [type(error).__name__]
    told = " ".join(dict.fromkeys((lines[0], lines[-1])))  # between them there may be a traceback of Ray's own
    if _NOT_UP_IN_TIME in str(error):
        told += " On a busy head, start Ray with RAY_CLIENT_SERVER_CHECK_CHANNEL_TIMEOUT_S=120 in its environment."
    return told


def _check_reachable(address: str) -> None:
    """Knock first: Ray itself would try for minutes."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    try:
        socket.create_connection((host, int(port)), timeout=_SECONDS_TO_ANSWER).close()
    except (OSError, OverflowError) as error:
        raise ConfigurationError(
            f"Nothing answers at {address}: {error}. Give the address that `ray start --head` printed (host:6379), or "
            "that of Ray's client server (ray://host:10001)."
        ) from error


@contextmanager
def _interrupt_deferred() -> Iterator[None]:
    """Hold a Ctrl-C back until the block is over: Ray can lose it, or crash, when interrupted while it starts."""
    if threading.current_thread() is not threading.main_thread():  # only the main thread gets signals
        yield
        return
    noted: list[int] = []
    previous = signal.signal(signal.SIGINT, lambda number, _: noted.append(number))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, previous)
    if noted:
        raise KeyboardInterrupt
