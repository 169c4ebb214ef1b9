"""The probe stage: the cells that a store lacks, fitted on workers from stored features."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import groupby
from typing import Any

from cluster.ledger import Ledger
from cluster.probe_settings import ProbeSettings
from cluster.progress import Reporter
from cluster.runtime import Runtime
from cluster.tasks import ProbeTask
from cluster.wanted_cells import Pair, cells_of, left_out
from featurestore import FeatureStore
from featurestore.errors import Failure


def with_classifiers(pairs: Iterable[Pair], store: FeatureStore) -> list[Pair]:
    """The pairs, whose features are stored, with what is known since: whether the network's classifier was kept."""
    kept = store.names("heads")
    return [replace(pair, classifier=pair.model_key in kept) for pair in pairs]


def run_probes(
    pairs: Sequence[Pair],
    settings: ProbeSettings,
    store: FeatureStore,
    *,
    ledger: Ledger,
    runtime: Runtime,
    reporter: Reporter,
) -> None:
    """Fit whatever `settings` want of pairs whose features are stored and the store does not have."""
    for note in left_out(pairs, settings):
        reporter.note(note)
    tasks = list(_tasks(pairs, settings, store))
    if not tasks:
        return
    runtime.run_stage(
        ("probes", sum(len(task.cells) for task in tasks), "cells"),
        tasks,
        on_result=lambda task, result: _probed(task, result, ledger, reporter),
        describe=lambda task: f"{task.cells[0].probe} of {task.cells[0].model} on {task.cells[0].dataset}",
        reporter=reporter,
    )


def _tasks(pairs: Iterable[Pair], settings: ProbeSettings, store: FeatureStore) -> Iterator[ProbeTask]:
    """A task per pair and probe: small enough to spread over many workers, large enough to read features once."""
    done = store.names("results")
    for pair in pairs:
        missing = [cell for cell in cells_of(pair, settings) if cell.key not in done]
        for _, cells in groupby(missing, key=lambda cell: cell.probe):
            yield ProbeTask(store.uri, tuple(cells), pair.n_classes)


def _probed(task: ProbeTask, result: Any, ledger: Ledger, reporter: Reporter) -> None:
    reporter.advance(len(task.cells))
    failures = (
        {cell.key: result for cell in task.cells}
        if isinstance(result, Failure)
        else {report.cell: report.failure for report in result if report.failure}
    )
    ledger.summary.cells += len(task.cells) - len(failures)
    for cell in task.cells:
        if failure := failures.get(cell.key):
            ledger.fail("probe", failure, model=cell.model, dataset=cell.dataset, cell=cell.key)
