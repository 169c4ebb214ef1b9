"""LEEP: how well the classes that the network was trained on predict the labels; nothing is trained.

From the probabilities θ_iz (n, n_source) that the network's own classifier gives to its classes z,

    P(c, z) = (1/n) Σ_{i: y_i = c} θ_iz,      LEEP = (1/n) Σ_i log Σ_z P(y_i | z) θ_iz,

the mean log-likelihood, in nats, of the labels if z is drawn from θ_i and the label from P(· | z). LEEP is at most 0;
larger is better. The classifier runs twice over blocks of images, so that θ is never held whole.

Source: Nguyen, Hassner, Seeger and Archambeau, *LEEP: A New Measure to Evaluate Transferability of Learned
Representations*, ICML 2020.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import reduce

import numpy as np

from featurestore.errors import ProbeError
from probes.fitting.fitted import FittedProbe
from probes.fitting.learning_task import LearningTask
from probes.methods import FitResources
from probes.moments import BLOCK, indicators
from probes.objective import Vector, check_data

HYPERPARAMETER = None
SOLVERS = ()
MULTILABEL = False
PREDICTS = False
NEEDS_CLASSIFIER = True


@dataclass(frozen=True)
class Options:
    """The probe has no options."""


def fit(task: LearningTask, options: Options, resources: FitResources) -> FittedProbe:
    """Measure the network, as `probes.methods.Fit` describes."""
    Y = indicators(task.final[1], task.n_classes)
    sums = (Y[rows].T.astype(np.float64) @ source for rows, source in source_blocks(task, "LEEP"))
    joint: Vector = reduce(np.add, sums)
    seen = joint.sum(axis=0)
    conditional = np.divide(joint, seen, out=np.zeros_like(joint), where=seen > 0)
    log_likelihood = sum(
        float(np.log(np.sum(source @ conditional.T, axis=1, where=Y[rows])).sum())
        for rows, source in source_blocks(task, "LEEP")
    )
    return FittedProbe(scores=None, measures={"leep": log_likelihood / len(Y)})


def source_blocks(task: LearningTask, measure: str) -> Iterator[tuple[slice, Vector]]:
    """Yield slices of `task.final`, each with its probabilities of the source classes (n_rows, n_source), in float64.

    Raises
    ------
    ProbeError
        If the network has no classifier of its own, or the arrays do not fit each other.
    """
    X, y = task.final
    check_data(X, y, task.n_classes)
    if task.source_probabilities is None:
        raise ProbeError(
            f"{measure} needs the network's own classifier, and the store has none for this network. Leave {measure} "
            "out for it, or use logme or hscore, which need features only."
        )
    for start in range(0, len(X), BLOCK):
        rows = slice(start, start + BLOCK)
        yield rows, np.asarray(task.source_probabilities(X[rows]), dtype=np.float64)
