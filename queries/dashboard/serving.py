"""The server of the dashboard: on this machine's loopback address, nowhere else."""

from __future__ import annotations

import secrets
import signal
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import uvicorn
from starlette.concurrency import run_in_threadpool

from featurestore import FeatureStore
from featurestore.errors import ConfigurationError
from queries.asking.limits import Limits
from queries.dashboard.live_page import LEISURE, LivePage
from queries.dashboard.sql_process import BOX_LIMITS, SqlProcess
from queries.dashboard.web_app import Dashboard

_ADDRESS = "127.0.0.1"
_LEFT = (signal.SIG_IGN, None)  # as nohup wants it, or taken by something that is not Python


class _Server(uvicorn.Server):
    """A server that ends the query that is running before it waits for its answer."""

    def __init__(self, config: uvicorn.Config, sql: SqlProcess) -> None:
        super().__init__(config)
        self._sql = sql

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Take SIGHUP as uvicorn takes SIGTERM: the server ends, and then the signal comes again."""
        with super().capture_signals():
            if threading.current_thread() is not threading.main_thread() or signal.getsignal(signal.SIGHUP) in _LEFT:
                yield
                return
            before = signal.signal(signal.SIGHUP, self.handle_exit)
            try:
                yield
            finally:
                signal.signal(signal.SIGHUP, before)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        await run_in_threadpool(self._sql.close)
        await super().shutdown(sockets)


class DashboardServer:
    """A dashboard that waits for its browser; `run` serves it.

    Parameters
    ----------
    store : FeatureStore
    port : int
        0 means a port that is free.
    limits : Limits
        Limits of a query in the box.
    leisure : float
        The factor `live_page.LEISURE` of the page.

    Attributes
    ----------
    url : str
        The address to open. It holds the token that lets in whoever opens it.

    Raises
    ------
    ConfigurationError
        If the port is taken or may not be used.
    """

    def __init__(
        self, store: FeatureStore, *, port: int = 0, limits: Limits = BOX_LIMITS, leisure: float = LEISURE
    ) -> None:
        self._socket = _bound(port)
        port = self._socket.getsockname()[1]
        token = secrets.token_urlsafe(32)
        self.url = f"http://{_ADDRESS}:{port}/?token={token}"
        page = LivePage(store, leisure=leisure)
        page.look()  # the report is made while the browser starts
        sql = SqlProcess(store.uri, dict(store.storage_options), limits)
        app = Dashboard(page, sql, store.uri).app(token=token, cookie=f"probestore_{port}")
        config = uvicorn.Config(
            app,
            log_level="warning",
            access_log=False,  # its lines would hold the token
            server_header=False,
            proxy_headers=False,
            ws="none",
            lifespan="off",
            http="h11",
            loop="asyncio",
            timeout_graceful_shutdown=3,
        )
        self._server = _Server(config, sql)

    def run(self) -> None:
        """Serve until a signal (which is raised again when the server has ended) or `stop`."""
        self._server.run(sockets=[self._socket])

    def stop(self) -> None:
        """End `run`, which another thread is in."""
        self._server.should_exit = True


def _bound(port: int) -> socket.socket:
    listening = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((_ADDRESS, port))
    except OSError as error:
        listening.close()
        raise ConfigurationError(
            f"Port {port} of this machine cannot be used ({error.strerror}). "
            "Name another with --port; --port 0 takes one that is free."
        ) from error
    listening.listen()  # a browser that comes before the server is ready waits
    return listening
