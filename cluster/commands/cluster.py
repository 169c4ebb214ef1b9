"""`probestore cluster`: the nodes of a Ray cluster, looked at before work starts."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from cluster.console import options
from cluster.console.terminal import say, write


@click.group()
def command() -> None:
    """Look at the nodes of a Ray cluster before work starts.

    \b
    Example:  probestore cluster check study.toml --address auto
    """


@command.command("check")
@click.argument("study", type=click.Path(path_type=Path), required=False)
@click.option(
    "--address",
    default="auto",
    show_default=True,
    metavar="ADDRESS",
    help="Ray cluster: auto, host:port or ray://host:port.",
)
@options.study_store_option
@options.storage_option
@options.format_option
@options.out_option
def check(
    study: Path | None, address: str, store: str | None, storage_options: dict[str, str], format_: str, out: Path | None
) -> None:
    """Show what every node has: versions, devices, free space, and what STUDY needs, and mark what differs.

    A node is compared with this machine: the versions of Python and of libraries; with a STUDY, its datasets, weights
    files and modules, which are sent along where they differ; and the store, which is written and read, if it exists.
    Nothing is computed. A star marks what differs; the sentences below the table name it. The exit code is 1 if a node
    cannot work.

    \b
    Example:  probestore cluster check study.toml --address auto --store s3://bucket/store
    """
    from cluster.console.running import store_of
    from cluster.runs.cluster_check import check_cluster, needs_of
    from cluster.runs.planning import existing_store
    from cluster.study.study_file import read_study

    parsed = read_study(study) if study else None
    uri = store_of(parsed, store) if parsed else store
    found = existing_store(uri, storage_options) if uri else None
    if uri and found is None:
        say(f"There is no store at {uri} yet, so it is not looked at.")
    table, said, fit = check_cluster(address, needs_of(parsed, found), say)
    write(table, format_, out)
    for sentence in said:
        say(sentence)
    sys.exit(0 if fit else 1)
