"""Ray, started when the first work comes and stopped at the end: on this machine, or by joining a cluster.

Ray is imported here at call time: a run that finds nothing missing never pays for it.
"""

from __future__ import annotations

import logging
import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from types import TracebackType
from typing import TYPE_CHECKING, Any, TypeVar

from cluster.plan import place
from featurestore.errors import ConfigurationError

if TYPE_CHECKING:
    from cluster.progress import Reporter
    from cluster.scheduler import WorkerPool

_OBJECT_STORE_BYTES = 128 * 1024**2  # tasks and reports are a few hundred bytes; features never pass through it

Task = TypeVar("Task")


class Runtime:
    """A Ray session and its workers; costs nothing until it is given tasks, and serves any number of studies.

    Parameters
    ----------
    address : str, optional
        ``"auto"`` or ``"ray://host:port"`` joins a cluster; None starts Ray on this machine.
    """

    def __init__(self, address: str | None = None) -> None:
        self._address = address
        self._pool: WorkerPool | None = None
        self._started = False

    def __enter__(self) -> Runtime:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._pool:
            self._pool.close()
            self._pool = None
        if self._started:  # even if it was interrupted half way
            import ray

            ray.shutdown()
            self._started = False

    def run(
        self, tasks: Sequence[Task], *, on_result: Callable[[Task, Any], None], on_retry: Callable[[Task, str], None]
    ) -> None:
        """Run tasks on as many workers as the cluster carries; see `cluster.scheduler.WorkerPool.run`.

        Raises
        ------
        ConfigurationError
            If Ray cannot be started or joined.
        """
        self.start().run(tasks, on_result=on_result, on_retry=on_retry)

    def run_stage(
        self,
        stage: tuple[str, int, str],
        tasks: Sequence[Task],
        *,
        on_result: Callable[[Task, Any], None],
        describe: Callable[[Task], str],
        reporter: Reporter,
    ) -> None:
        """Run tasks under a progress display of (name, total, unit), which ends however they do."""
        reporter.begin(*stage)
        try:
            self.run(
                tasks,
                on_result=on_result,
                on_retry=lambda task, reason: reporter.note(f"Worker lost on {describe(task)}; trying again. {reason}"),
            )
        finally:
            reporter.end()

    def start(self) -> WorkerPool:
        """Start or join Ray, unless that is done; `run` does it by itself."""
        if self._pool is None:
            with _interrupt_deferred():
                self._pool = self._start()
        return self._pool

    def _start(self) -> WorkerPool:
        import ray

        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        # Ray's coming default; asked for now, it changes nothing here and avoids a warning at every start.
        os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
        local = {"address": "local", "include_dashboard": False, "object_store_memory": _OBJECT_STORE_BYTES}
        options: dict[str, Any] = {"address": self._address} if self._address else local
        if self._address and self._address != "auto" and not self._address.startswith("ray://"):
            raise ConfigurationError(f"--address must be auto or ray://host:port. Got {self._address!r}.")
        self._started = True
        try:
            ray.init(log_to_driver=False, logging_level=logging.ERROR, **options)
        except (ConnectionError, RuntimeError, ValueError, TimeoutError) as error:
            where = f"the Ray cluster at {self._address!r}" if self._address else "Ray on this machine"
            raise ConfigurationError(f"Cannot start {where}: {error}") from error
        from cluster.actors import Worker
        from cluster.scheduler import WorkerPool

        placement = place([node["Resources"] for node in ray.nodes() if node["Alive"]])  # type: ignore[no-untyped-call]
        worker: Any = Worker
        options = {"num_cpus": placement.cpus, "num_gpus": placement.gpus}
        make_worker = partial(worker.options(**options).remote, "cuda" if placement.gpus else "cpu", placement.cpus)
        return WorkerPool(make_worker, placement.n_workers)


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
