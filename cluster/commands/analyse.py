"""`probestore analyse`: analysis of stored features."""

from __future__ import annotations

import sys

import click

from cluster.console import options
from cluster.console.running import Place, compute
from cluster.console.terminal import say, say_failures
from featurestore.plain_text import counted, shell_command


@click.command()
@click.option(
    "--model", "models", multiple=True, metavar="NAME", help="A model to analyse, instead of all; can be repeated."
)
@options.store_option
@options.storage_option
@options.address_option
@options.local_option
@options.retry_option
@options.events_option
def command(
    models: tuple[str, ...],
    store: str | None,
    storage_options: dict[str, str],
    address: str | None,
    local: bool,
    retry_failed: bool,
    events: str | None,
) -> None:
    """Find copies of test images among the training images, measure features, and compare models by them.

    The command needs no image and no network, and computes nothing twice. `probestore query` answers the questions
    leaks, representations and similarity from the result.

    \b
    Example:  probestore analyse --store demo-store
    """
    from cluster.runs.stored_runs import analyse_stored
    from featurestore import FeatureStore

    opened = FeatureStore.open(store or options.DEFAULT_STORE, storage_options=storage_options)
    summary = compute(
        lambda pool, reporter: analyse_stored(opened, models, pool=pool, reporter=reporter, retry_failed=retry_failed),
        Place(address, local),
        opened,
        events,
    )
    measured, compared = summary.counts["measured"], summary.counts["compared"]
    if measured or compared:
        pairs, datasets = counted(measured, "pair"), counted(compared, "dataset")
        say(f"Measured {pairs} of a model and a dataset, and compared the models on {datasets}.")
    elif not summary.failures:
        say("Nothing is missing: all stored features have been analysed.")
    say_failures(summary)
    say(f"Next:  {shell_command('probestore', 'query', 'leaks', '--store', opened.uri)}")
    sys.exit(summary.exit_code)
