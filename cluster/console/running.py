"""What commands that compute share: a store, a runtime, and reporters of what happens."""

from __future__ import annotations

import os
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console

from cluster.console.options import DEFAULT_STORE
from cluster.console.terminal import say, write

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from cluster.pool.runtime import Runtime
    from cluster.reporting.events import Reporter
    from cluster.study.study_file import Study
    from cluster.work.ledger import Summary
    from featurestore import FeatureStore


def store_of(study: Study, given: str | None) -> str:
    """Where a study is kept: what was given, else what it says itself, else the variable, else the default."""
    return given or study.store or os.environ.get("PROBESTORE_STORE") or DEFAULT_STORE


def show_plan(study: Study, uri: str, storage_options: dict[str, str], format_: str, out: Path | None) -> None:
    """Show the plan and end: with exit code 1 if some of it cannot be done."""
    from cluster.runs.estimate import plan_table, summary_lines
    from cluster.runs.planning import existing_store, plan_study

    store = existing_store(uri, storage_options)
    rows = plan_study(study, store)
    write(plan_table(rows), format_, out)
    say(f"Study {study.name}, store {uri}{'' if store else ' (yet to be made)'}")
    for line in summary_lines(rows):
        say(line)
    sys.exit(1 if any(row.problem for row in rows) else 0)


def execute(
    study: Study,
    uri: str,
    storage_options: dict[str, str],
    address: str | None,
    *,
    events: str | None = None,
    retry_failed: bool = False,
) -> tuple[Summary, FeatureStore]:
    """Run a study in the store at `uri`, which is made if need be."""
    from featurestore import FeatureStore

    store = FeatureStore.create(uri, storage_options=storage_options)
    say(f"Study {study.name}: {len(study.models)} models x {len(study.datasets)} datasets, store {store.uri}")
    from cluster.runs.study_run import run_study

    summary = compute(
        lambda runtime, reporter: run_study(
            study, store, runtime=runtime, reporter=reporter, retry_failed=retry_failed
        ),
        events,
        address=address,
        store=store,
        cluster=study.cluster,
    )
    return summary, store


def compute(work: Callable[[Runtime, Reporter], Summary], events: str | None, **runtime: Any) -> Summary:
    """Do `work` with a `Runtime` of these arguments, and tell of it on the terminal and in the file `events`."""
    from cluster.pool.runtime import Runtime

    with _reporter(events) as reporter, Runtime(**runtime) as started:
        return work(started, reporter)


@contextmanager
def _reporter(events: str | None) -> Iterator[Reporter]:
    from cluster.reporting.events import EventLines, Reporters
    from cluster.reporting.progress import reporter_for

    screen = reporter_for(Console(stderr=True))
    if events is None:
        yield screen
    elif events == "-":
        yield Reporters(screen, EventLines(sys.stdout))
    else:
        with Path(events).open("a", encoding="utf-8") as stream:
            yield Reporters(screen, EventLines(stream))
