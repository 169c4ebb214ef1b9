"""The last lines of a run: its leaderboard, and what one should know before one believes it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from cluster.console.terminal import say, write
from featurestore.plain_text import counted, shell_command

if TYPE_CHECKING:
    from featurestore import FeatureStore
    from queries.asking.database import Database

MOST_WARNINGS = 8
"""More are counted, with the command that shows them."""

MOST_IMAGE_FILES = 200
"""Of image tables, that a run opens that has computed no features: some seconds on an object store."""

_SHORT_LEADERBOARD = ["rank", "model", "mean_value", "mean_rank", "adjusted", "standard_error", "tie_group"]

Row = Mapping[str, Any]


def show_outcome(store: FeatureStore, *, leaderboard: bool = True, computed_features: bool = True) -> None:
    """Write a few columns of the leaderboard, and say what the checks of the question `sanity` found.

    Parameters
    ----------
    store : FeatureStore
    leaderboard : bool
        Whether the leaderboard is written to standard output.
    computed_features : bool
        Whether there may be images that no run has looked at before. If not, the checks that read image tables are left
        out where the tables have many files: a run that has nothing to do opens few, on an object store above all.
    """
    from queries.asking.database import Database

    with Database(store) as database:
        if leaderboard:
            write(database.query("leaderboard").select(_SHORT_LEADERBOARD), "table", None)
        _say_findings(database, images=computed_features or _few_image_files(database))


def _few_image_files(database: Database) -> bool:
    return database.count_files("samples") <= MOST_IMAGE_FILES


def _say_findings(database: Database, *, images: bool) -> None:
    found = database.query("sanity" if images else "sanity_of_results").to_pylist()
    everything = shell_command("probestore", "query", "sanity", "--store", database.uri)
    warnings = [row for row in found if row["severity"] == "warning"]
    remarks = [row for row in found if row["severity"] != "warning"]
    if found:
        say(f"Sanity: {counted(len(warnings), 'warning')}, {counted(len(remarks), 'remark')}.")
    _say_warnings(warnings, everything)
    if remarks:
        counts = Counter(row["question"] for row in remarks)
        say(f"  Remarks: {', '.join(f'{name} {n}' for name, n in counts.items())}. To see them:  {everything}")
    if not images:
        say(f"  The images were not looked at. To do so:  {everything}")


def _say_warnings(warnings: Sequence[Row], everything: str) -> None:
    for row in warnings[:MOST_WARNINGS]:
        place = f"{row['dataset']}: " if row["dataset"] else ""
        say(f"  {place}{_one_line(row['finding'])}")
        say(f"      {row['command']}")
    if len(warnings) > MOST_WARNINGS:
        say(f"  and {len(warnings) - MOST_WARNINGS} more:  {everything}")


def _one_line(text: str) -> str:
    """Return a text in which a class or a file has a name of several lines as one line."""
    return text.replace("\n", r"\n")
