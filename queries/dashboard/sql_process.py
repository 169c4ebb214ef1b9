"""The SQL box: it runs queries in a process of its own, which can be ended.

`Limits` hold for nearly everything, but one call of a function can make a text of gigabytes, or compare two of them for
hours, before DuckDB looks at a limit again. The process is bounded by the system instead: its memory by a resource
limit, its time by being killed. The next query starts another.
"""

from __future__ import annotations

import multiprocessing
import resource
import signal
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess

import duckdb
import pyarrow as pa

from featurestore.errors import Failure, ProbestoreError, QueryError
from featurestore.store.storage_options import Options
from queries.asking.limits import Limits

BOX_LIMITS = Limits(seconds=60, memory_bytes=2 * 1024**3, disk_bytes=4 * 1024**3, threads=2, answer_bytes=100 * 1000**2)
"""Limits of a query in the box."""

_GRACE_SECONDS = 2.0  # that a query has to heed an interruption
_OWN_MEMORY = 2 * 1024**3  # Python, Arrow, and the answer on its way
_MOST_SECONDS_TO_OPEN = 600.0

_STARTED, _ANSWER, _MISTAKE = b"s", b"a", b"m"


class BusyError(QueryError):
    """Another query is running."""


@dataclass(frozen=True)
class BoxAnswer:
    """The answer of a query in the box.

    Attributes
    ----------
    table : pyarrow.Table
    seconds : float
        Time of the query, without the start of the process and the opening of the store.
    """

    table: pa.Table
    seconds: float


@dataclass(frozen=True)
class _Worker:
    process: BaseProcess
    pipe: Connection


class SqlProcess:
    """Runs SQL that anybody may have typed over a store, one query at a time.

    Parameters
    ----------
    uri : str
        Where the store is.
    storage_options : mapping of str to str
        See `featurestore.store.places.open_place`.
    limits : Limits
        `seconds` and `memory_bytes` must be given.
    """

    def __init__(self, uri: str, storage_options: Options, limits: Limits = BOX_LIMITS) -> None:
        self._uri = uri
        self._options = dict(storage_options)
        self._limits = limits
        self._one = threading.Lock()
        self._worker: _Worker | None = None
        self._cancelled = self._closed = False

    def warm_up(self) -> None:
        """Start the process, which takes a second or two, before the first query needs it."""
        if not self._closed and self._one.acquire(blocking=False):
            try:
                self._worker = self._worker or self._start()
            finally:
                self._one.release()

    def run(self, text: str, parameters: Mapping[str, str], *, version: int = 0) -> BoxAnswer:
        """Run one SELECT, with or without the header of a question.

        Parameters
        ----------
        text : str
        parameters : mapping of str to str
            Values for its parameters.
        version : int
            The version of the page. Where it differs from that of the last query, the store is opened anew.

        Raises
        ------
        BusyError
            If another query is running.
        QueryError
            If the text is no SELECT, reaches outside the store, fails, exceeds a limit, or is cancelled.
        """
        if not self._one.acquire(blocking=False):
            raise BusyError("Another query is running. Wait for its answer, or cancel it.")
        try:
            self._cancelled = False
            worker = self._worker = self._worker or self._start()
            return self._answered(worker, (version, text, dict(parameters)))
        finally:
            self._one.release()

    def cancel(self) -> None:
        """End the query that is running, if one is."""
        if self._one.locked() and (worker := self._worker):
            self._cancelled = True
            worker.process.kill()

    def close(self) -> None:
        """End the process and the query that it may be running. No other process is started."""
        self._closed = True
        self.cancel()
        with self._one:
            self._end()

    def _start(self) -> _Worker:
        if self._closed:
            raise QueryError("The dashboard is ending and takes no more queries. Start it again: probestore dashboard")
        context = multiprocessing.get_context("spawn")  # a fork would copy the threads' locks
        ours, theirs = context.Pipe()
        process = context.Process(
            target=_work, args=(theirs, self._uri, self._options, self._limits), daemon=True, name="probestore-sql"
        )
        process.start()
        theirs.close()
        return _Worker(process, ours)

    def _end(self) -> None:
        if worker := self._worker:
            worker.process.kill()
            worker.process.join()
            worker.pipe.close()
            self._worker = None

    def _answered(self, worker: _Worker, request: tuple[int, str, dict[str, str]]) -> BoxAnswer:
        start = time.monotonic()
        try:
            worker.pipe.send(request)
            kind, content = _received(worker.pipe, _MOST_SECONDS_TO_OPEN)
            if kind == _STARTED:
                start = time.monotonic()
                kind, content = _received(worker.pipe, (self._limits.seconds or 0) + _GRACE_SECONDS)
        except (EOFError, OSError) as error:  # the process is gone; TimeoutError: it is to go
            self._end()
            raise QueryError(self._reason(error)) from error
        if kind == _MISTAKE:
            raise QueryError(content.decode())
        return BoxAnswer(pa.ipc.open_stream(content).read_all(), time.monotonic() - start)

    def _reason(self, error: Exception) -> str:
        if self._cancelled:
            return "You cancelled the query."
        if isinstance(error, TimeoutError):
            return f"The query was ended: it took longer than {self._limits.seconds:g} seconds, the time limit here."
        memory = f"{(self._limits.memory_bytes or 0) / 1e9:.1f} GB"
        return f"The process of the query has ended. Most likely it needed more memory than the {memory} allowed here."


def _received(pipe: Connection, seconds: float) -> tuple[bytes, bytes]:
    """Return (kind, content) of the next message."""
    if not pipe.poll(seconds):
        raise TimeoutError
    message = pipe.recv_bytes()
    return message[:1], message[1:]


def _work(pipe: Connection, uri: str, options: Options, limits: Limits) -> None:
    """Answer requests, in the process, until the pipe is closed. Only bytes go back, so nothing is unpickled."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is meant for the server, which ends this process
    from queries.asking.database import Database, connect

    most = 2 * (limits.memory_bytes or 0) + _OWN_MEMORY
    resource.setrlimit(resource.RLIMIT_DATA, (most, most))
    database: Database | None = None
    shown: int | None = None
    with suppress(EOFError, BrokenPipeError):  # the server has gone
        while True:
            version, text, parameters = pipe.recv()
            try:
                if database is None or version != shown:
                    if database is not None:
                        database.close()
                        database = None
                    database, shown = connect(uri, storage_options=options, limits=limits), version
                pipe.send_bytes(_STARTED)
                answer = _ANSWER + _in_bytes(database.run_text(text, **parameters))
            except ProbestoreError as error:
                answer = _MISTAKE + str(error).encode(errors="replace")
                if isinstance(error.__cause__, duckdb.FatalException | duckdb.InternalException):
                    shown = None  # this database takes no more queries
            except MemoryError:
                answer = _MISTAKE + b"The answer needs more memory than its limit. Ask for less."
            except Exception as error:  # the process stays, and says so, instead of ending for a reason of its own
                answer = _MISTAKE + Failure.of(error).message.encode(errors="replace")
                shown = None  # who knows in what state this database is
            pipe.send_bytes(answer)


def _in_bytes(table: pa.Table) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return bytes(sink.getvalue())
