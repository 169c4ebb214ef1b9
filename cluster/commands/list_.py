"""What there is of a kind."""

from __future__ import annotations

from pathlib import Path

import click

from cluster.console import options
from cluster.console.terminal import write

_KINDS = ("models", "datasets", "probes", "solvers", "metrics", "backbones", "sources", "queries", "plugins")


@click.command("list")
@click.argument("kind", type=click.Choice(list(_KINDS)))
@options.format_option
@options.out_option
def command(kind: str, format_: str, out: Path | None) -> None:
    """Show what there is of a KIND: models, datasets, probes, queries, ...

    Beside the models listed, a study can name timm:NAME, torchvision:NAME/WEIGHTS and python:MODULE:FUNCTION; beside
    the datasets, image_folder:FOLDER and parquet:FOLDER.

    \b
    Example:  probestore list models
    """
    from cluster.console.listings import KINDS

    write(KINDS[kind](), format_, out)
