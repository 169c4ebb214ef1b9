"""Signals that end a command."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable

import pytest

from cluster.pool import stop_signals
from cluster.pool.child_processes import descendants, kill


@pytest.mark.parametrize(
    ("name", "code", "by"), [("SIGINT", 130, ""), ("SIGTERM", 143, " by SIGTERM"), ("SIGHUP", 129, " by SIGHUP")]
)
def test_each_of_them_is_an_interrupt_with_an_exit_code_of_its_own(name: str, code: int, by: str) -> None:
    number = getattr(signal, name)
    before = signal.getsignal(number)
    with stop_signals.listening():
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), number)
        assert (stop_signals.exit_code(), stop_signals.by_whom()) == (code, by)
    assert signal.getsignal(number) == before


def test_a_signal_that_was_ignored_stays_so() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with stop_signals.listening():
            os.kill(os.getpid(), signal.SIGHUP)
            assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)


def interrupted(block: Callable[[], None]) -> bool:
    """Whether a block was interrupted when it was over."""
    over = False
    try:
        with stop_signals.held_back():
            block()
            over = True
    except KeyboardInterrupt:
        return over
    return False


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_is_held_back_and_taken_from_a_library_that_took_it(number: signal.Signals) -> None:
    def block() -> None:
        os.kill(os.getpid(), number)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)

    with stop_signals.listening():
        assert interrupted(block)
        assert signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL


def test_a_notebook_keeps_its_sigterm_and_is_not_ended_by_a_second_ctrl_c() -> None:
    before = signal.getsignal(signal.SIGTERM)

    def block() -> None:
        assert signal.getsignal(signal.SIGTERM) == before
        for _ in range(2):
            os.kill(os.getpid(), signal.SIGINT)

    assert interrupted(block)


_TWICE = """
import os, signal
from cluster.pool import stop_signals
with stop_signals.listening(), stop_signals.at_a_sudden_end(lambda: print("cleaned", flush=True)):
    try:
        os.kill(os.getpid(), signal.SIGTERM)
    except KeyboardInterrupt:
        os.kill(os.getpid(), signal.SIGINT)
    print("not reached", flush=True)
"""


def test_a_second_one_ends_the_command_at_once() -> None:
    done = subprocess.run([sys.executable, "-c", _TWICE], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (143, "cleaned\n")
    assert done.stderr == "\nStopped by SIGTERM. Finished work is stored. Run the same command again to go on.\n"


@pytest.mark.skipif(sys.platform != "linux", reason="there is no /proc")
def test_processes_are_found_below_this_one_and_killed() -> None:
    before = descendants()
    parent = subprocess.Popen(["sh", "-c", "sleep 60 & wait"])
    deadline = time.monotonic() + 10
    while len(own := {one: start for one, start in descendants().items() if one not in before}) < 2:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    kill(dict.fromkeys(own, "the start of another process"))
    assert parent.poll() is None
    kill(own)
    assert parent.wait(10) == -signal.SIGKILL
    while descendants().keys() & own.keys():
        assert time.monotonic() < deadline
