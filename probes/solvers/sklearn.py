"""scikit-learn's L-BFGS, warm-started from strong to weak regularisation and judged by our certificate.

scikit-learn stops when the largest entry of the gradient is below `tol`, which means something else at every l2. So the
solver sets `tol` to a value that fits the gap, and lowers it until the gap is reached. scikit-learn's L-BFGS also stops
at a step that lowers the objective by less than 1.4e-14. Where the objective itself is tiny (separable classes, weak
l2), that may happen before the gap is reached; the fit has ``converged=False`` then.

`fit_regressions` and `Regression` serve every library that fits one regression at a time and judges by the gradient.
"""

from __future__ import annotations

import time
import warnings
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression

from probes.objective import (
    GAP_TOLERANCE,
    Certificate,
    Features,
    Labels,
    LogisticFit,
    Vector,
    among,
    certificate,
    chance_loss,
    check_data,
    class_frequencies,
    free_classes,
    stake,
    weighing,
    with_limits,
)

FIRST_TOLERANCE = 1e-4


def fit_path(
    X: Features,
    y: Labels,
    *,
    l2s: Sequence[float],
    n_classes: int,
    sample_weight: Vector | None = None,
    fit_intercept: bool = True,
    gap_tolerance: float = GAP_TOLERANCE,
    max_iter: int = 1000,
    device: str = "auto",  # ignored: scikit-learn's L-BFGS runs on the CPU
) -> list[LogisticFit]:
    """Fit every l2 with `sklearn.linear_model.LogisticRegression`, as `probes.solvers.FitPath` describes."""
    return fit_regressions(
        _Lbfgs,
        X,
        y,
        l2s=l2s,
        n_classes=n_classes,
        sample_weight=sample_weight,
        fit_intercept=fit_intercept,
        gap_tolerance=gap_tolerance,
        max_iter=max_iter,
    )


def fit_regressions(
    kind: type[Regression],
    X: Features,
    y: Labels,
    *,
    l2s: Sequence[float],
    n_classes: int,
    sample_weight: Vector | None,
    fit_intercept: bool,
    gap_tolerance: float,
    max_iter: int,
) -> list[LogisticFit]:
    """Fit every l2 by regressions of one `kind`: one softmax, or one for each class when multi-label.

    `probes.solvers.FitPath` describes the other parameters and the result.
    """
    check_data(X, y, n_classes, sample_weight)
    X_weighing, y, sample_weight = weighing(X, y, sample_weight)
    X_double: Vector = X_weighing.astype(np.float64, copy=False)
    if not fit_intercept:
        X_double, y, sample_weight = _with_contrasts(X_double, y, n_classes, sample_weight)
    free = free_classes(y, n_classes, fit_intercept, sample_weight)
    placed = kind.place(X_double)
    regressions = [kind(X_double, placed, *task, fit_intercept) for task in _tasks(among(y, free), free, sample_weight)]
    fits = {}
    for l2 in sorted({float(l2) for l2 in l2s}, reverse=True):
        start = time.perf_counter()
        n_iters = [regression.fit(l2, gap_tolerance, max_iter) for regression in regressions]
        coef = np.vstack([regression.coef for regression in regressions] or [np.zeros((free.size, X_double.shape[1]))])
        intercept = np.concatenate([regression.intercept for regression in regressions] or [np.zeros(free.size)])
        coef, intercept = with_limits(coef, intercept, y, n_classes, fit_intercept, sample_weight)
        evidence = certificate(
            X_double,
            y,
            coef,
            intercept,
            l2=l2,
            n_classes=n_classes,
            sample_weight=sample_weight,
            fit_intercept=fit_intercept,
        )
        fits[l2] = LogisticFit(
            l2=l2,
            coef=coef,
            intercept=intercept,
            n_iter=max(n_iters, default=0),
            converged=evidence.duality_gap <= gap_tolerance,
            seconds=time.perf_counter() - start,
            certificate=evidence,
        )
    return [fits[float(l2)] for l2 in l2s]


def _with_contrasts(
    X: Vector, y: Labels, n_classes: int, sample_weight: Vector | None
) -> tuple[Vector, Labels, Vector | None]:
    """Add images of weight 0, so that every class has a label: libraries count the classes by the labels."""
    extra: Labels
    if y.ndim == 2:
        extra = np.zeros((0, n_classes), dtype=np.bool_)
        if not (y.any(axis=0) & ~y.all(axis=0)).all():
            extra = np.array([[False], [True]]).repeat(n_classes, axis=1)
    else:
        extra = np.setdiff1d(np.arange(n_classes), y)
    if not len(extra):
        return X, y, sample_weight
    weight = np.ones(len(y)) if sample_weight is None else sample_weight
    return (
        np.concatenate([X, np.zeros((len(extra), X.shape[1]))]),
        np.concatenate([y, extra]),
        np.concatenate([weight, np.zeros((len(extra), *weight.shape[1:]))]),
    )


