"""`probestore sql`: one SELECT over the tables of a store."""

from __future__ import annotations

from pathlib import Path

import click

from cluster.console import options
from cluster.console.terminal import write


@click.command()
@click.argument("text", metavar="SQL")
@options.store_option
@options.storage_option
@options.format_option
@options.out_option
def command(text: str, store: str | None, storage_options: dict[str, str], format_: str, out: Path | None) -> None:
    """Run one SELECT over the tables of the store. The store is not changed.

    The tables are features, samples, models, datasets, cells, results, tuning, predictions, failures, heads, progress,
    training_curves, neighbours, representations, similarities and fingerprints. queries/README.md describes them, and
    `probestore sql "describe results"` lists the columns of one.

    \b
    Example:  probestore sql "select probe, model, avg(value) from results where headline group by all"
    """
    from queries.asking.database import connect

    with connect(store or options.DEFAULT_STORE, storage_options=storage_options) as database:
        answer = database.sql(options.whole_text(text))
    write(answer, format_, out)
