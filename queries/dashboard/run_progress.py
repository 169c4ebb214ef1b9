"""The progress of a store's studies: counts, a rate, the results of each model on each dataset, the newest results."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from queries.asking.database import Database

Row = dict[str, Any]

_RUNNING = timedelta(seconds=60)  # a run writes its progress every ten seconds
_RECENTLY = timedelta(minutes=5)

_RECENT = "select count(distinct cell) as n from results where created_at > $since::timestamptz"


@dataclass(frozen=True)
class Progress:
    """The progress of the studies.

    Attributes
    ----------
    cells : mapping of str to int
        Status (done, failed, missing) -> number of wanted cells.
    stages : sequence of dict
        One per stage of a run: stage, wanted, done, images_per_second, updated_at.
    models, datasets : sequence of str
        Rows and columns of `pairs`.
    pairs : mapping of (model, dataset) to counter of str
        Status -> number of wanted cells.
    latest : sequence of dict
        The newest results first.
    per_minute : float
        Rate at which results were written in the last five minutes.
    updated_at : datetime, optional
        The time when a run last wrote its progress.
    """

    cells: Mapping[str, int] = field(default_factory=dict)
    stages: Sequence[Row] = ()
    models: Sequence[str] = ()
    datasets: Sequence[str] = ()
    pairs: Mapping[tuple[str, str], Counter[str]] = field(default_factory=dict)
    latest: Sequence[Row] = ()
    per_minute: float = 0.0
    updated_at: datetime | None = None

    @property
    def wanted(self) -> int:
        """The number of cells that the studies want."""
        return sum(self.cells.values())

    def is_running(self, now: datetime) -> bool:
        """Return whether a run wrote its progress lately and something is missing."""
        heard = self.updated_at is not None and now - self.updated_at < _RUNNING
        return heard and any(stage["done"] < stage["wanted"] for stage in self.stages)

    def in_words(self, now: datetime) -> str:
        """Return one line, such as ``Running: 12 of 40 results, 1 failed, 3.2 a minute``."""
        if not self.wanted:
            return "No study has been run in this store."
        counts = f"{self.cells.get('done', 0)} of {self.wanted} results"
        if failed := self.cells.get("failed", 0):
            counts += f", {failed} failed"
        if self.is_running(now):
            return f"Running: {counts}" + (f", {self.per_minute:.3g} a minute" if self.per_minute else "")
        return f"Complete: {counts}" if not self.cells.get("missing") else f"Not running: {counts}"


NOTHING = Progress()


def read_progress(database: Database) -> Progress:
    """Return the progress of a store's studies.

    Raises
    ------
    QueryError
        If the store cannot be read.
    """
    wanted: list[Row] = database.query("coverage").to_pylist()
    runs: list[Row] = database.query("progress").to_pylist()
    pairs: dict[tuple[str, str], Counter[str]] = {}
    for row in wanted:
        pairs.setdefault((row["model"], row["dataset"]), Counter())[row["status"]] += 1
    since = (datetime.now(UTC) - _RECENTLY).isoformat()
    recent = database.run_text(_RECENT, since=since)["n"][0].as_py()
    return Progress(
        cells=Counter(row["status"] for row in wanted),
        stages=[_stage(name, runs) for name in dict.fromkeys(row["stage"] for row in runs)],
        models=sorted({model for model, _ in pairs}),
        datasets=sorted({dataset for _, dataset in pairs}),
        pairs=pairs,
        latest=database.query("latest_results").to_pylist(),
        per_minute=recent / (_RECENTLY / timedelta(minutes=1)),
        updated_at=max((row["updated_at"] for row in runs), default=None),
    )


def _stage(name: str, runs: Sequence[Row]) -> Row:
    own = [row for row in runs if row["stage"] == name]
    rates = [row["images_per_second"] for row in own if row["images_per_second"] is not None]
    return {
        "stage": name,
        "wanted": sum(row["wanted"] for row in own),
        "done": sum(row["done"] for row in own),
        "images_per_second": sum(rates) / len(rates) if rates else None,
        "updated_at": max(row["updated_at"] for row in own),
    }
