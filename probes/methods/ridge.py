"""Ridge regression onto class indicators, in closed form, its strength chosen on validation images.

For features (n, n_features) and indicators Y (n, n_classes), 1 where an image has a class and 0 elsewhere, it minimises

    (1/2n) Σ_i ||W x_i + b − y_i||² + (l2/2) ||W||²,      the biases are free,

which is scikit-learn's `Ridge` with alpha = n l2. On centred features Wᵀ = ((1/n) XᵀX + l2 I)⁻¹ (1/n) XᵀY, so one
eigendecomposition, of XᵀX or, with fewer images than features, of XXᵀ, gives the fit of every l2. The scores W x + b
are no probabilities. A squared loss has no scale of its own, so that good values of l2 grow with the variance of the
features. The grid covers twelve decades; more values cost almost no time.

Source: Hoerl and Kennard, *Ridge Regression*, Technometrics 12, 1970; as a probe, Rifkin, Yeo and Poggio, *Regularized
Least-Squares Classification*, 2003.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial

import numpy as np

from probes.fitting.fitted import Evidence, FittedProbe
from probes.fitting.learning_task import LearningTask
from probes.fitting.refit import checked_refit
from probes.fitting.tuning import check_grid, choose_value
from probes.methods import FitResources
from probes.moments import affine, covariance, cross, gram, indicators, mean, row_blocks
from probes.objective import Features, Labels, Vector, check_data

HYPERPARAMETER = "l2"
SOLVERS = ()
MULTILABEL = True


@dataclass(frozen=True)
class Options:
    """Settings that change the numbers.

    Attributes
    ----------
    l2s : tuple of float
        The values of l2 to choose from: by default four per decade, 1e-8 to 1e4.
    """

    l2s: tuple[float, ...] = tuple((10.0 ** (np.arange(-32, 17) / 4)).tolist())

    def __post_init__(self) -> None:
        check_grid("l2s", self.l2s)


@checked_refit
def fit(task: LearningTask, options: Options, resources: FitResources) -> FittedProbe:
    """Choose l2 and fit, as `probes.methods.Fit` describes."""
    check_data(task.X, task.y, task.n_classes)
    val_scores = _Path.of(*task.train, task.n_classes).scores(task.val[0], sorted(set(options.l2s)))
    choice = choose_value(val_scores, task.val[1], metric=task.metric, probabilistic=False)
    coef, intercept = _Path.of(*task.final, task.n_classes).parameters(choice.value)
    evidence = _evidence(*task.final, coef, intercept, choice.value)
    scores = partial(affine, coef=coef, intercept=intercept)
    return FittedProbe(scores=scores, probabilistic=False, choice=choice, evidence=evidence)


@dataclass(frozen=True)
class _Path:
    """The solution at every l2: Wᵀ = basis (diag(eigenvalues) + l2 I)⁻¹ targets.

    Attributes
    ----------
    centre : ndarray of shape (n_features,)
        Mean of the features.
    frequency : ndarray of shape (n_classes,)
        Mean of the indicators.
    eigenvalues : ndarray of shape (r,)
        Eigenvalues of the covariance or of the Gram matrix, r = min(n, n_features).
    basis : ndarray of shape (n_features, r)
        The eigenvectors of the covariance, or XᵀU/n with U the eigenvectors of the Gram matrix.
    targets : ndarray of shape (r, n_classes)
    """

    centre: Vector
    frequency: Vector
    eigenvalues: Vector
    basis: Vector
    targets: Vector

    @classmethod
    def of(cls, X: Features, y: Labels, n_classes: int) -> _Path:
        Y, centre = indicators(y, n_classes), mean(X)
        frequency = Y.mean(axis=0)
        if len(X) < X.shape[1]:
            eigenvalues, U = np.linalg.eigh(gram(X, centre))
            basis, targets = cross(X, U, centre), U.T @ (Y - frequency)
        else:
            eigenvalues, basis = np.linalg.eigh(covariance(X, centre))
            targets = basis.T @ cross(X, Y, centre)
        return cls(centre, frequency, np.maximum(eigenvalues, 0), basis, targets)  # below zero by rounding only

    def scores(self, X: Features, l2s: list[float]) -> Iterator[tuple[float, Vector]]:
        """Yield each l2 with its scores (n, n_classes) of X (n, n_features)."""
        rotated = affine(X, self.basis.T, -self.centre @ self.basis)
        for l2 in l2s:
            yield l2, rotated @ (self.targets / (self.eigenvalues + l2)[:, None]) + self.frequency

    def parameters(self, l2: float) -> tuple[Vector, Vector]:
        """Return the weights (n_classes, n_features) and biases (n_classes,)."""
        coef = (self.basis @ (self.targets / (self.eigenvalues + l2)[:, None])).T
        return coef, self.frequency - coef @ self.centre


def _evidence(X: Features, y: Labels, coef: Vector, intercept: Vector, l2: float) -> Evidence:
    """Measure the objective, and the norm of its gradient in (W, b), on the images of the fit."""
    Y, slope, bias_slope, loss = indicators(y, len(coef)), np.zeros_like(coef), np.zeros(len(coef)), 0.0
    for rows, block in row_blocks(X):
        residuals = block @ coef.T + intercept - Y[rows]
        slope += residuals.T @ block
        bias_slope += residuals.sum(axis=0)
        loss += float(np.sum(residuals**2))
    gradient = l2 * coef + slope / len(X)
    return Evidence(
        objective=loss / (2 * len(X)) + l2 / 2 * float(np.sum(coef**2)),
        gradient_norm=float(np.hypot(np.linalg.norm(gradient), np.linalg.norm(bias_slope / len(X)))),
    )