def _tasks(y: Labels, free: NDArray[np.intp], sample_weight: Vector | None) -> list[tuple[Labels, int, Vector | None]]:
    """Return labels, number of classes and weights of each regression; none if only one class is free."""
    if y.ndim == 1:
        return [(y, free.size, sample_weight)] if free.size > 1 else []
    if sample_weight is None or sample_weight.ndim == 1:
        return [(labels, 1, sample_weight) for labels in y.T]
    return [(labels, 1, weight) for labels, weight in zip(y.T, sample_weight[:, free].T, strict=True)]


class Regression(ABC):
    """One regression of a library: softmax over class indices, or binary over booleans. It keeps its warm start.

    Parameters
    ----------
    X : ndarray of shape (n, n_features)
        Float64.
    placed : object
        The result of `place` for X.
    y : ndarray of shape (n,)
    n_classes : int
        Number of classes, each with an image; 1 if y holds booleans.
    sample_weight : ndarray of shape (n,), optional
    fit_intercept : bool
    """

    def __init__(
        self, X: Vector, placed: Any, y: Labels, n_classes: int, sample_weight: Vector | None, fit_intercept: bool
    ) -> None:
        self.X, self.placed, self.y, self.sample_weight = X, placed, y, sample_weight
        self.n_classes, self.fit_intercept = n_classes, fit_intercept
        self.binary = y.dtype == np.bool_
        # Libraries fit two classes with one weight vector w, which stands for the softmax weights (−w/2, w/2).
        self.halved = n_classes == 2
        frequency = class_frequencies(self._labels, n_classes, sample_weight)
        self.chance = chance_loss(frequency, self.binary, fit_intercept)
        self.objective = self.chance

    @staticmethod
    def place(X: Vector) -> Any:
        """Put X where the library needs it, once for all regressions."""
        return X

    @abstractmethod
    def go_on(self, penalty: float, tol: float, max_iter: int) -> int:
        """Run the library from its last solution; return the number of iterations.

        Parameters
        ----------
        penalty : float
            l2 for the library's own weights.
        tol : float
            Stop when the largest entry of the gradient of the penalised mean loss is at most this.
        max_iter : int
        """

    @abstractmethod
    def parameters(self) -> tuple[Vector, Vector]:
        """Return the library's weights (n_rows, n_features) and biases (n_rows,), float64; one row for two classes."""

    @property
    def coef(self) -> Vector:
        """Return the weights, shape (n_classes, n_features)."""
        return self._both(self.parameters()[0])

    @property
    def intercept(self) -> Vector:
        """Return the biases, shape (n_classes,)."""
        return self._both(self.parameters()[1])

    def fit(self, l2: float, gap_tolerance: float, max_iter: int) -> int:
        """Continue from the last solution until the gap is reached; return the number of iterations."""
        # ||(−w/2, w/2)||² = ||w||²/2, so that half the penalty on w is the same objective.
        penalty = l2 / 2 if self.halved else l2
        tol, n_iter, last_gap = FIRST_TOLERANCE, 0, np.inf
        while n_iter < max_iter:
            n_iter += self.go_on(penalty, tol, max_iter - n_iter)
            evidence = self._certificate(l2)
            self.objective = evidence.objective
            # The gap is ||gradient||²/(2 l2) at the optimal bias; a tenth of that, since `tol` bounds single entries.
            needed = 0.1 * np.sqrt(2 * l2 * gap_tolerance * stake(evidence.objective, self.chance))
            stuck = tol <= needed / 100 and evidence.duality_gap > 0.9 * last_gap
            if evidence.duality_gap <= gap_tolerance or stuck:
                break
            tol, last_gap = min(tol / 10, needed), evidence.duality_gap
        return n_iter

    @property
    def _labels(self) -> Labels:
        """Return the labels in the form of `probes.objective`, for which one class of booleans is multi-label."""
        return self.y[:, None] if self.binary else self.y

    def _certificate(self, l2: float) -> Certificate:
        return certificate(
            self.X,
            self._labels,
            self.coef,
            self.intercept,
            l2=l2,
            n_classes=self.n_classes,
            sample_weight=self.sample_weight,
            fit_intercept=self.fit_intercept,
        )

    def _both(self, parameter: Vector) -> Vector:
        """Return softmax parameters of both classes if the library keeps only their difference."""
        return np.concatenate([-parameter / 2, parameter / 2]) if self.halved else parameter


class _Lbfgs(Regression):
    """A regression by `sklearn.linear_model.LogisticRegression`."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self._total = len(self.y) if self.sample_weight is None else self.sample_weight.sum()
        self._model = LogisticRegression(solver="lbfgs", warm_start=True, fit_intercept=self.fit_intercept)

    def go_on(self, penalty: float, tol: float, max_iter: int) -> int:
        self._model.set_params(C=1 / (self._total * penalty), tol=tol, max_iter=max_iter)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)  # the certificate judges
            self._model.fit(self.placed, self.y, sample_weight=self.sample_weight)
        return int(self._model.n_iter_[0])

    def parameters(self) -> tuple[Vector, Vector]:
        return self._model.coef_, self._model.intercept_
