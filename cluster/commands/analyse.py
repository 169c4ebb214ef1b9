"""What stored features say of themselves."""

from __future__ import annotations

import sys

import click

from cluster.console import options
from cluster.console.terminal import say


@click.command()
@click.option("--model", "models", multiple=True, metavar="NAME", help="The only models to look at; can be repeated.")
@options.store_option
@options.storage_option
def command(models: tuple[str, ...], store: str | None, storage_options: dict[str, str]) -> None:
    """Find copies of test images among the training images, measure features, and compare models by them.

    Needs no image and no network, and computes nothing twice. The answers: `probestore query leaks`, `representations`
    and `similarity`.

    \b
    Example:  probestore analyse --store demo-store
    """
    from cluster.runs.analysing import analyse_stored
    from featurestore import FeatureStore

    opened = FeatureStore.open(store or options.DEFAULT_STORE, storage_options=storage_options)
    done = analyse_stored(opened, models, tell=say)
    if done.measured or done.compared:
        say(f"Measured {done.measured} models on datasets; compared models on {done.compared} datasets.")
    elif not done.failures:
        say("Nothing is missing: all that is stored has been analysed.")
    for what, failure in done.failures:
        say(f"Failed: {what}: {failure.message}")
    say(f"Next:  probestore query leaks --store {opened.uri}")
    sys.exit(1 if done.failures else 0)
