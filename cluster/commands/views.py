"""`probestore views`: a store in DuckDB's own command line."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from cluster.console import options
from cluster.console.terminal import say
from featurestore.plain_text import shell_command


@click.command()
@options.store_option
@options.storage_option
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    default=Path("views.sql"),
    show_default=True,
    help="File to write; - is standard output.",
)
def command(store: str | None, storage_options: dict[str, str], out: Path) -> None:
    """Write one file of SQL with which DuckDB's command line opens the store: it has the same tables and macros.

    The file names the files that are stored now. Write it again to see newer ones.

    \b
    Example:  probestore views --store demo-store --out views.sql && duckdb -init views.sql
    """
    from featurestore import FeatureStore
    from featurestore.written_whole import written_whole
    from queries.asking.formats import write_text
    from queries.asking.views_script import views_script

    text = views_script(FeatureStore.open(store or options.DEFAULT_STORE, storage_options=storage_options))
    if out == Path("-"):
        write_text(f"{text}\n", sys.stdout)
        return
    with written_whole(out, folders=False) as staged:
        staged.write_text(text, encoding="utf-8")
    say(f"{out} opens the tables of the store: {shell_command('duckdb', '-init', str(out))}")
