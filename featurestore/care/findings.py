"""Findings: each names a place in a store, says what is wrong there, and what to do about it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from featurestore.errors import StoreError


@dataclass(frozen=True, order=True)
class Finding:
    """One thing in a store that is not as it should be.

    Attributes
    ----------
    severity : {"error", "unread", "warning", "unsigned"}
        An error is data that must not be trusted, or is gone; of a file that is unread, nothing is known, because it
        could not be read now; a warning is something left over, or not to be judged; a file of an earlier version is
        unsigned, so that some damage to it cannot be seen.
    place : str
        File or folder in the store.
    what, advice : str
    remove : tuple of str
        Files that stand in the way of making anew what is damaged, in the order in which they are to be removed. Their
        bytes, or those of the file that is damaged, have been read.
    gone : bool
        Whether the file is not there.
    """

    severity: Literal["error", "unread", "warning", "unsigned"]
    place: str
    what: str
    advice: str
    remove: tuple[str, ...] = ()
    gone: bool = False

    @property
    def mendable(self) -> bool:
        """Whether `featurestore.care.mend` knows what to do about it."""
        return self.severity == "error" and (self.gone or bool(self.remove))


RUN_AGAIN = "run the study again"
MEND = "verify --mend removes it"
MEND_PART = f"{MEND} and the manifest beside it: only this shard is made anew"
MAKE_SET_ANEW = f"delete the folder, and {RUN_AGAIN}"
NOT_WRITTEN_SO = "its content is not what was written"


def error(place: str, what: str, advice: str, *, remove: Iterable[str] = (), gone: bool = False) -> Finding:
    """Return a finding about data that must not be trusted, or is gone."""
    return Finding("error", place, what, advice, tuple(remove), gone)


def gone(place: str, what: str, advice: str, *, remove: Iterable[str] = ()) -> Finding:
    """Return a finding about a file that is not there."""
    return error(place, what, advice, remove=remove, gone=True)


def unread(place: str, problem: StoreError) -> Finding:
    """Return a finding about a file that could not be read now. It may be whole, so nothing is to be removed."""
    why = problem.__cause__ or problem
    return Finding("unread", place, f"it cannot be read now: {why}", "see to it that it can be read, and verify again")


def warning(place: str, what: str, advice: str) -> Finding:
    """Return a finding about something that is left over, or that cannot be judged."""
    return Finding("warning", place, what, advice)


def unsigned(place: str) -> Finding:
    """Return a finding about a file that no digest covers."""
    return Finding("unsigned", place, "an earlier version wrote it, without a digest", "run probestore verify --seal")
