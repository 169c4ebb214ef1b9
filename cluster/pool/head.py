"""The head of a joined Ray cluster: whether it answers. It needs no Ray, which would wait for a minute."""

from __future__ import annotations

import socket
import time

from featurestore.errors import ClusterLostError

_PATIENCE_SECONDS = 6.0
_EVERY_SECONDS = 1.0

_head: list[str] = []  # address of a joined cluster


def watch(head: str | None) -> None:
    """Ask from now on whether this address answers before Ray is asked, which would wait for a minute, and then end."""
    _head[:] = [head] if head else []


def check_head() -> None:
    """Check that the head of a joined cluster answers. It has a few seconds.

    Raises
    ------
    ClusterLostError
        If it does not.
    """
    end = time.monotonic() + _PATIENCE_SECONDS
    while _head and (problem := unreachable(_head[0], _EVERY_SECONDS)):
        if time.monotonic() > end:
            raise ClusterLostError(
                f"The Ray cluster at {_head[0]} is lost: its head answers no more ({problem}). What was done is "
                "stored. Start the cluster, and run the same command again: it goes on where this run ended."
            )
        time.sleep(_EVERY_SECONDS)


def unreachable(address: str, seconds: float) -> str | None:
    """Return why nothing answers at ``host:port`` or ``ray://host:port``; None if something does."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=seconds).close()
    except (OSError, OverflowError, ValueError) as error:
        return str(error)
    return None
