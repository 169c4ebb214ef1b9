"""The study of `make demo`."""

from __future__ import annotations

import sys
from importlib import resources
from pathlib import Path

import click

from cluster.console import options
from cluster.console.running import Place, execute
from cluster.console.terminal import say, say_summary, show_leaderboard


@click.command()
@click.option("--store", metavar="URI", default="demo-store", show_default=True, help="Where to keep the demo's store.")
@options.storage_option
@options.address_option
@options.local_option
def command(store: str, storage_options: dict[str, str], address: str | None, local: bool) -> None:
    """Five real networks on three real image datasets, from packages alone: features, probes, SQL and a report.

    \b
    Example:  probestore demo
    """
    from cluster.study.study_file import parse_study
    from queries.report import write_report

    path = resources.files("cluster") / "demo.toml"
    study = parse_study(path.read_text(encoding="utf-8"), Path(str(path)))
    summary, opened = execute(study, store, storage_options, Place(address, local), analyse=True)
    say_summary(summary, opened)
    report_path = Path(store if "://" not in store else ".") / "report.html"
    write_report(opened.uri, report_path, storage_options=storage_options)
    show_leaderboard(opened)
    say(
        f"The report: {report_path}\n\n"
        "Three commands to try next:\n"
        f"  probestore query transfer_correlation --store {store}\n"
        f'  probestore sql "select probe, model, avg(probability) from predictions group by all" --store {store}\n'
        "  probestore run study.toml        # your own models and data: the README shows the file"
    )
    sys.exit(1 if summary.failures else 0)
