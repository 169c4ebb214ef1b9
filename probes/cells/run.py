"""Store -> method -> results: fit the probes of one model and dataset, score them on the test images, and commit."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from functools import cache, partial
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import TypeAdapter

from featurestore import Features, FeatureStore
from featurestore.errors import Failure, ProbeError
from featurestore.plain_text import shortly
from featurestore.store.matrices import MatrixCache
from probes import methods, metrics, objective
from probes.cells import results
from probes.cells.likeness import Likeness
from probes.cells.results import Cell, FittedCell, Tested
from probes.fitting.few_shot import few_shot
from probes.fitting.fitted import FittedProbe
from probes.fitting.learning_task import LearningTask
from probes.methods import FitResources
from probes.objective import Labels, Vector, probabilities


@dataclass(frozen=True)
class CellReport:
    """The end of a cell: its key, its seconds, and its failure if it failed."""

    cell: str
    seconds: float
    failure: Failure | None = None


def run_cells(
    store: FeatureStore,
    cells: Sequence[Cell],
    *,
    n_classes: int,
    device: str,
    matrices: MatrixCache | None = None,
    former: Collection[str] = (),
) -> list[CellReport]:
    """Fit and commit cells that share their features. The features are read once.

    A cell that fails is reported; the other cells go on.

    Parameters
    ----------
    cells : sequence of Cell
        Cells of one model and dataset, with equal keys of features.
    n_classes : int
    device : str
        ``"cpu"`` or ``"cuda"``.
    matrices : MatrixCache, optional
        The cache of this node for decoded features, which all its workers share.
    former : collection of str
        Keys of cells whose stored results hold no more. They are kept under another name.

    Raises
    ------
    MissingFeaturesError
        If the features have not been extracted.
    ProbeError
        If a class has no readable training image.
    """
    read = partial(_read, store, cells[0], n_classes=n_classes, matrices=matrices)
    learned = read("train", "val")
    whole = _task(store, cells[0], learned, n_classes)
    likeness = [Likeness.of(X) for X, _ in (whole.train, whole.val)]
    read_test = cache(partial(_read_test, read))
    reports = []
    for cell in cells:
        begin = time.perf_counter()
        failure = None
        try:
            task = whole if cell.n_per_class is None else few_shot(whole, cell.n_per_class, cell.seed)
            fitted = _fitted(cell, task, likeness, read_test, device=device)
            if cell.key in former:
                results.set_aside(store, cell)
            test = read_test()[0] if fitted.tested else None
            digests = [*learned.digests, *(test.digests if test else (None,))]
            made_with = [*learned.made_with, *(test.made_with if test else ())]
            results.publish(store, cell, fitted, features=digests, made_with=made_with)
        except Exception as error:  # one probe may raise anything; the other cells go on
            failure = Failure.of(error)
        reports.append(CellReport(cell.key, time.perf_counter() - begin, failure))
    return reports


def _read(store: FeatureStore, cell: Cell, *splits: str, n_classes: int, matrices: MatrixCache | None) -> Features:
    return store.read(*cell.features.sets(*splits), n_classes=n_classes, cache=matrices)


def _read_test(read: Callable[..., Features]) -> tuple[Features, Likeness | None]:
    images = read("test")
    return images, Likeness.of(images.X)


def _task(store: FeatureStore, cell: Cell, images: Features, n_classes: int) -> LearningTask:
    n_train = images.n_rows[0]
    _check_classes(store, cell, images.y[:n_train], n_classes)
    return LearningTask(
        X=images.X,
        y=images.y,
        n_train=n_train,
        n_classes=n_classes,
        metric=cell.metric,
        source_probabilities=_source_probabilities(store, cell.model_key),
    )


def _source_probabilities(store: FeatureStore, model_key: str) -> Callable[[objective.Features], Vector] | None:
    """Return the network's own classifier: features -> probabilities. It is read when a probe first calls it."""
    if not store.has_record("heads", model_key):
        return None
    head = cache(partial(_head, store, model_key))
    return lambda X: probabilities(X, *head(), multilabel=False)


def _head(store: FeatureStore, model_key: str) -> tuple[Vector, Vector]:
    """Read the classifier: weights (n_source_classes, n_features) and biases (n_source_classes,)."""
    rows = store.read_record("heads", model_key)
    weight: NDArray[np.float32] = rows.column("weight").combine_chunks().flatten().to_numpy()
    coef = weight.reshape(len(rows), -1).astype(np.float64)
    return coef, rows.column("bias").to_numpy().astype(np.float64)


def _fitted(
    cell: Cell,
    task: LearningTask,
    likeness: Sequence[Likeness | None],
    read_test: Callable[[], tuple[Features, Likeness | None]],
    *,
    device: str,
) -> FittedCell:
    begin = time.perf_counter()
    method = methods.load(cell.probe)
    if task.multilabel and not method.MULTILABEL:
        raise ProbeError(f"{cell.probe} needs one label per image. Images of {cell.dataset} can have several.")
    # JSON has no tuples: the types of the fields turn its lists into tuples again.
    options: Any = TypeAdapter(method.Options).validate_json(cell.options)
    probe = method.fit(task, options, FitResources(solver=cell.solver, seed=cell.seed, device=device))
    tested = _test(probe, read_test)
    n_train, n_val = task.n_train, len(task.X) - task.n_train
    return FittedCell(probe, n_train, n_val, likeness, time.perf_counter() - begin, tested)


def _test(probe: FittedProbe, read_test: Callable[[], tuple[Features, Likeness | None]]) -> Tested | None:
    if probe.scores is None:
        return None
    test, likeness = read_test()  # only now, after every choice is made
    if not len(test.X):
        raise ProbeError(
            "A probe is scored on the test images. Got none: all of them are unreadable. "
            "`probestore query skipped_images` shows why."
        )
    scores = probe.scores(test.X)
    names = metrics.names(multilabel=test.y.ndim == 2, probabilistic=probe.probabilistic)
    return Tested(test, scores, {name: metrics.by_name(name)(scores, test.y) for name in names}, likeness)


def _check_classes(store: FeatureStore, cell: Cell, y_train: Labels, n_classes: int) -> None:
    """Raise ProbeError if a class has no training image left, because all of its images are unreadable."""
    counts = y_train.sum(axis=0) if y_train.ndim == 2 else np.bincount(y_train, minlength=n_classes)
    missing = np.flatnonzero(counts == 0)
    if missing.size:
        raise ProbeError(
            f"{missing.size} of the {n_classes} classes of {cell.dataset} have no readable training image: "
            f"{_class_names(store, cell, missing)}. `probestore query skipped_images` shows why."
        )


def _class_names(store: FeatureStore, cell: Cell, classes: NDArray[np.int64]) -> str:
    """Return the names of classes; their numbers where the store has no record of the dataset."""
    known = store.has_record("datasets", cell.dataset)
    names = store.read_record("datasets", cell.dataset)["class_names"][0].as_py() if known else []
    return shortly([repr(names[label]) if label < len(names) else f"class {label}" for label in classes.tolist()])
