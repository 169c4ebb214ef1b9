"""`probestore run`: compute what a study wants."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from cluster.console import options
from cluster.console.outcome import show_outcome
from cluster.console.running import Place, execute, show_plan, store_of
from cluster.console.terminal import say, say_summary
from featurestore.plain_text import shell_command


@click.command()
@options.study_argument
@options.study_store_option
@options.storage_option
@options.address_option
@options.local_option
@options.strict_option
@options.retry_option
@options.replace_option
@options.accept_drift_option
@options.events_option
@click.option("--dry-run", is_flag=True, help="Show what is missing, as `probestore plan` does, and compute nothing.")
def command(
    study: Path,
    store: str | None,
    storage_options: dict[str, str],
    address: str | None,
    local: bool,
    strict: bool,
    retry_failed: bool,
    replace: bool,
    accept_drift: bool,
    events: str | None,
    dry_run: bool,
) -> None:
    """Compute everything that STUDY (a TOML file) wants and the store does not have.

    You can stop the command at any time, kill it, or change the study: the next run computes what is missing, and
    nothing else. A store knows a study by its name: another file of the name, with other wishes, is refused without
    --replace. Work that failed for a reason of its own is tried again when something that it depends on has changed,
    or with --retry-failed.

    \b
    Example:  probestore run study.toml --store s3://bucket/pets --address auto
    """
    import dataclasses

    from cluster.console.compacting import compact_if_due
    from cluster.study.study_file import read_study

    parsed = read_study(study)
    if strict:
        parsed = dataclasses.replace(parsed, extract=dataclasses.replace(parsed.extract, strict=True))
    uri = store_of(parsed, store)
    if dry_run:
        sys.exit(show_plan(parsed, uri, storage_options, "table", None, replace=replace))
    place = Place(address, local)
    summary, opened = execute(
        parsed,
        uri,
        storage_options,
        place,
        events=events,
        retry_failed=retry_failed,
        replace=replace,
        accept_drift=accept_drift,
    )
    say_summary(summary, opened)
    compact_if_due(opened)
    if summary.counts["cells_wanted"]:
        # With `--events -`, standard output is theirs.
        show_outcome(opened, leaderboard=events != "-", computed_features=summary.counts["passes"] > 0)
        say(f"Next:  {shell_command('probestore', 'query', 'leaderboard', '--store', uri)}")
        say(f"       {shell_command('probestore', 'report', '--store', uri, '--out', 'report.html')}")
    sys.exit(summary.exit_code)
