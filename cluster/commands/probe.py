"""`probestore probe`: more probes on stored features."""

from __future__ import annotations

import sys
from typing import Any

import click

from cluster.console import options
from cluster.console.outcome import show_outcome
from cluster.console.running import Place, compute
from cluster.console.terminal import say, say_summary
from featurestore.plain_text import shell_command


@click.command()
@click.option("--probe", "probes", multiple=True, required=True, metavar="NAME", help="Probe to fit; can be repeated.")
@click.option("--solver", default="auto", show_default=True, metavar="NAME", help="Solver of the probes that need one.")
@click.option(
    "--n-per-class",
    multiple=True,
    type=int,
    metavar="N",
    help="Training images per class of a few-shot task; can be repeated. The task with all images is always wanted.",
)
@click.option(
    "--few-shot-seeds", default=3, show_default=True, metavar="K", help="Number of draws of each few-shot task."
)
@click.option("--seed", default=0, show_default=True, metavar="N", help="Seed of the fits on all training images.")
@click.option(
    "-o",
    "--option",
    "texts",
    multiple=True,
    metavar="NAME.OPTION=JSON",
    help="Option of a probe, as in [probe.NAME] of a study; can be repeated. `probestore list probes` shows them.",
)
@options.store_option
@options.storage_option
@options.address_option
@options.local_option
@options.retry_option
@options.events_option
def command(
    probes: tuple[str, ...],
    texts: tuple[str, ...],
    store: str | None,
    storage_options: dict[str, str],
    address: str | None,
    local: bool,
    retry_failed: bool,
    events: str | None,
    **keys: Any,
) -> None:
    """Fit probes on every model and dataset whose features the store holds.

    The command needs no image, no network and no study file. It reads features, and computes only the results that are
    missing.

    \b
    Example:  probestore probe --probe knn --n-per-class 5 -o knn.temperature=0.1 --store demo-store
    """
    from cluster.console.compacting import compact_if_due
    from cluster.study.probe_settings import probe_settings
    from featurestore import FeatureStore

    settings = probe_settings(probes=list(probes), options=texts, **keys)
    opened = FeatureStore.open(store or options.DEFAULT_STORE, storage_options=storage_options)
    from cluster.runs.stored_runs import add_probes
    from probes import methods

    say(f"Probes {', '.join(probes)} in the store {opened.uri}")
    summary = compute(
        lambda pool, reporter: add_probes(settings, opened, pool=pool, reporter=reporter, retry_failed=retry_failed),
        Place(address, local),
        opened,
        events,
    )
    say_summary(summary, opened, of="this choice of probes")
    compact_if_due(opened)
    show_outcome(opened, leaderboard=False, computed_features=False)
    scoring = [name for name in probes if methods.predicts(name)]
    question = ("leaderboard", "-p", f"probe={scoring[0]}") if scoring else ("cheap_scores",)
    say(f"Next:  {shell_command('probestore', 'query', *question, '--store', opened.uri)}")
    sys.exit(summary.exit_code)
