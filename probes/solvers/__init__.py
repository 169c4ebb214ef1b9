"""Minimisers of `probes.objective`, one per file; the file name is the solver's name everywhere.

To add a solver, add a file here with one function,

    fit_path(X, y, *, l2s, n_classes, sample_weight=None, fit_intercept=True, gap_tolerance=GAP_TOLERANCE,
             max_iter=1000, device="auto") -> list[LogisticFit]

`FitPath` describes its arguments and what it must do; the tests of the solvers then run on the new one too. A file is
imported only when a fit uses its solver, so that a solver may need a library that is not always installed.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Protocol, cast

from featurestore import registry
from probes.objective import GAP_TOLERANCE, Features, Labels, LogisticFit, Vector


class FitPath(Protocol):
    """The function `fit_path` of every solver."""

    def __call__(
        self,
        X: Features,
        y: Labels,
        *,
        l2s: Sequence[float],
        n_classes: int,
        sample_weight: Vector | None = None,
        fit_intercept: bool = True,
        gap_tolerance: float = GAP_TOLERANCE,
        max_iter: int = 1000,
        device: str = "auto",
    ) -> list[LogisticFit]:
        """Minimise the objective at every l2. Fits go from strong to weak l2, whatever the order of `l2s`.

        Parameters
        ----------
        X : ndarray of shape (n, n_features)
            float16, float32 or float64.
        y : ndarray of shape (n,) or (n, n_classes)
            Class indices, or booleans when multi-label.
        l2s : sequence of float
            Positive.
        n_classes : int
        sample_weight : ndarray of shape (n,) or, when multi-label, (n, n_classes), optional
            Not negative. Only the ratios of weights matter, within each class. An image of weight 0 has no effect.
        fit_intercept : bool
            False holds the biases at 0. A class without images is then fitted like any other class.
        gap_tolerance : float
            Relative duality gap to reach.
        max_iter : int
            Most iterations for each l2. A fit that needs more has ``converged=False``.
        device : str
            "auto", "cpu" or "cuda". A solver that runs on one kind of device ignores it.

        Returns
        -------
        list of LogisticFit
            In the order of `l2s`.

        Raises
        ------
        ProbeError
            If X and y cannot be fitted (`probes.objective.check_data`).
        ConfigurationError
            If the solver needs a library or a device that this machine does not have.
        """


class Solver(Protocol):
    """A module of this folder."""

    fit_path: FitPath


def names() -> list[str]:
    """Return the names of all solvers, sorted."""
    return registry.names(sys.modules[__name__])


def load(name: str) -> Solver:
    """Import the solver of that name.

    Raises
    ------
    UnknownNameError
        If there is no file of that name.
    """
    return cast(Solver, registry.load(sys.modules[__name__], "solver", name))
