"""Linear support vector machines, one class against the rest, their strength chosen on validation images.

For class c, with signs t_i = 1 where an image has c and −1 elsewhere, and features z = (x − x̄)/r that are centred and
divided by r, the root of their mean squared norm over the training images,

    (1/n) Σ_i max(0, 1 − t_i (w_cᵀ z_i + b_c))² + (l2/2) ||w_c||²,

which is liblinear's C = 1/(n l2). All classes share one l2; images may have one label or several. Dividing by the
single number r keeps the geometry and makes the same seven values of l2 suit any network. The scores wᵀ z + b
(n, n_classes) are no probabilities.

liblinear penalises the bias too. Here the bias is the weight of a constant feature of 10 and costs (l2/2) b²/100, which
moves it by about 0.5 % at l2 = 1 and by less at smaller l2. The constant makes the dual slow (1000 sweeps do not
converge where 20 Newton steps of the primal do, also on fewer images than features), so the primal is always solved.
The features in float64 and liblinear's own copy take 24 bytes per value together.

Sources: Fan et al., *LIBLINEAR*, JMLR 9, 2008; as a probe, Sharif Razavian et al., *CNN Features off-the-Shelf*, CVPRW
2014.
"""

from __future__ import annotations

import time
import warnings
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from featurestore.errors import ProbeError
from probes.fitting.fitted import Choice, Evidence, FittedProbe, Trial
from probes.fitting.learning_task import LearningTask
from probes.fitting.refit import checked_refit
from probes.fitting.tuning import check_grid, choose, measure_of, squared_error
from probes.methods import FitResources
from probes.moments import ROUNDING, affine, indicators, mean, variances
from probes.objective import Features, Vector, check_data

HYPERPARAMETER = "l2"
SOLVERS = ()
MULTILABEL = True

CONSTANT = 10.0  # the feature whose weight, times it, is the bias


@dataclass(frozen=True)
class Options:
    """Settings that change the numbers.

    Attributes
    ----------
    l2s : tuple of float
        The values of l2 to choose from.
    tolerance : float
        liblinear stops when the norm of the gradient is at most this part of its norm at zero weights.
    max_iter : int
        Most Newton iterations for each class.
    """

    l2s: tuple[float, ...] = (1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 1.0)
    tolerance: float = 1e-4
    max_iter: int = 1000

    def __post_init__(self) -> None:
        check_grid("l2s", self.l2s)


@checked_refit
def fit(task: LearningTask, options: Options, resources: FitResources) -> FittedProbe:
    """Choose l2 and fit, as `probes.methods.Fit` describes."""
    check_data(task.X, task.y, task.n_classes)
    units = _Units.of(task.train[0])
    choice = _choose_l2(task, units, options)
    Y = indicators(task.final[1], task.n_classes)
    coef, intercept, evidence = _fit_all(units.applied(task.final[0]), Y, choice.value, options)
    coef, intercept = units.undone(coef, intercept)
    scores = partial(affine, coef=coef, intercept=intercept)
    return FittedProbe(scores=scores, probabilistic=False, choice=choice, evidence=evidence)


@dataclass(frozen=True)
class _Units:
    """The mean x̄ (n_features,) and the scale r of the training images."""

    centre: Vector
    scale: float

    @classmethod
    def of(cls, X: Features) -> _Units:
        centre = mean(X)
        mean_square = float(variances(X, centre).sum())
        if not mean_square > ROUNDING**2 * float(np.sum(centre**2)):
            raise ProbeError("An SVM needs images with different features. Got training images that all have the same.")
        return cls(centre, mean_square**0.5)

    def applied(self, X: Features) -> Vector:
        """Return the features z (n, n_features)."""
        Z = X.astype(np.float64)
        Z -= self.centre
        Z /= self.scale
        return Z

    def undone(self, coef: Vector, intercept: Vector) -> tuple[Vector, Vector]:
        """Turn weights (n_classes, n_features) and biases (n_classes,) for z into those for x."""
        coef = coef / self.scale
        return coef, intercept - coef @ self.centre


def _choose_l2(task: LearningTask, units: _Units, options: Options) -> Choice:
    measure, loss = measure_of(task.metric, task.val[1], probabilistic=False), squared_error(-1, 1)
    Z, Y, Z_val = units.applied(task.train[0]), indicators(task.train[1], task.n_classes), units.applied(task.val[0])
    trials = []
    for l2 in sorted(set(options.l2s)):
        coef, intercept, evidence = _fit_all(Z, Y, l2, options)
        scores = Z_val @ coef.T + intercept
        trials.append(Trial(l2, measure(scores, task.val[1]).value, evidence, loss(scores, task.val[1])))
    return choose(trials, higher_is_better=measure.higher_is_better, loss_kind=loss.kind)


def _fit_all(Z: Vector, Y: NDArray[np.bool_], l2: float, options: Options) -> tuple[Vector, Vector, Evidence]:
    """Fit every class on Z (n, n_features) and Y (n, n_classes).

    Returns the weights (n_classes, n_features), the biases (n_classes,) and the evidence.
    """
    start = time.perf_counter()
    coef, intercept, n_iter = np.zeros((Y.shape[1], Z.shape[1])), np.zeros(Y.shape[1]), 0
    for k, has_class in enumerate(Y.T):
        if has_class.all() or not has_class.any():
            intercept[k] = 1 if has_class.all() else -1  # no weights, no loss
            continue
        coef[k], intercept[k], steps = _fit_one(Z, has_class, l2, options)
        n_iter = max(n_iter, steps)
    objective, gradient_norm = _objective(Z, Y, coef, intercept, l2)
    evidence = Evidence(
        objective=objective,
        gradient_norm=gradient_norm,
        n_iter=n_iter,
        converged=n_iter < options.max_iter,
        seconds=time.perf_counter() - start,
    )
    return coef, intercept, evidence


def _fit_one(Z: Vector, has_class: NDArray[np.bool_], l2: float, options: Options) -> tuple[Vector, float, int]:
    """Fit one class; return weights (n_features,), bias and iterations.

    scikit-learn's warning is silenced, because ``n_iter == max_iter`` says the same.
    """
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.svm import LinearSVC

    model = LinearSVC(
        C=1 / (len(Z) * l2),
        dual=False,
        intercept_scaling=CONSTANT,
        tol=options.tolerance,
        max_iter=options.max_iter,
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        model.fit(Z, has_class)
    return model.coef_[0], float(model.intercept_[0]), int(model.n_iter_)


def _objective(Z: Vector, Y: NDArray[np.bool_], coef: Vector, intercept: Vector, l2: float) -> tuple[float, float]:
    """Return the objective, summed over classes, and the norm of its gradient in (W, b), with free biases."""
    signs = np.where(Y, 1.0, -1.0)
    slack = np.maximum(0, 1 - signs * (Z @ coef.T + intercept))
    residuals = -2 / len(Z) * signs * slack
    gradient = np.hypot(np.linalg.norm(residuals.T @ Z + l2 * coef), np.linalg.norm(residuals.sum(axis=0)))
    return float(np.sum(slack**2) / len(Z) + l2 / 2 * np.sum(coef**2)), float(gradient)
