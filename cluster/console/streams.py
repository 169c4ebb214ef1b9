"""Standard streams that are closed, full, or left by their reader: none of it stops work that is being done."""

from __future__ import annotations

import io
import os
import sys
from contextlib import suppress
from typing import Any, TextIO

from featurestore.errors import OutputError


class PipeClosedError(Exception):
    """Nobody reads on, as with ``| head``, which is no failure."""


def make_usable() -> None:
    """Let standard output and error take any text, whatever became of them.

    What their encoding lacks is written out. Messages that standard error does not take are lost. Whoever closes
    standard output before the command begins wants no answer.
    """
    _fill_descriptors()
    if sys.stdout is None:
        sys.stdout = _nowhere()
    if sys.stderr is None:
        sys.stderr = _nowhere()
    elif sys.stderr is sys.__stderr__ and isinstance(sys.stderr, io.TextIOWrapper):
        lenient: Any = _Lenient(sys.stderr.fileno())
        encoding = sys.stderr.encoding
        sys.stderr = io.TextIOWrapper(io.BufferedWriter(lenient), encoding, line_buffering=True, write_through=True)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def flush() -> None:
    """Write out what is left of the answer.

    Raises
    ------
    PipeClosedError
        If nobody reads on.
    OutputError
        If standard output does not take it. It takes everything from then on, since Python flushes it again.
    """
    try:
        sys.stdout.flush()
    except OSError as error:
        discard()
        raise refused(error) from error


def discard() -> None:
    """Let standard output take everything from now on."""
    if getattr(sys.stdout, "name", None) != os.devnull:
        sys.stdout = _nowhere()


def refused(error: OSError) -> OutputError | PipeClosedError:
    """Return what is to be raised when standard output refuses an answer."""
    if isinstance(error, BrokenPipeError):
        return PipeClosedError()
    return OutputError(
        f"The answer could not be written to standard output: {error.strerror or error}. What the command has stored "
        "stays. Write the answer to a file on a disk that has space (--out FILE, or > FILE)."
    )


class _Lenient(io.RawIOBase):
    """A descriptor that takes everything, whether it can be written or not."""

    def __init__(self, descriptor: int) -> None:
        super().__init__()
        self._descriptor = descriptor

    def writable(self) -> bool:
        return True

    def fileno(self) -> int:
        return self._descriptor

    def isatty(self) -> bool:
        return os.isatty(self._descriptor)

    def write(self, content: bytes) -> int:  # type: ignore[override]  # typeshed: any buffer
        with suppress(OSError):
            return os.write(self._descriptor, content)
        return len(content)


def _fill_descriptors() -> None:
    """Open what is closed of the three: else the next file to be opened gets its number, and the texts of libraries."""
    for descriptor in (0, 1, 2):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # it gets the lowest number that is free


def _nowhere() -> TextIO:
    return open(os.devnull, "w", encoding="utf-8")  # noqa: PTH123 - it stays open until the process ends
