"""`probestore figure`: the figures of the paper, from a store."""

from __future__ import annotations

from pathlib import Path

import click

from cluster.console import options
from cluster.console.terminal import say


@click.command()
@click.argument("number", type=click.IntRange(1, 9))
@options.store_option
@options.storage_option
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    help="File to write: .svg, .pdf or .png (600 dots per inch). [default: figureNUMBER.svg]",
)
@click.option("--data", type=click.Path(path_type=Path), help="File for the numbers of the figure: .csv, .parquet, ...")
@click.option("--probe", default="logistic", show_default=True, help="Probe whose results are drawn.")
@click.option("--tap", default="penultimate", show_default=True, help="Tap that the features come from.")
@click.option("--dataset", help="Dataset of figure 4, or of the one panel of figures 8 and 9.")
@click.option(
    "--model", "models", multiple=True, help="Model of the figure: two for figure 4, one for figures 8 and 9."
)
@click.option("--seed", default=0, show_default=True, help="Seed of bootstrap, draws and t-SNE.")
def command(
    number: int,
    store: str | None,
    storage_options: dict[str, str],
    out: Path | None,
    data: Path | None,
    probe: str,
    tap: str,
    dataset: str | None,
    models: tuple[str, ...],
    seed: int,
) -> None:
    """Draw figure NUMBER of the paper from the store, in the width of a journal's column or page: 84 or 174 mm.

    \b
    1  transfer against source accuracy: mean over datasets
    2  the same in every setting, dataset by dataset
    3  regularisers of source training, fixed features
    4  features of ten classes under two models (t-SNE)
    5  regularisers of source training, fine-tuned
    6  the settings, dataset by dataset
    7  fine-tuned against random initialisation
    8  accuracy against training steps
    9  accuracy against training images per class

    \b
    Example:  probestore figure 2 --store demo-store --out figure2.svg
    """
    from queries.asking import formats
    from queries.asking.database import connect
    from queries.drawing.figures.catalogue import draw
    from queries.drawing.figures.choice import Choice

    choice = Choice(probe, tap, dataset, models, seed)
    with connect(store or options.DEFAULT_STORE, storage_options=storage_options) as database:
        figure = draw(number, database, choice)
    path = figure.save(out or Path(f"figure{number}.svg"))
    if data is not None:
        formats.save(figure.data, formats.form_of(data), data)
    for note in figure.notes:
        say(note)
    say(f"{path}: {figure.caption}")
