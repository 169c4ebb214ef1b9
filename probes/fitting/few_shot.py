"""Few-shot tasks: learning tasks with few images per class, drawn from the features that are stored."""

from __future__ import annotations

import dataclasses

import numpy as np
from numpy.typing import NDArray

from featurestore.errors import ProbeError
from probes.fitting.learning_task import LearningTask
from probes.objective import Labels


def few_shot(task: LearningTask, n_per_class: int, seed: int) -> LearningTask:
    """Draw `n_per_class` training images of every class, and at most as many validation images.

    With n = `n_per_class`, the hyper-parameter is chosen on at most n validation images per class, and the probe is
    fitted on the n training images per class alone. A class with fewer images gives all of them. Draws of the same seed
    are nested: the images of n = 5 are among those of n = 10, so that a curve over n is smooth.

    Raises
    ------
    ProbeError
        If images can have several labels.
    """
    if task.multilabel:
        raise ProbeError("A few-shot task needs one label per image. Got images that can have several labels.")
    rng = np.random.default_rng(seed)
    train = _draw(task.train[1], task.n_classes, n_per_class, rng)
    val = _draw(task.val[1], task.n_classes, n_per_class, rng)
    rows = np.concatenate([train, task.n_train + val])
    return dataclasses.replace(task, X=task.X[rows], y=task.y[rows], n_train=len(train), refit_on_validation=False)


def _draw(y: Labels, n_classes: int, n_per_class: int, rng: np.random.Generator) -> NDArray[np.intp]:
    """Draw the rows of up to `n_per_class` images of each class. A larger number draws the same rows, then more."""
    order = rng.permutation(len(y))
    of_class = (order[y[order] == k][:n_per_class] for k in range(n_classes))
    return np.concatenate(list(of_class))
