"""`probestore demo`: a whole study from installed packages."""

from __future__ import annotations

import sys
from importlib import resources
from pathlib import Path

import click

from cluster.console import options
from cluster.console.outcome import show_outcome
from cluster.console.running import Place, execute
from cluster.console.terminal import say, say_summary
from featurestore.given_files import given_path
from featurestore.plain_text import shell_command


@click.command()
@click.option(
    "--store",
    metavar="URI",
    default="demo-store",
    show_default=True,
    help="Folder or s3://bucket/prefix of the demo's store.",
)
@options.storage_option
@options.address_option
@options.local_option
def command(store: str, storage_options: dict[str, str], address: str | None, local: bool) -> None:
    """Run a study of five real networks on three real image datasets, and write its report.

    The weights and the images come from installed packages. Nothing is downloaded.

    \b
    Example:  probestore demo
    """
    from dataclasses import replace

    from cluster.study.study_file import parse_study
    from queries.report import write_report

    path = resources.files("cluster") / "demo.toml"
    study = replace(parse_study(path.read_text(encoding="utf-8"), Path(str(path))), file="probestore demo")
    summary, opened = execute(study, store, storage_options, Place(address, local), analyse=True)
    say_summary(summary, opened)
    report_path = given_path(store if "://" not in store else ".") / "report.html"
    write_report(opened.uri, report_path, storage_options=storage_options)
    show_outcome(opened)
    sql = "select probe, model, avg(probability) from predictions group by all"
    say(
        f"The report: {report_path}\n\n"
        "Three commands to try next:\n"
        f"  {shell_command('probestore', 'query', 'transfer_correlation', '--store', store)}\n"
        f"  {shell_command('probestore', 'sql', sql, '--store', store)}\n"
        "  probestore run study.toml        # your own models and data; README.md shows such a file"
    )
    sys.exit(summary.exit_code)
