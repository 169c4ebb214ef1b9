"""`probestore list`: models, datasets, probes and the like that can be named."""

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
    """List everything of a KIND: models, datasets, probes, queries, ...

    A study can also name models that are not listed: timm:NAME, torchvision:NAME/WEIGHTS and python:MODULE:FUNCTION. A
    [[dataset]] entry can have the source image_folder:FOLDER or parquet:FOLDER.

    \b
    Example:  probestore list models
    """
    from cluster.console.listings import KINDS

    write(KINDS[kind](), format_, out)
