"""`probestore compact`: the records of finished work in few files."""

from __future__ import annotations

import click

from cluster.console import options
from cluster.console.terminal import say


@click.command()
@options.store_option
@options.storage_option
def command(store: str | None, storage_options: dict[str, str]) -> None:
    """Gather the small files of finished work, such as those of results, into few large ones.

    Nothing else changes: the same answers, from fewer files, which is faster on a machine that has not read them yet
    and costs less on an object store. Runs may go on meanwhile, and the command may be stopped at any time. `probestore
    run` and `probe` do the same at their end when a table has more than 32 files.

    \b
    Example:  probestore compact --store demo-store
    """
    from cluster.console.compacting import in_words
    from featurestore import FeatureStore
    from featurestore.care.compact import compact

    opened = FeatureStore.open(store or options.DEFAULT_STORE, storage_options=storage_options)
    for line in in_words(compact(opened)):
        say(line)
