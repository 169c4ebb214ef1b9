"""scikit-learn's L-BFGS, warm-started from strong to weak regularisation and judged by our certificate.

scikit-learn stops at a largest gradient entry below `tol`, which means something else at every l2. Here `tol` is set to
what our gap asks for, and lowered until the gap is reached. Its L-BFGS also stops on steps that gain less than 1.4e-14,
absolutely: where the objective itself is tiny (separable classes, weak l2) it may end there, short of the gap, and says
so by ``converged=False``.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Sequence

import numpy as np
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
    with_limits,
)


def fit_path(
    X: Features,
    y: Labels,
    *,
    l2s: Sequence[float],
    n_classes: int,
    gap_tolerance: float = GAP_TOLERANCE,
    max_iter: int = 1000,
    device: str = "auto",  # of no effect: scikit-learn's L-BFGS runs on the CPU
) -> list[LogisticFit]:
    """Fit every l2 with `sklearn.linear_model.LogisticRegression`; see `probes.solvers.FitPath`."""
    check_data(X, y, n_classes)
    X_double: Vector = X.astype(np.float64, copy=False)
    free = free_classes(y, n_classes)
    y_free = among(y, free)
    columns = [y_free[:, k] for k in range(free.size)] if y.ndim == 2 else [y_free] if free.size > 1 else []
    regressions = [_Regression(X_double, column) for column in columns]
    fits = {}
    for l2 in sorted({float(l2) for l2 in l2s}, reverse=True):
        start = time.perf_counter()
        n_iters = [regression.fit(l2, gap_tolerance, max_iter) for regression in regressions]
        coef = np.vstack([regression.coef for regression in regressions] or [np.zeros((free.size, X.shape[1]))])
        intercept = np.concatenate([regression.intercept for regression in regressions] or [np.zeros(free.size)])
        coef, intercept = with_limits(coef, intercept, y, n_classes)
        evidence = certificate(X_double, y, coef, intercept, l2=l2, n_classes=n_classes)
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


class _Regression:
    """One scikit-learn regression, softmax over class indices or binary over booleans, that keeps its warm start."""

    def __init__(self, X: Vector, y: Labels) -> None:
        self.X, self.y = X, y
        share = class_frequencies(y[:, None], 1) if y.dtype == np.bool_ else class_frequencies(y, int(y.max()) + 1)
        self.chance = chance_loss(share, multilabel=y.dtype == np.bool_)
        self.model = LogisticRegression(solver="lbfgs", warm_start=True)
        # scikit-learn fits two classes with one weight vector w, which stands for the softmax weights (−w/2, w/2).
        self.halved = y.dtype != np.bool_ and y.max() == 1

    @property
    def coef(self) -> Vector:
        """Weights, shape (n_classes, n_features); (1, n_features) over booleans."""
        return self._both(self.model.coef_)

    @property
    def intercept(self) -> Vector:
        """Biases, shape (n_classes,); (1,) over booleans."""
        return self._both(self.model.intercept_)

    def fit(self, l2: float, gap_tolerance: float, max_iter: int) -> int:
        """Go on from the last solution until the gap is reached; return the iterations that this took."""
        # ||(−w/2, w/2)||² = ||w||²/2, so that half the penalty on w is the same objective.
        self.model.set_params(C=1 / (len(self.y) * (l2 / 2 if self.halved else l2)))
        tol, n_iter, last_gap = 1e-4, 0, np.inf
        while n_iter < max_iter:
            n_iter += self._go_on(tol, max_iter - n_iter)
            evidence = self._certificate(l2)
            # The gap is ||gradient||²/(2 l2) at the optimal bias; a tenth of that, since `tol` bounds single entries.
            needed = 0.1 * np.sqrt(2 * l2 * gap_tolerance * stake(evidence.objective, self.chance))
            stuck = tol <= needed / 100 and evidence.duality_gap > 0.9 * last_gap
            if evidence.duality_gap <= gap_tolerance or stuck:
                break
            tol, last_gap = min(tol / 10, needed), evidence.duality_gap
        return n_iter

    def _go_on(self, tol: float, max_iter: int) -> int:
        """Run scikit-learn once, warm; its warnings are dropped because the certificate judges."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            self.model.set_params(tol=tol, max_iter=max_iter).fit(self.X, self.y)
        return int(self.model.n_iter_[0])

    def _certificate(self, l2: float) -> Certificate:
        y = self.y[:, None] if self.y.dtype == np.bool_ else self.y
        return certificate(self.X, y, self.coef, self.intercept, l2=l2, n_classes=len(self.intercept))

    def _both(self, parameter: Vector) -> Vector:
        """The softmax parameters of both classes where scikit-learn keeps their difference."""
        return np.concatenate([-parameter / 2, parameter / 2]) if self.halved else parameter
