"""`probestore query`: answers to questions."""

from __future__ import annotations

from pathlib import Path

import click

from cluster.console import options
from cluster.console.terminal import say, write


@click.command()
@click.argument("question")
@click.option(
    "-p", "parameters", multiple=True, metavar="KEY=VALUE", help="Parameter of the question; can be repeated."
)
@options.store_option
@options.storage_option
@options.format_option
@options.out_option
def command(
    question: str,
    parameters: tuple[str, ...],
    store: str | None,
    storage_options: dict[str, str],
    format_: str,
    out: Path | None,
) -> None:
    """Answer a QUESTION, which is one of `probestore list queries` or a .sql file of your own.

    \b
    Example:  probestore query transfer_correlation -p setting=fixed --format markdown
    """
    from queries.asking.database import connect
    from queries.asking.hints import refuse_negative, unknown_values

    values = dict(options.key_value(text) for text in parameters)
    with connect(store or options.DEFAULT_STORE, storage_options=storage_options) as database:
        if question.endswith(".sql"):
            answer = database.run_file(question, **values)
        else:
            refuse_negative(values)
            answer = database.query(question, **values)
            for hint in unknown_values(database, values):
                say(hint)
    write(answer, format_, out)
