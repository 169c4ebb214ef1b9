"""LogME: the log evidence of a Bayesian linear model from the features to the labels; nothing is trained on them.

For features X (n, d) and one column y of the indicators (n, n_classes), y = X w + noise with w ~ N(0, I/α) and noise ~
N(0, I/β); there is no bias. LogME is the logarithm of the evidence p(y | X, α, β), maximised over α and β, per image
and averaged over classes:

    log p = (n log β + d log α − log det A − β ||X m − y||² − α ||m||² − n log 2π) / 2,
    A = α I + β XᵀX,  m = β A⁻¹ Xᵀy.

In the eigenbasis of XᵀX (σ_j; z = Vᵀ Xᵀ y) everything depends on t = α/β alone, and

    γ = Σ_j σ_j/(σ_j + t),    α = γ / ||m||²,    β = (n − γ) / ||X m − y||²

is repeated until t no longer changes, for all classes together. Classes that all or none of the images have are left
out. Larger is better. Compare values of networks on one dataset only; values of different datasets are not comparable.

Sources: You, Liu, Wang and Long, *LogME*, ICML 2021; the fixed point, You et al., *Ranking and Tuning Pre-trained
Models*, JMLR 23, 2022.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from featurestore.errors import ProbeError
from probes.fitting.fitted import Evidence, FittedProbe
from probes.fitting.learning_task import LearningTask
from probes.methods import FitResources
from probes.moments import covariance, cross, gram, indicators
from probes.objective import Features, Vector, check_data

HYPERPARAMETER = None
SOLVERS = ()
MULTILABEL = True
PREDICTS = False

EPS = float(np.finfo(np.float64).eps)


@dataclass(frozen=True)
class Options:
    """Settings that change the number.

    Attributes
    ----------
    tolerance : float
        The iteration stops when no t changes by more than this part of itself.
    max_iter : int
        Most iterations.
    """

    tolerance: float = 1e-5
    max_iter: int = 1000


def fit(task: LearningTask, options: Options, resources: FitResources) -> FittedProbe:
    """Measure the features, as `probes.methods.Fit` describes."""
    X, y = task.final
    check_data(X, y, task.n_classes)
    Y = indicators(y, task.n_classes)
    Y = Y[:, Y.any(axis=0) & ~Y.all(axis=0)]
    if not Y.size or not X.any():
        raise ProbeError("LogME needs a class that some images have and some do not have, and features that are not 0.")
    problem = _Problem.of(X, Y)
    t, n_iter, converged = problem.fixed_point(options)
    evidence = Evidence(n_iter=n_iter, converged=converged)
    return FittedProbe(scores=None, evidence=evidence, measures={"logme": float(problem.log_evidence(t).mean())})


@dataclass(frozen=True)
class _Problem:
    """The numbers that the evidence depends on, for c columns (classes) at once.

    Attributes
    ----------
    n, d : int
        Numbers of images and of features.
    eigenvalues : ndarray of shape (r, 1)
        σ, r = min(n, d); the other eigenvalues of XᵀX are 0.
    projections : ndarray of shape (r, c)
        z². Keeping z² avoids divisions by a small σ.
    squares : ndarray of shape (c,)
        ||y||².
    """

    n: int
    d: int
    eigenvalues: Vector
    projections: Vector
    squares: Vector

    @classmethod
    def of(cls, X: Features, Y: NDArray[np.bool_]) -> _Problem:
        (n, d), no_centre = X.shape, np.zeros(X.shape[1])
        if n < d:
            eigenvalues, U = np.linalg.eigh(n * gram(X, no_centre))
            projections = eigenvalues[:, None] * (U.T @ Y) ** 2
        else:
            eigenvalues, V = np.linalg.eigh(n * covariance(X, no_centre))
            projections = (V.T @ (n * cross(X, Y, no_centre))) ** 2
        positive = eigenvalues > 0  # not so by rounding only
        return cls(n, d, eigenvalues[positive, None], projections[positive], Y.sum(axis=0, dtype=np.float64))

    def fixed_point(self, options: Options) -> tuple[Vector, int, bool]:
        """Return t (c,), the number of iterations, and whether t has converged."""
        largest = float(self.eigenvalues.max())
        t = np.full(len(self.squares), float(self.eigenvalues.sum()) / self.d)
        for n_iter in range(1, options.max_iter + 1):
            alpha, beta, _, _ = self._precisions(t)
            # Features that say nothing, or all, send t to infinity or 0; beyond these limits σ + t does not change.
            last, t = t, np.clip(alpha / beta, 1e-16 * largest, 1e16 * largest)
            if np.all(np.abs(t - last) <= options.tolerance * last):
                return t, n_iter, True
        return t, options.max_iter, False

    def log_evidence(self, t: Vector) -> Vector:
        """Return log p / n, shape (c,)."""
        alpha, beta, residual, norm = self._precisions(t)
        log_det = np.log(alpha + beta * self.eigenvalues).sum(axis=0) + (self.d - len(self.eigenvalues)) * np.log(alpha)
        log_prior = self.n * np.log(beta / (2 * np.pi)) + self.d * np.log(alpha)
        per_image: Vector = (log_prior - log_det - beta * residual - alpha * norm) / (2 * self.n)
        return per_image

    def _precisions(self, t: Vector) -> tuple[Vector, Vector, Vector, Vector]:
        """Return α, β, ||X m − y||² and ||m||², each of shape (c,)."""
        shifted = self.eigenvalues + t
        explained = self.projections * (self.eigenvalues + 2 * t) / shifted**2
        residual = np.maximum(self.squares - explained.sum(axis=0), EPS * self.squares)
        norm = np.maximum((self.projections / shifted**2).sum(axis=0), np.finfo(np.float64).tiny)
        unexplained = self.n - len(self.eigenvalues) + (t / shifted).sum(axis=0)  # n − γ without its cancellation
        return (self.eigenvalues / shifted).sum(axis=0) / norm, unexplained / residual, residual, norm
