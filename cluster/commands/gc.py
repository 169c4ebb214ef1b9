"""`probestore gc`: files that no study needs."""

from __future__ import annotations

from pathlib import Path

import click

from cluster.console import options
from cluster.console.terminal import say, write


@click.command()
@click.option("--delete", is_flag=True, help="Remove the files. Without this option, they are only listed.")
@click.option(
    "--older-than",
    "hours",
    type=click.FloatRange(min=0),
    default=24.0,
    show_default=True,
    metavar="HOURS",
    help="Age in hours. Younger files stay, because a run may be about to need them.",
)
@options.store_option
@options.storage_option
@options.format_option
@options.out_option
def command(
    delete: bool, hours: float, store: str | None, storage_options: dict[str, str], format_: str, out: Path | None
) -> None:
    """List or remove files that no study of the store needs: old features, image tables, results and staged files.

    A study needs the files that its last run wanted. The column wanted_by has the study that wanted a file last, with
    its study file and the time. Do not remove files while a study is starting.

    \b
    Example:  probestore gc --store demo-store --delete
    """
    from datetime import timedelta

    from cluster.runs.deep_check import garbage_table
    from featurestore import FeatureStore
    from featurestore.care import garbage

    opened = FeatureStore.open(store or options.DEFAULT_STORE, storage_options=storage_options)
    found = garbage.find(opened, older_than=timedelta(hours=hours))
    if found or out or format_ != "table":
        write(garbage_table(found), format_, out)
    size = f"{sum(item.n_bytes for item in found) / 1e6:,.1f} MB"
    if delete:
        garbage.remove(opened, found)  # and forget wishes that lead to nothing any more
    if not found:
        say("Every file is needed by some study, or is too young to be judged.")
    elif delete:
        say(f"Removed {size}.")
    else:
        say(f"{size} are needed by no study. Nothing was removed. To remove these files, add --delete.")
