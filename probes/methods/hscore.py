"""H-score: how far apart the class means are, measured by the covariance of the features; nothing is trained.

Let C be the covariance of the features (n, n_features), and B the covariance of the class means, where each mean counts
as often as its class has images:

    H = tr(C⁻¹ B) = Σ_c f_c (m_c − m)ᵀ C⁻¹ (m_c − m),      f_c the share of class c,

H lies between 0 and n_classes − 1; larger is better. C⁻¹ is a pseudo-inverse; with fewer images than features it makes
H the upper limit for any features. The default therefore shrinks C towards a multiple of the identity,

    C_a = (1 − a) C + a (tr C / n_features) I,      H_a = (1 − a) tr(C_a⁻¹ B),

with the a of Ledoit and Wolf. As images are added, a goes to 0 and H_a to H.

Sources: Bao et al., *An Information-Theoretic Approach to Transferability in Task Transfer Learning*, ICIP 2019; the
shrinkage, Ibrahim, Ponomareva and Mazumder, *Newer is not Always Better*, 2021; Ledoit and Wolf, *A Well-Conditioned
Estimator for Large-Dimensional Covariance Matrices*, JMVA 88, 2004.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from featurestore.errors import ProbeError
from probes.fitting.fitted import FittedProbe
from probes.fitting.learning_task import LearningTask
from probes.methods import FitResources
from probes.moments import ROUNDING, class_means, covariance, mean, row_blocks
from probes.objective import Features, Vector, check_data, class_frequencies

HYPERPARAMETER = None
SOLVERS = ()
MULTILABEL = False
PREDICTS = False


@dataclass(frozen=True)
class Options:
    """Settings that change the number.

    Attributes
    ----------
    shrinkage : str
        "ledoit_wolf", or "none" for the H-score of its first definition.
    """

    shrinkage: Literal["ledoit_wolf", "none"] = "ledoit_wolf"


def fit(task: LearningTask, options: Options, resources: FitResources) -> FittedProbe:
    """Measure the features, as `probes.methods.Fit` describes."""
    X, y = task.final
    check_data(X, y, task.n_classes)
    centre = mean(X)
    total = covariance(X, centre)
    variance = float(np.trace(total)) / X.shape[1]
    if not variance > ROUNDING**2 * float(np.mean(centre**2)):
        raise ProbeError("The H-score needs images with different features. Got images that all have the same.")
    shrinkage = _ledoit_wolf(X, centre, total, variance) if options.shrinkage == "ledoit_wolf" else 0.0
    eigenvalues, basis = np.linalg.eigh(total)
    eigenvalues = (1 - shrinkage) * eigenvalues + shrinkage * variance
    kept = eigenvalues > len(centre) * np.finfo(np.float64).eps * eigenvalues[-1]  # the rest is 0 but for rounding
    contrasts = (class_means(X, y, task.n_classes) - centre) @ basis[:, kept]
    distances = np.sum(contrasts**2 / eigenvalues[kept], axis=1)
    value = (1 - shrinkage) * float(class_frequencies(y, task.n_classes) @ distances)
    return FittedProbe(scores=None, measures={"hscore": value})


def _ledoit_wolf(X: Features, centre: Vector, total: Vector, variance: float) -> float:
    """Return the shrinkage a, in [0, 1], whose C_a is expected to be nearest to the covariance that C estimates."""
    fourth = sum(float(np.sum(np.sum((block - centre) ** 2, axis=1) ** 2)) for _, block in row_blocks(X))
    squares = float(np.sum(total**2))
    noise = (fourth / len(X) - squares) / len(X)
    distance = squares - len(centre) * variance**2
    return min(noise / distance, 1.0) if noise > 0 and distance > 0 else float(noise > 0)
