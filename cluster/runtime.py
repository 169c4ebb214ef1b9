"""Ray, started when the first work comes and stopped at the end: on this machine, or by joining a cluster."""

from __future__ import annotations

import os
from types import TracebackType
from typing import Any

import ray

from cluster.plan import Placement, place
from featurestore.errors import ConfigurationError

_OBJECT_STORE_BYTES = 128 * 1024**2  # tasks and reports are a few hundred bytes; features never pass through it


class Runtime:
    """A Ray session that costs nothing until `workers` is called.

    Parameters
    ----------
    address : str, optional
        ``"auto"`` or ``"ray://host:port"`` joins a cluster; None starts Ray on this machine.
    """

    def __init__(self, address: str | None) -> None:
        self._address = address
        self._started = False

    def __enter__(self) -> Runtime:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._started:
            ray.shutdown()

    def placement(self, n_tasks: int) -> Placement:
        """How many workers, and of what size, the cluster carries."""
        self._start()
        resources = ray.cluster_resources()
        return place(resources.get("CPU", 1), resources.get("GPU", 0), n_tasks)

    def _start(self) -> None:
        if self._started or ray.is_initialized():
            return
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        # Ray's coming default; asked for now, it changes nothing here and avoids a warning at every start.
        os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
        options: dict[str, Any] = (
            {"address": self._address}
            if self._address
            else {
                "address": "local",
                "include_dashboard": False,
                "object_store_memory": _OBJECT_STORE_BYTES,
            }
        )
        try:
            ray.init(log_to_driver=False, logging_level="ERROR", **options)
        except (ConnectionError, RuntimeError, ValueError, TimeoutError) as error:
            where = f"the Ray cluster at {self._address!r}" if self._address else "Ray on this machine"
            raise ConfigurationError(f"Cannot start {where}: {error}") from error
        self._started = True


def device_of(placement: Placement) -> str:
    """Device that a worker of this placement computes on."""
    return "cuda" if placement.gpus else "cpu"
