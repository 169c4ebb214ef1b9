"""`probestore data`: datasets, looked at before work starts."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from cluster.console import options
from cluster.console.terminal import say, write
from featurestore.plain_text import counted


@click.group()
def command() -> None:
    """Look at datasets before work starts.

    \b
    Example:  probestore data check study.toml
    """


@command.command("check")
@options.study_argument
@click.argument("datasets", metavar="[DATASET]...", nargs=-1)
@options.format_option
@options.out_option
def check(study: Path, datasets: tuple[str, ...], format_: str, out: Path | None) -> None:
    """Show what the datasets of STUDY hold, what is used of it as what, and what is left out and why.

    Each file, folder, row and column is counted once. Below them come the splits with how they were made, the classes,
    and notes. Labels are checked; images are not decoded, and nothing is computed or stored. The exit code is 1 if a
    dataset cannot be used.

    \b
    Example:  probestore data check study.toml --format markdown
    """
    from cluster.runs.data_check import check_data
    from cluster.study.study_file import read_study

    parsed = read_study(study)
    table, unusable = check_data(parsed, datasets)
    write(table, format_, out)
    if unusable:
        say(f"{counted(len(unusable), 'dataset')} cannot be used: {', '.join(unusable)}. See the rows `problem`.")
    sys.exit(1 if unusable else 0)
