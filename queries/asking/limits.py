"""Limits of one query, for SQL that anybody may have typed: its time, its memory and disk, the size of its answer."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import duckdb
import pyarrow as pa

from featurestore.errors import QueryError

_BATCH_ROWS = 10_000  # of an answer, between two looks at its size


@dataclass(frozen=True)
class Limits:
    """How much one query may use; None is no limit.

    DuckDB looks at the limits of its tables, sorts and joins between two steps of its work. One call of a function that
    makes a text of a gigabyte is one step. Run the query in a process that can be ended where you must be sure.

    Attributes
    ----------
    seconds : float, optional
        The time after which a query is interrupted; the connection can be used again.
    memory_bytes : int, optional
        DuckDB's memory. DuckDB puts on disk what does not fit, where it can. None: 80 % of the machine's memory.
    disk_bytes : int, optional
        Size of temporary files.
    threads : int, optional
        None: one per CPU.
    answer_bytes : int, optional
        Size of the whole answer, as Arrow.
    """

    seconds: float | None = None
    memory_bytes: int | None = None
    disk_bytes: int | None = None
    threads: int | None = None
    answer_bytes: int | None = None

    def set_up(self, connection: duckdb.DuckDBPyConnection) -> None:
        """Set the limits that DuckDB keeps itself.

        They are not set when connecting: DuckDB would show the limit of the disk and not keep it.
        """
        if self.memory_bytes is not None:
            connection.execute(f"set memory_limit = '{self.memory_bytes}B'")
        if self.disk_bytes is not None:
            connection.execute(f"set max_temp_directory_size = '{self.disk_bytes}B'")
        if self.threads is not None:
            connection.execute(f"set threads = {self.threads}")

    @contextmanager
    def clock(self, connection: duckdb.DuckDBPyConnection) -> Iterator[None]:
        """Interrupt the query of `connection` when its time is over.

        Raises
        ------
        QueryError
            If the query was interrupted, or if memory or disk was not enough.
        """
        over = threading.Event()

        def stop() -> None:
            over.set()
            connection.interrupt()

        timer = threading.Timer(self.seconds or 0, stop)
        if self.seconds is not None:
            timer.start()
        try:
            yield
        except (duckdb.Error, OSError) as error:  # OSError: what Arrow makes of it while rows are read
            if over.is_set():
                raise QueryError(
                    f"The query was stopped after {self.seconds:g} seconds, the time limit here. "
                    "Ask for less, for example for fewer models or images."
                ) from error
            if self.memory_bytes is not None and str(error).startswith("Out of Memory"):
                raise QueryError(
                    f"The query needs more than {self.memory_bytes / 1e9:.1f} GB of memory, the limit here, and cannot "
                    "put enough of it on disk. Ask for less, for example for fewer models or images."
                ) from error
            raise
        finally:
            timer.cancel()

    def collect(self, connection: duckdb.DuckDBPyConnection) -> pa.Table:
        """Return the answer that `connection` has ready.

        Raises
        ------
        QueryError
            If the answer is too large.
        OSError
            If the query fails on the way.
        """
        if self.answer_bytes is None:
            return connection.to_arrow_table()
        size, batches = 0, []
        with connection.to_arrow_reader(_BATCH_ROWS) as reader:
            for batch in reader:
                size += batch.nbytes
                if size > self.answer_bytes:
                    raise QueryError(
                        f"The answer is larger than {self.answer_bytes / 1e6:.0f} MB, the limit here. "
                        "Count or average in SQL, or add: limit 1000."
                    )
                batches.append(batch)
            return pa.Table.from_batches(batches, reader.schema)


NO_LIMITS = Limits()
