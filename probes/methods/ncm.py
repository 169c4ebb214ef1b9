"""Nearest class mean; nothing is trained and nothing chosen.

The score of class c is minus the squared distance to the mean of its images, −||x − m_c||². Before that, each x is
divided by its Euclidean norm, so that the score is 2 ||m_c|| cos(x, m_c) − ||m_c||² − 1. Scores (n, n_classes) are no
probabilities. A class without images has a score of −∞.

Sources: Mensink et al., *Distance-Based Image Classification*, PAMI 35, 2013; Snell, Swersky and Zemel, *Prototypical
Networks for Few-Shot Learning*, NeurIPS 2017; the unit rows, Wang et al., *SimpleShot*, 2019 (its L2N).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from probes.fitting.fitted import FittedProbe
from probes.fitting.learning_task import LearningTask
from probes.methods import FitResources
from probes.moments import by_blocks, class_means
from probes.objective import Features, Vector, check_data, class_frequencies
from probes.scaling import Scaling, scaler

HYPERPARAMETER = None
SOLVERS = ()
MULTILABEL = False


@dataclass(frozen=True)
class Options:
    """Settings that change the numbers.

    Attributes
    ----------
    scaling : str
        One of `probes.scaling.Scaling`. "unit" divides each x by its norm; "none" takes the features unchanged.
    """

    scaling: Scaling = "unit"


def fit(task: LearningTask, options: Options, resources: FitResources) -> FittedProbe:
    """Average the images of each class, as `probes.methods.Fit` describes."""
    X, y = task.final
    check_data(X, y, task.n_classes)
    scale = scaler(options.scaling, task.train[0])
    prototypes = class_means(scale(X), y, task.n_classes)
    shown = class_frequencies(y, task.n_classes) > 0

    def closeness(block: Vector) -> Vector:
        squared = np.sum(block**2, axis=1)[:, None] - 2 * block @ prototypes.T + np.sum(prototypes**2, axis=1)
        return np.where(shown, -squared, -np.inf)

    def scores(X: Features) -> Vector:
        return by_blocks(closeness, scale(X))

    return FittedProbe(scores=scores, probabilistic=False)
