"""cuML's L-BFGS on an NVIDIA GPU, warm-started from strong to weak regularisation and judged by our certificate.

The solver uses cuML's class `QN`, because cuML's `LogisticRegression` cannot start from an earlier solution. With
``penalty_normalized=False`` QN minimises the mean of the losses + l2_strength/2 ||W||², biases free, which is our
objective. It stops when

- the largest entry of the gradient is at most tol · max(f, tol), f being the objective, or
- f has changed in the last ten iterations by at most delta · max(f, tol).

Both conditions mean something else at every l2. So the solver sets tol and delta to values that fit the gap, and lowers
them until the gap is reached. The arithmetic is float64, because float32 cannot reach gaps of 1e-8, nor wider gaps at
weak l2.

Sources: the documentation of `cuml.solvers.QN`, and its source in release 25.10.
"""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from typing import Any

import numpy as np

from featurestore.errors import ConfigurationError
from probes.objective import GAP_TOLERANCE, Features, Labels, LogisticFit, Vector
from probes.solvers.sklearn import Regression, fit_regressions


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
    device: str = "auto",  # of no effect: cuML runs on the GPU
) -> list[LogisticFit]:
    """Fit every l2 with `cuml.solvers.QN`, as `probes.solvers.FitPath` describes."""
    _check_available()
    return fit_regressions(
        _QuasiNewton,
        X,
        y,
        l2s=l2s,
        n_classes=n_classes,
        sample_weight=sample_weight,
        fit_intercept=fit_intercept,
        gap_tolerance=gap_tolerance,
        max_iter=max_iter,
    )


def _check_available() -> None:
    """Raise ConfigurationError unless cuML can be imported and this machine has a CUDA device."""
    try:
        found = _cupy().cuda.is_available() and importlib.import_module("cuml.solvers")
    except ImportError as error:
        raise ConfigurationError(_what_it_needs(f"importing it failed ({error})")) from error
    if not found:
        raise ConfigurationError(_what_it_needs("there is no CUDA device"))


def _what_it_needs(lack: str) -> str:
    return (
        f"The solver 'cuml' needs cuML and an NVIDIA GPU; {lack}. Install cuML (pip install 'probestore[cuml]', on a "
        "machine with an NVIDIA GPU), or choose solver = 'path', which gives the same fits on any machine."
    )


def _cupy() -> Any:
    """Import CuPy, whose arrays cuML takes and returns."""
    return importlib.import_module("cupy")


class _QuasiNewton(Regression):
    """A regression by `cuml.solvers.QN`."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self._y = _cupy().asarray(self.y, dtype=np.float64)
        self._weight = None
        if self.sample_weight is not None:
            # With a mean of 1 it makes no difference whether the sum is divided by the weights or by the images.
            self._weight = _cupy().asarray(self.sample_weight / self.sample_weight.mean())
        self._model = importlib.import_module("cuml.solvers").QN(
            loss="softmax" if self.n_classes > 2 else "sigmoid",
            fit_intercept=self.fit_intercept,
            penalty_normalized=False,
            lbfgs_memory=10,  # as in scikit-learn
            warm_start=True,
        )

    @staticmethod
    def place(X: Vector) -> Any:
        return _cupy().asarray(X)

    def go_on(self, penalty: float, tol: float, max_iter: int) -> int:
        relative = min(tol / self.objective, np.sqrt(tol))  # what makes relative · max(f, relative) the given tol
        # A gradient of such entries leaves a gap of about tol²/(2 l2). Ten steps that gain less have ended.
        delta = min(0.01 * relative, tol**2 / (2 * penalty) / max(self.objective, relative))
        model = self._model
        model.set_params(l2_strength=penalty, tol=relative, delta=delta, max_iter=max_iter)
        model.fit(self.placed, self._y, sample_weight=self._weight)
        n_iter = model.n_iter_ if hasattr(model, "n_iter_") else model.num_iters  # the name in 25.10
        return min(int(n_iter), max_iter)  # it says one more when it runs out of them

    def parameters(self) -> tuple[Vector, Vector]:
        as_numpy = _cupy().asnumpy
        return as_numpy(self._model.coef_), as_numpy(self._model.intercept_).reshape(-1)
