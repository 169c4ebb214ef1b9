"""Messages of commands, which go to standard error, and answers, which go to standard output."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from rich.console import Console
from rich.table import Table
from rich.text import Text

from cluster.console import streams
from featurestore.plain_text import counted, shell_command, visible

if TYPE_CHECKING:
    from cluster.work.ledger import Summary
    from featurestore import FeatureStore


def say(text: str) -> None:
    """Write a message to standard error. No name or text in it can control the terminal."""
    click.echo(visible(text), err=True)


def write(answer: Any, format_: str, out: Path | None) -> None:
    """Write an answer to standard output, or to a file."""
    from queries.asking.formats import save, write

    if out is None:
        try:
            write(answer, format_, sys.stdout)
        except OSError as error:
            streams.discard()
            raise streams.refused(error) from error
    else:
        save(answer, format_, out)


def say_summary(summary: Summary, store: FeatureStore, *, of: str = "the study") -> None:
    """Say what a run computed, what was left out and what failed."""
    counts = summary.counts
    if summary.nothing_usable:
        say("Nothing could be computed: no model or no dataset can be used.")
    elif not counts["passes"] and not counts["cells"] and not summary.failures:
        every = "all" if counts["cells_wanted"] != 1 else "the"
        say(f"Nothing is missing: the store has {every} {counted(counts['cells_wanted'], 'cell')} of {of}.")
    else:
        features = f"{counted(counts['passes'], 'image feature')} and " if counts["passes"] else ""
        say(f"Computed {features}{counted(counts['cells'], 'new cell')}; {of} has {counts['cells_wanted']:,}.")
    if counts["unreadable"]:
        left_out = "was left out" if counts["unreadable"] == 1 else "were left out"
        say(f"{counted(counts['unreadable'], 'image')} could not be read and {left_out}. This command lists them:")
        say(f"  {shell_command('probestore', 'query', 'skipped_images', '--store', store.uri)}")
    say_failures(summary)


def say_failures(summary: Summary) -> None:
    """Show what failed, and say how to try it again."""
    if summary.failures:
        Console(stderr=True).print(_failure_table(summary))
    if summary.n_failed_before:
        say(
            f"{summary.n_failed_before} of them: this work failed in an earlier run and was not tried again, because "
            "nothing that it depends on has changed. To try it, add --retry-failed to the command."
        )


def _failure_table(summary: Summary) -> Table:
    table = Table(
        "stage", "model", "dataset", "error", "message", title=f"{len(summary.failures)} failed", title_style="bold red"
    )
    for work in summary.failures:
        texts = (work.stage, work.model or "all", work.dataset or "all", work.failure.error, work.failure.message)
        # Text, because a message may hold what rich would take for markup.
        table.add_row(*(Text(visible(text)) for text in texts))
    return table
