"""`probestore rescore`: more metrics from stored predictions."""

from __future__ import annotations

import sys

import click

from cluster.console import options
from cluster.console.running import Place, compute
from cluster.console.terminal import say, say_failures


@click.command()
@click.option(
    "--metric", "metrics", multiple=True, metavar="NAME", help="Metric to add, instead of all; can be repeated."
)
@options.store_option
@options.storage_option
@options.address_option
@options.local_option
@options.retry_option
@options.events_option
def command(
    metrics: tuple[str, ...],
    store: str | None,
    storage_options: dict[str, str],
    address: str | None,
    local: bool,
    retry_failed: bool,
    events: str | None,
) -> None:
    """Add metrics that results lack, from the stored predictions. Nothing is fitted again.

    \b
    Example:  probestore rescore --metric top5 --store demo-store
    """
    from cluster.runs.stored_runs import rescore_stored
    from featurestore import FeatureStore

    opened = FeatureStore.open(store or options.DEFAULT_STORE, storage_options=storage_options)
    summary = compute(
        lambda pool, reporter: rescore_stored(opened, metrics, pool=pool, reporter=reporter, retry_failed=retry_failed),
        Place(address, local),
        opened,
        events,
    )
    if summary.counts["rescored"]:
        say(f"Added {summary.counts['rows']} rows to the results of {summary.counts['rescored']} cells.")
    elif not summary.failures:
        say("Nothing is missing: every cell whose predictions are stored has all of these metrics that apply to it.")
    say_failures(summary)
    sys.exit(summary.exit_code)
