"""Store -> method -> results: fit the probes of one model and dataset, score them on the test images, commit."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from featurestore import Features, FeatureSet, FeatureStore
from featurestore.errors import Failure, ProbeError
from probes import methods, metrics, results
from probes.results import Cell, Sizes


@dataclass(frozen=True)
class CellReport:
    """What became of a cell; a few numbers, whatever the size of the features."""

    cell: str
    seconds: float
    failure: Failure | None = None


def run_cells(store: FeatureStore, cells: Sequence[Cell], *, n_classes: int, device: str) -> list[CellReport]:
    """Fit and commit cells that share their features, which are read once.

    A cell that raises is reported, and the others go on.

    Parameters
    ----------
    cells : sequence of Cell
        Of one model and dataset, with equal feature keys.
    n_classes : int
    device : str
        ``"cpu"`` or ``"cuda"``.

    Raises
    ------
    MissingFeaturesError
        If the features have not been extracted.
    """
    train, val = (_read(store, cells[0], split, n_classes) for split in ("train", "val"))
    reports = []
    for cell in cells:
        begin = time.perf_counter()
        failure = None
        try:
            _run_cell(store, cell, train, val, n_classes=n_classes, device=device)
        except Exception as error:  # whatever a probe raises is its own failure, not that of the others
            failure = Failure.of(error)
        reports.append(CellReport(cell.key, time.perf_counter() - begin, failure))
    return reports


def _run_cell(store: FeatureStore, cell: Cell, train: Features, val: Features, *, n_classes: int, device: str) -> None:
    begin = time.perf_counter()
    _check_classes(cell, train, n_classes)
    probe = methods.load(cell.probe).fit(
        train.X,
        train.y,
        val.X,
        val.y,
        n_classes=n_classes,
        metric=cell.metric,
        solver=cell.solver,
        seed=cell.seed,
        device=device,
    )
    test = _read(store, cell, "test", n_classes)  # only now, when nothing is left to choose
    test_scores = probe.scores(test.X)
    scores = {name: metrics.by_name(name)(test_scores, test.y) for name in metrics.names(multilabel=test.y.ndim == 2)}
    sizes = Sizes(len(train.X), len(val.X), len(test.X))
    results.publish(store, cell, probe, scores, test, test_scores, sizes, time.perf_counter() - begin)


def _read(store: FeatureStore, cell: Cell, split: str, n_classes: int) -> Features:
    key: str = getattr(cell, f"{split}_key")
    features = store.read(FeatureSet(cell.model, cell.dataset, split, key), n_classes=n_classes)
    if not len(features.X):
        raise ProbeError(
            f"None of the {split} images of {cell.dataset} is readable: see probestore query skipped_images."
        )
    return features


def _check_classes(cell: Cell, train: Features, n_classes: int) -> None:
    """Every class had a training image when the dataset was opened; the unreadable ones have been left out since."""
    counts = train.y.sum(axis=0) if train.y.ndim == 2 else np.bincount(train.y, minlength=n_classes)
    missing = np.flatnonzero(counts == 0)
    if missing.size:
        raise ProbeError(
            f"{missing.size} of the {n_classes} classes of {cell.dataset} have no readable training image, such as "
            f"class {missing[0]}: see probestore query skipped_images."
        )
