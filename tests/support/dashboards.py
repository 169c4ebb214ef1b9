"""A dashboard that is served while a test asks it."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from queries.dashboard.serving import DashboardServer

FOREVER = "select count(*) from range(1000000) a, range(1000000) b where a.range <> b.range"


@contextmanager
def running(server: DashboardServer) -> Iterator[DashboardServer]:
    """Serve in a thread of this process."""
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        yield server
    finally:
        server.stop()
        thread.join()
