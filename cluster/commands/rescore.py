"""More metrics from stored predictions."""

from __future__ import annotations

import click

from cluster.console import options
from cluster.console.terminal import say


@click.command()
@click.option("--metric", "metrics", multiple=True, metavar="NAME", help="The only metrics to add; can be repeated.")
@options.store_option
@options.storage_option
def command(metrics: tuple[str, ...], store: str | None, storage_options: dict[str, str]) -> None:
    """Add the metrics that results lack, from the stored predictions; nothing is fitted again.

    \b
    Example:  probestore rescore --metric top5 --store demo-store
    """
    from featurestore import FeatureStore
    from probes.cells.rescore import rescore as add_metrics

    added = add_metrics(FeatureStore.open(store or options.DEFAULT_STORE, storage_options=storage_options), metrics)
    if added.cells:
        say(f"Added {added.rows} rows to the results of {added.cells} cells.")
    else:
        say("Nothing is missing: every cell whose predictions are stored has these metrics, as far as they apply.")
