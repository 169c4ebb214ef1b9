"""Findings: each names a place in a store, says what is wrong there, and what to do about it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, order=True)
class Finding:
    """One thing in a store that is not as it should be.

    Attributes
    ----------
    severity : {"error", "warning", "unsigned"}
        An error is data that must not be trusted; a warning is something left over, or not to be judged; a file of an
        earlier version is unsigned, so that some damage to it cannot be seen.
    place : str
        File or folder in the store.
    what, advice : str
    remove : tuple of str
        Files that stand in the way of making anew what is damaged, in the order in which they are to be removed.
    """

    severity: Literal["error", "warning", "unsigned"]
    place: str
    what: str
    advice: str
    remove: tuple[str, ...] = ()


RUN_AGAIN = "run the study again"
MAKE_ANEW = f"delete it and the manifest beside it, and {RUN_AGAIN}: only this shard is made anew"
MAKE_SET_ANEW = f"delete the folder, and {RUN_AGAIN}"


def error(place: str, what: str, advice: str, *, remove: Iterable[str] = ()) -> Finding:
    """Return a finding about data that must not be trusted."""
    return Finding("error", place, what, advice, tuple(remove))


def warning(place: str, what: str, advice: str) -> Finding:
    """Return a finding about something that is left over, or that cannot be judged."""
    return Finding("warning", place, what, advice)


def unsigned(place: str) -> Finding:
    """Return a finding about a file that no digest covers."""
    return Finding("unsigned", place, "an earlier version wrote it, without a digest", "run probestore verify --seal")
