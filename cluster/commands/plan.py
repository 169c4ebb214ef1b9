"""`probestore plan`: what a study would compute."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from cluster.console import options
from cluster.console.running import show_plan, store_of


@click.command()
@options.study_argument
@options.study_store_option
@options.storage_option
@options.replace_option
@options.format_option
@options.out_option
@click.option("--measure", is_flag=True, help="Time a few images on each network whose speed the store does not know.")
def command(
    study: Path,
    store: str | None,
    storage_options: dict[str, str],
    replace: bool,
    format_: str,
    out: Path | None,
    measure: bool,
) -> None:
    """Show what STUDY wants, what the store has, what is missing, and about how long that takes. Nothing is computed.

    Weights that are not on this machine yet are fetched, because the plan depends on them. The time is that of one
    worker, at the rates of earlier runs in the same store; --measure finds out the rates that are not known.

    \b
    Example:  probestore plan study.toml --store s3://bucket/pets
    """
    from cluster.study.study_file import read_study

    parsed = read_study(study)
    uri = store_of(parsed, store)
    sys.exit(show_plan(parsed, uri, storage_options, format_, out, measure=measure, replace=replace))
