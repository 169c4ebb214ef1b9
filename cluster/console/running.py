"""Parts that all commands share that compute: the store, the pool and the reporters."""

from __future__ import annotations

import os
import sys
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console

from cluster.console.options import DEFAULT_STORE
from cluster.console.terminal import say, write
from featurestore.errors import ConfigurationError, OutputError
from featurestore.plain_text import counted

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from cluster.pool.local_pool import LocalPool
    from cluster.pool.ray_pool import RayPool
    from cluster.reporting.events import Event, Reporter
    from cluster.study.cluster_settings import ClusterSettings
    from cluster.study.study_file import Study
    from cluster.work.ledger import Summary
    from cluster.work.rounds import Pool
    from featurestore import FeatureStore

_MOST_NOTES = 10


def store_of(study: Study, given: str | None) -> str:
    """Return the store of a study: the given one, else its own, else that of the variable, else the default."""
    return given or study.store or os.environ.get("PROBESTORE_STORE") or DEFAULT_STORE


def show_plan(
    study: Study,
    uri: str,
    storage_options: dict[str, str],
    format_: str,
    out: Path | None,
    *,
    measure: bool = False,
    replace: bool = False,
) -> int:
    """Show the plan, and return the exit code: 1 if some of it cannot be done, 2 if nothing can."""
    from cluster.runs.estimate import plan_table, summary_lines
    from cluster.runs.planning import existing_store, plan_study

    store = existing_store(uri, storage_options)
    notes = _Notes()
    rows = plan_study(study, store, measure=measure, replace=replace, reporter=notes)
    write(plan_table(rows), format_, out)
    say(f"Study {study.name}, store {uri}{'' if store else ' (yet to be made)'}")
    for line in [*summary_lines(rows), *notes.lines()]:
        say(line)
    if not any(row.model and row.dataset for row in rows):
        return 2
    return 1 if any(row.problem for row in rows) else 0


class _Notes:
    """A reporter that keeps the notes of a plan."""

    def __init__(self) -> None:
        self._texts: list[str] = []

    def tell(self, event: Event) -> None:
        from cluster.reporting.events import Note

        if isinstance(event, Note):
            self._texts.append(event.text)

    def lines(self) -> list[str]:
        """Return the first of the notes, and where the others are."""
        more = len(self._texts) - _MOST_NOTES
        rest = [f"{counted(more, 'more note')}, which `probestore run` tells, too."] if more > 0 else []
        return self._texts[:_MOST_NOTES] + rest


def execute(
    study: Study,
    uri: str,
    storage_options: dict[str, str],
    place: Place,
    *,
    events: str | None = None,
    retry_failed: bool = False,
    analyse: bool = False,
    replace: bool = False,
    accept_drift: bool = False,
) -> tuple[Summary, FeatureStore]:
    """Run a study in the store at `uri`. The store is made if there is none."""
    from featurestore import FeatureStore

    store = FeatureStore.create(uri, storage_options=storage_options)
    pairs = f"{counted(len(study.models), 'model')} x {counted(len(study.datasets), 'dataset')}"
    say(f"Study {study.name}: {pairs}, store {store.uri}")
    from cluster.runs.study_run import run_study

    summary = compute(
        lambda pool, reporter: run_study(
            study,
            store,
            pool=pool,
            reporter=reporter,
            retry_failed=retry_failed,
            analyse=analyse,
            replace=replace,
            accept_drift=accept_drift,
        ),
        place,
        store,
        events,
        cluster=study.cluster,
    )
    return summary, store


@dataclass(frozen=True)
class Place:
    """A place where work is done: this process, this machine or a cluster.

    Attributes
    ----------
    address : str, optional
        Address of the Ray cluster to join; None starts Ray on this machine.
    local : bool
        Whether work is done in this process instead, without Ray.
    """

    address: str | None = None
    local: bool = False

    def __post_init__(self) -> None:
        if self.local and self.address:
            raise ConfigurationError(
                "--local works in this process, and --address joins a cluster: give one of them. Got --local and "
                f"--address {self.address}."
            )

    def pool(self, store: FeatureStore, cluster: ClusterSettings | None) -> LocalPool | RayPool:
        """Return a pool. It starts nothing before it gets work."""
        if store.uri.startswith("memory:") and not self.local:
            raise ConfigurationError(
                f"A store in the memory of one process cannot be seen by workers. Got {store.uri}. Add --local, or "
                "give a folder or a bucket with --store."
            )
        if self.local:
            from cluster.pool.local_pool import LocalPool

            return LocalPool(cluster=cluster)
        from cluster.pool.ray_pool import RayPool

        return RayPool(self.address, cluster=cluster, store=store)


def compute(
    work: Callable[[Pool, Reporter], Summary],
    place: Place,
    store: FeatureStore,
    events: str | None,
    *,
    cluster: ClusterSettings | None = None,
) -> Summary:
    """Call `work` with a pool and a reporter that writes to the terminal and to the file `events`."""
    from queries.asking.database import check_engine

    check_engine()
    with _reporter(events) as reporter, place.pool(store, cluster) as pool:
        return work(pool, reporter)


@contextmanager
def _reporter(events: str | None) -> Iterator[Reporter]:
    from cluster.reporting.events import EventLines, Note, Reporters
    from cluster.reporting.progress import reporter_for

    screen = reporter_for(Console(stderr=True))
    if events is None:
        yield screen
        return
    losses: list[OSError] = []

    def lost(error: OSError) -> None:
        losses.append(error)
        screen.tell(Note(f"No more events are written to {events}, but the run goes on: {error.strerror or error}."))

    stream = sys.stdout if events == "-" else Path(events).open("a", encoding="utf-8")  # noqa: SIM115 - see below
    try:
        yield Reporters(screen, EventLines(stream, lost))
    finally:
        if events != "-":
            with suppress(OSError):  # that was said
                stream.close()
    if losses and not isinstance(losses[0], BrokenPipeError):
        raise OutputError(
            f"Not all events could be written to {events}: {losses[0].strerror or losses[0]}. The run itself went to "
            "its end, and its work is stored."
        )
