"""Let a signal end a query: DuckDB holds the main thread until a query is over, and Python's handlers wait for it."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import duckdb

T = TypeVar("T")


def interruptible(connection: duckdb.DuckDBPyConnection, work: Callable[[], T]) -> T:
    """Do `work` of a connection in another thread, and interrupt it if the main thread gets a signal meanwhile."""
    if threading.current_thread() is not threading.main_thread():  # only the main thread gets signals
        return work()
    with ThreadPoolExecutor(1) as thread:
        future = thread.submit(work)
        try:
            return future.result()
        except BaseException:
            if not future.done():
                connection.interrupt()
            raise
