"""`probestore report`: one HTML page."""

from __future__ import annotations

from pathlib import Path

import click

from cluster.console import options
from cluster.console.terminal import say


@click.command()
@options.store_option
@options.storage_option
@click.option(
    "--out", type=click.Path(path_type=Path), default=Path("report.html"), show_default=True, help="File of the page."
)
@click.option("--charts", type=click.Path(path_type=Path), help="Folder that the charts are written to, too.")
@click.option(
    "--charts-format", type=click.Choice(["svg", "png"]), default="svg", show_default=True, help="Format of --charts."
)
def command(
    store: str | None, storage_options: dict[str, str], out: Path, charts: Path | None, charts_format: str
) -> None:
    """Write one HTML page that opens without a network: the answer, its uncertainty, and the evidence.

    \b
    Example:  probestore report --store demo-store --out report.html --charts figures
    """
    from queries.report import write_report

    uri = store or options.DEFAULT_STORE
    write_report(uri, out, charts_dir=charts, charts_format=charts_format, storage_options=storage_options)
    say(f"The report is {out}")
