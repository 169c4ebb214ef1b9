"""A Ray session, which is started on this machine or joined on a cluster, and ended.

Ray is imported when a session starts, so that a run that finds nothing missing does not pay for it.
"""

from __future__ import annotations

import logging
import os
import re
import signal
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from featurestore.errors import ConfigurationError

_OBJECT_STORE_BYTES = 128 * 1024**2  # units and reports are a few hundred bytes; features never pass through it
_SECONDS_TO_ANSWER = 10.0
_TRIES = 4  # of starting or joining Ray, where another may help

# The server that the head starts for each client has thirty seconds, unless Ray is told more, and some die in their
# fork (ray-project/ray#63202), which is said in either way.
_NOT_UP_IN_TIME = "Starting Ray client server failed"
_CLIENT_SERVER_DIED = (_NOT_UP_IN_TIME, "Initialization failure from server")
_ADDRESS = re.compile(r"auto|(ray://)?[^/\s]+:\d+")


class RaySession:
    """A session of Ray, which costs nothing until it is started.

    Parameters
    ----------
    address : str, optional
        ``"auto"``, ``"host:port"`` or ``"ray://host:port"`` joins a cluster; None starts Ray on this machine.
    """

    def __init__(self, address: str | None) -> None:
        self.address = address
        self._started = False

    def start(self) -> None:
        """Start or join Ray, unless it is running.

        Raises
        ------
        ConfigurationError
            If Ray cannot be started or joined.
        """
        if not self._started:
            with _interrupt_deferred():
                self._connect()

    def end(self) -> None:
        """Leave or stop Ray, even if its start was interrupted."""
        if self._started:
            import ray

            ray.shutdown()
            self._started = False

    def _connect(self) -> None:
        if self.address and not _ADDRESS.fullmatch(self.address):
            raise ConfigurationError(f"--address must be auto, host:port or ray://host:port. Got {self.address!r}.")
        if self.address and self.address != "auto":
            _check_reachable(self.address)
        import ray

        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        # Ray's coming default; asked for now, it changes nothing here and avoids a warning at every start.
        os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
        local = {"address": "local", "include_dashboard": False, "object_store_memory": _OBJECT_STORE_BYTES}
        options: dict[str, Any] = {"address": self.address} if self.address else local
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
        return f"the Ray cluster at {self.address!r}" if self.address else "Ray on this machine"


def _in_short(error: Exception) -> str:
    lines = str(error).strip().splitlines() or [type(error).__name__]
    told = " ".join(dict.fromkeys((lines[0], lines[-1])))  # between them there may be a traceback of Ray's own
    if _NOT_UP_IN_TIME in str(error):
        told += " On a busy head, start Ray with RAY_CLIENT_SERVER_CHECK_CHANNEL_TIMEOUT_S=120 in its environment."
    return told


def _check_reachable(address: str) -> None:
    """Check that something answers at an address, because Ray itself would try for minutes."""
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
    """Hold a Ctrl-C back until the block is over. Ray can lose it, or crash, if it is interrupted while it starts."""
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
