"""The live page: the report and the progress of a store, made anew when the store has changed.

Nothing runs while nobody looks: whoever looks starts a check, in a thread, when the last one is long enough ago. A
check lists the store; only when files have come or gone is the store opened anew, because a `Database` shows it as it
was.
"""

from __future__ import annotations

import hashlib
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace

from featurestore import FeatureStore
from featurestore.errors import Failure
from featurestore.store import schema
from queries.asking.database import Database
from queries.dashboard.run_progress import NOTHING, Progress, read_progress
from queries.report import render

LEISURE = 2.0
"""A pause is so many times as long as the work before it, because a run on this machine comes first."""

_SHORTEST = 1.0  # seconds that any work counts as


@dataclass(frozen=True)
class Shown:
    """The state of the page.

    Attributes
    ----------
    version : int
        Raised whenever the report was made anew; 0 means that there is no report yet.
    report : str
        HTML of its body.
    progress : Progress
    problem : str
        The reason why the last check could not read the store or make the report; empty if it could.
    checking : bool
        Whether a check is under way.
    """

    version: int = 0
    report: str = ""
    progress: Progress = NOTHING
    problem: str = ""
    checking: bool = False


class _Pace:
    """The pace of repeated work: it is due again after a pause that is long beside the work itself.

    Parameters
    ----------
    leisure : float
        The factor `LEISURE`.
    """

    def __init__(self, leisure: float) -> None:
        self._leisure = leisure
        self._due = 0.0

    def is_due(self) -> bool:
        """Return whether the pause is over."""
        return time.monotonic() >= self._due

    @contextmanager
    def work(self) -> Iterator[None]:
        """Measure the work, and set the pause after it."""
        start = time.monotonic()
        try:
            yield
        finally:
            now = time.monotonic()
            self._due = now + self._leisure * max(_SHORTEST, now - start)


class LivePage:
    """The page that the dashboard shows of a store.

    Parameters
    ----------
    store : FeatureStore
    leisure : float
        The factor `LEISURE`, for checks and for reports.
    """

    def __init__(self, store: FeatureStore, *, leisure: float = LEISURE) -> None:
        self._store = store
        self._checks, self._reports = _Pace(leisure), _Pace(leisure)
        self._lock = threading.Lock()
        self._shown = Shown()
        self._of_report = self._of_all = ""  # what the store held when the report, and all else, was made
        self._problem_of_report = ""  # of the last attempt, which most checks do not repeat

    def look(self) -> Shown:
        """Return the state at once, and start a check when one is due."""
        if self._checks.is_due() and self._lock.acquire(blocking=False):
            threading.Thread(target=self._check_and_release, name="probestore-check", daemon=True).start()
        return replace(self._shown, checking=self._lock.locked())

    def _check_and_release(self) -> None:
        try:
            self._check()
            self._shown = replace(self._shown, problem=self._problem_of_report)
        except Exception as error:  # the page stays up, with what it had, and says so
            self._shown = replace(self._shown, problem=Failure.of(error).message)
        finally:
            self._lock.release()

    def _check(self) -> None:
        with ExitStack() as opened:
            with self._checks.work():
                of_report, of_all = _listing(self._store)
                if of_report == self._of_report:
                    self._problem_of_report = ""  # what is shown is what there is
                to_report = of_report != self._of_report and self._reports.is_due()
                if of_all == self._of_all and not to_report:
                    return
                database = opened.enter_context(Database(self._store))
                self._shown = replace(self._shown, progress=read_progress(database))
                self._of_all = of_all
            if to_report:
                self._make_report(database)
                self._of_report = of_report

    def _make_report(self, database: Database) -> None:
        try:
            with self._reports.work():
                report = render(self._store, database)
        except Exception as error:
            self._problem_of_report = Failure.of(error).message
            raise
        self._shown = replace(self._shown, version=self._shown.version + 1, report=report)
        self._problem_of_report = ""


def _listing(store: FeatureStore) -> tuple[str, str]:
    """Return two hashes: of all files that the report depends on, and of those and the progress.

    Records count by name, size and time, complete sets by name. The report leaves out the table `progress`, which a run
    writes every ten seconds.
    """
    of_report, of_all = hashlib.sha256(), hashlib.sha256()
    for table in sorted(schema.TABLES):
        lines = "".join(f"{file.name} {file.size} {file.modified}\n" for file in store.storage.files(table)).encode()
        of_all.update(lines)
        if table != "progress":
            of_report.update(lines)
    of_report.update("".join(f"{item.folder}\n" for item in store.sets()).encode())
    return of_report.hexdigest(), of_all.hexdigest()
