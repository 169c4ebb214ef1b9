"""Few-shot tasks: index sets over stored rows, so that nothing is extracted for them."""

from __future__ import annotations

import dataclasses

import numpy as np
from numpy.typing import NDArray

from featurestore.errors import ProbeError
from probes.fitting.task import Task
from probes.objective import Labels


def few_shot(task: Task, n_per_class: int, seed: int) -> Task:
    """Draw `n_per_class` training images of every class, and at most as many validation images.

    A probe chooses on those validation images and learns from the training images alone, so it is told the labels of at
    most 2 n images per class and fitted on n. Draws are nested: those of 5 per class are among those of 10, which makes
    a curve over n smoother than its points.

    Raises
    ------
    ProbeError
        If images can have several labels, or a class has fewer training images.
    """
    if task.multilabel:
        raise ProbeError("A few-shot task needs one label per image; here they can have several.")
    rng = np.random.default_rng(seed)
    train = _draw(task.train[1], task.n_classes, n_per_class, rng)
    val = _draw(task.val[1], task.n_classes, n_per_class, rng)
    if len(train) < n_per_class * task.n_classes:
        fewest = int(np.bincount(task.train[1], minlength=task.n_classes).min())
        raise ProbeError(
            f"n_per_class must be at most the training images of the smallest class, {fewest}. Got {n_per_class}."
        )
    rows = np.concatenate([train, task.n_train + val])
    return dataclasses.replace(task, X=task.X[rows], y=task.y[rows], n_train=len(train), refit_on_validation=False)


def _draw(y: Labels, n_classes: int, n_per_class: int, rng: np.random.Generator) -> NDArray[np.intp]:
    """Rows of up to `n_per_class` images of each class, in a random order that does not depend on how many."""
    order = rng.permutation(len(y))
    of_class = (order[y[order] == k][:n_per_class] for k in range(n_classes))
    return np.concatenate(list(of_class))
