"""The probe stage: the cells that a store lacks, fitted on workers from stored features."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import groupby
from typing import Any

from cluster.pool.runtime import Runtime
from cluster.pool.tasks import ProbeTask
from cluster.reporting.events import CellDone, Note, Part, Reporter, StageStarted, skip_stage
from cluster.study.probe_settings import ProbeSettings
from cluster.work.ledger import Ledger, attempt_key
from cluster.work.wanted_cells import Pair, cells_of, left_out
from featurestore import FeatureStore
from featurestore.errors import Failure
from featurestore.networks.taps import CLASSIFIER_INPUTS
from probes.cells.results import Cell
from probes.cells.run import CellReport


def with_classifiers(pairs: Iterable[Pair], store: FeatureStore) -> list[Pair]:
    """The pairs, whose features are stored, with what is known since: whether the network's classifier was kept.

    It sees the penultimate features, and has nothing to say of those of another tap.
    """
    kept = store.names("heads")
    return [replace(pair, classifier=pair.model_key in kept and pair.tap in CLASSIFIER_INPUTS) for pair in pairs]


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
        reporter.tell(Note(note))
    done = store.names("results")
    tasks = list(_tasks(pairs, settings, store, done, ledger))
    stage = StageStarted(
        "probes", sum(len(task.cells) for task in tasks), "cells", "cells", _parts(pairs, settings, done)
    )
    if not tasks:
        skip_stage(reporter, stage)
        return
    runtime.run_stage(
        stage,
        tasks,
        on_result=lambda task, result, node: _probed(task, result, node, ledger, reporter),
        describe=lambda task: f"{task.cells[0].probe} of {task.cells[0].model} on {task.cells[0].dataset}",
        reporter=reporter,
        role="probe",
    )


def _tasks(
    pairs: Iterable[Pair], settings: ProbeSettings, store: FeatureStore, done: Collection[str], ledger: Ledger
) -> Iterator[ProbeTask]:
    """A task per pair and probe: small enough to spread over many workers, large enough to read features once."""
    for pair in pairs:
        missing = [cell for cell in cells_of(pair, settings) if cell.key not in done and not _left_alone(cell, ledger)]
        for _, cells in groupby(missing, key=lambda cell: cell.probe):
            yield ProbeTask(store.uri, tuple(cells), pair.n_classes, store.storage_options)


def _left_alone(cell: Cell, ledger: Ledger) -> bool:
    """Whether a cell failed before and would again."""
    if not ledger.remembers(key := attempt_key(cell.key)):
        return False
    ledger.leave_alone(key)
    return True


def _parts(pairs: Iterable[Pair], settings: ProbeSettings, done: Collection[str]) -> tuple[Part, ...]:
    """How many cells are wanted of every model and dataset, and how many are there."""
    keys = {pair: [cell.key for cell in cells_of(pair, settings)] for pair in pairs}
    return tuple(
        Part(pair.model, pair.tap, pair.dataset, None, len(own), sum(key in done for key in own))
        for pair, own in keys.items()
    )


def _probed(task: ProbeTask, result: Any, node: str, ledger: Ledger, reporter: Reporter) -> None:
    reports = [CellReport(cell.key, 0.0, result) for cell in task.cells] if isinstance(result, Failure) else result
    by_key = {report.cell: report for report in reports}
    for cell in task.cells:
        report = by_key[cell.key]
        place = {"model": cell.model, "tap": cell.tap, "dataset": cell.dataset, "cell": cell.key}
        if report.failure:
            ledger.fail("probe", report.failure, **place, key=attempt_key(cell.key))
        else:
            ledger.summary.cells += 1
        failed = report.failure is not None
        reporter.tell(CellDone(**place, probe=cell.probe, seconds=report.seconds, node=node, failed=failed))
