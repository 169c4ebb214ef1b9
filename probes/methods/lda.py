"""Linear discriminant analysis with a shrunken shared covariance, its shrinkage chosen on validation images.

Classes are Gaussians with means m_c, frequencies π_c and one covariance S = (1/n) Σ_i (x_i − m_{y_i})(x_i − m_{y_i})ᵀ,
which is shrunk towards a multiple of the identity:

    S_s = (1 − s) S + s (tr S / n_features) I,      p_c ∝ π_c exp(m_cᵀ S_s⁻¹ x − m_cᵀ S_s⁻¹ m_c / 2).

One eigendecomposition of S gives the posteriors (n, n_classes) of every s. s = 0 is not allowed, because S is singular
when there are fewer images than features; s = 1 is the nearest class mean, weighted by frequency. This is
scikit-learn's `LinearDiscriminantAnalysis(solver="eigen", shrinkage=s)`.

Sources: Friedman, *Regularized Discriminant Analysis*, JASA 84, 1989; Hastie, Tibshirani and Friedman, *The Elements of
Statistical Learning*, 2nd ed., 4.3.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from scipy.special import softmax

from featurestore.errors import ProbeError
from probes.fitting.fitted import FittedProbe
from probes.fitting.learning_task import LearningTask
from probes.fitting.refit import checked_refit
from probes.fitting.tuning import check_grid, choose_value
from probes.methods import FitResources
from probes.moments import ROUNDING, affine, by_blocks, class_means, covariance, mean
from probes.objective import Features, Labels, Vector, check_data, class_frequencies

HYPERPARAMETER = "shrinkage"
SOLVERS = ()
MULTILABEL = False


@dataclass(frozen=True)
class Options:
    """Settings that change the numbers.

    Attributes
    ----------
    shrinkages : tuple of float
        The values of s to choose from, above 0 and at most 1.
    """

    shrinkages: tuple[float, ...] = (
        *(1e-5, 3e-5, 1e-4, 3e-4, 1e-3, 3e-3, 0.01, 0.03),
        *(0.1, 0.2, 0.3, 0.5, 0.7, 0.9, 0.97, 0.99, 1.0),
    )

    def __post_init__(self) -> None:
        check_grid("shrinkages", self.shrinkages, largest=1)


@checked_refit
def fit(task: LearningTask, options: Options, resources: FitResources) -> FittedProbe:
    """Choose the shrinkage and fit, as `probes.methods.Fit` describes."""
    check_data(task.X, task.y, task.n_classes)
    gaussians = _Gaussians.of(*task.train, task.n_classes)
    choice = choose_value(gaussians.path(task.val[0], sorted(set(options.shrinkages))), task.val[1], metric=task.metric)
    coef, intercept = _Gaussians.of(*task.final, task.n_classes).parameters(choice.value)

    def scores(X: Features) -> Vector:
        return by_blocks(lambda block: softmax(block @ coef.T + intercept, axis=1), X)

    return FittedProbe(scores=scores, choice=choice)


@dataclass(frozen=True)
class _Gaussians:
    """One Gaussian per class.

    Attributes
    ----------
    centre : ndarray of shape (n_features,)
        Mean of all images. It is subtracted everywhere, which changes only the rounding of the posteriors.
    means : ndarray of shape (n_classes, n_features)
        Class means minus the centre.
    log_frequency : ndarray of shape (n_classes,)
        log π_c; −∞ for a class without images, whose posterior is 0.
    covariance : ndarray of shape (n_features, n_features)
        S.
    variance : float
        tr S / n_features.
    """

    centre: Vector
    means: Vector
    log_frequency: Vector
    covariance: Vector
    variance: float

    @classmethod
    def of(cls, X: Features, y: Labels, n_classes: int) -> _Gaussians:
        centre, means = mean(X), class_means(X, y, n_classes)
        within = covariance(X, means, y)
        variance = float(np.trace(within)) / X.shape[1]
        if not variance > ROUNDING**2 * float(np.mean(means**2)):
            raise ProbeError(
                "LDA needs features that vary within classes: two different images of some class. Got images that all "
                "equal the mean of their class."
            )
        with np.errstate(divide="ignore"):
            log_frequency = np.log(class_frequencies(y, n_classes))
        return cls(centre, means - centre, log_frequency, within, variance)

    def path(self, X: Features, shrinkages: list[float]) -> Iterator[tuple[float, Vector]]:
        """Yield each shrinkage with its posteriors (n, n_classes) of X (n, n_features)."""
        eigenvalues, basis = np.linalg.eigh(self.covariance)
        rotated, means = affine(X, basis.T, -self.centre @ basis), self.means @ basis
        for s in shrinkages:
            coef = means / ((1 - s) * np.maximum(eigenvalues, 0) + s * self.variance)
            yield s, softmax(rotated @ coef.T + self._offset(coef, means), axis=1)

    def parameters(self, s: float) -> tuple[Vector, Vector]:
        """Return the weights (n_classes, n_features) and biases (n_classes,) of the posteriors' logits."""
        shrunk = (1 - s) * self.covariance + s * self.variance * np.eye(len(self.centre))
        coef = np.linalg.solve(shrunk, self.means.T).T.astype(np.float64, copy=False)
        return coef, self._offset(coef, self.means) - coef @ self.centre

    def _offset(self, coef: Vector, means: Vector) -> Vector:
        offset: Vector = self.log_frequency - np.sum(coef * means, axis=1) / 2
        return offset
