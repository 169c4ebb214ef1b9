"""The signals that end a command: SIGTERM and SIGHUP do as Ctrl-C does, and a second one of any kind ends it at once.

A signal that was ignored when the process began stays ignored, as `nohup` wants it.
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from types import FrameType
from typing import Any, NoReturn

_NAMES = ("SIGINT", "SIGTERM", "SIGHUP")
SIGNALS = tuple(number for name in _NAMES if (number := getattr(signal, name, None)))  # Windows lacks one
STOPPED = "Stopped{}. Finished work is stored. Run the same command again to go on."


class _Listener:
    """What is done about signals as long as a block runs.

    Parameters
    ----------
    numbers : sequence of int
        Signals that are listened to.
    is_command : bool
        Whether the process is a command of ours, which a second signal may end at once. A notebook is none.
    """

    def __init__(self, numbers: Sequence[int], *, is_command: bool) -> None:
        self.received: list[int] = []
        self.is_command = is_command
        self.held = False
        self._numbers = [number for number in numbers if signal.getsignal(number) is not signal.SIG_IGN]
        self._before: dict[int, Any] = {}

    def install(self) -> None:
        """Take the signals, also back from a library that took them."""
        for number in self._numbers:
            before = signal.signal(number, self._handle)
            self._before.setdefault(number, before)

    def remove(self) -> None:
        """Give the signals back."""
        for number, before in self._before.items():
            signal.signal(number, before)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        self.received.append(number)
        if len(self.received) > 1 and self.is_command:
            _end_at_once()
        if not self.held:
            raise KeyboardInterrupt


_listeners: list[_Listener] = []
_clean_ups: list[Callable[[], None]] = []


@contextmanager
def listening() -> Iterator[None]:
    """Let the signals raise KeyboardInterrupt in the block, which is a command; the second one ends the process."""
    with _listening(SIGNALS, is_command=True):
        yield


@contextmanager
def held_back() -> Iterator[None]:
    """Hold a signal back until the block is over, and take the signals back from whoever took them in the block.

    Ray can lose a Ctrl-C, or crash, if it is interrupted while it starts. In a command a second signal is not held.
    """
    if threading.current_thread() is not threading.main_thread():  # only the main thread gets signals
        yield
        return
    if not _listeners:
        with _listening([signal.SIGINT], is_command=False), held_back():
            yield
        return
    listener = _listeners[-1]
    listener.held = True
    try:
        yield
    finally:
        listener.held = False
        listener.install()
    if listener.received:
        raise KeyboardInterrupt


def is_command() -> bool:
    """Return whether this process is a command of ours, whose signals are ours."""
    return bool(_listeners) and _listeners[-1].is_command


def exit_code() -> int:
    """Return the exit code of a command that was stopped: 128 and the number of the first signal."""
    return 128 + _first()


def by_whom() -> str:
    """Return how a command was stopped, to be put behind `Stopped`; nothing for Ctrl-C."""
    return "" if _first() == signal.SIGINT else f" by {signal.Signals(_first()).name}"


@contextmanager
def at_a_sudden_end(clean_up: Callable[[], None]) -> Iterator[None]:
    """Call `clean_up` if a second signal comes in the block. It must be quick, and rely on nothing."""
    _clean_ups.append(clean_up)
    try:
        yield
    finally:
        _clean_ups.remove(clean_up)


@contextmanager
def _listening(numbers: Sequence[int], *, is_command: bool) -> Iterator[None]:
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    listener = _Listener(numbers, is_command=is_command)
    _listeners.append(listener)
    listener.install()
    try:
        yield
    finally:
        listener.remove()
        _listeners.remove(listener)


def _first() -> int:
    received = _listeners[-1].received if _listeners else []
    return received[0] if received else signal.SIGINT


def _end_at_once() -> NoReturn:
    for clean_up in _clean_ups:
        with suppress(Exception):
            clean_up()
    with suppress(OSError):  # whoever was writing to it may be in the middle of a line
        os.write(2, f"\n{STOPPED.format(by_whom())}\n".encode())
    os._exit(exit_code())
