"""Minimisers of `probes.objective`, one per file; the file name is the solver's name everywhere.

Adding a solver is adding a file here with one function,

    fit_path(X, y, *, l2s, n_classes, sample_weight=None, fit_intercept=True, gap_tolerance=GAP_TOLERANCE,
             max_iter=1000, device="auto") -> list[LogisticFit]

whose arguments and promises are those of `FitPath`. `tests/test_solvers.py` then tests it with the others. A file is
imported only when its solver is asked for, so a solver may need a library that is not always there.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Protocol, cast

from featurestore import registry
from probes.objective import GAP_TOLERANCE, Features, Labels, LogisticFit, Vector


class FitPath(Protocol):
    """What every solver's `fit_path` does."""

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
        """Minimise the objective at every l2, from strong to weak whatever their order.

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
            Not negative; only their ratios matter, in each class by themselves. An image that weighs nothing might as
            well not be there.
        fit_intercept : bool
            False holds the biases at 0. A class without images is then a class like any other.
        gap_tolerance : float
            Relative duality gap to reach.
        max_iter : int
            Iterations allowed for each l2. A fit that needs more comes back with ``converged=False``.
        device : str
            "auto", "cpu" or "cuda"; solvers that have no choice disregard it.

        Returns
        -------
        list of LogisticFit
            In the order of `l2s`.

        Raises
        ------
        ProbeError
            If X and y cannot be fitted (`probes.objective.check_data`).
        ConfigurationError
            If the solver needs a library or a device that is not there.
        """


class Solver(Protocol):
    """A module of this folder."""

    fit_path: FitPath


def names() -> list[str]:
    """Names of all solvers, sorted."""
    return registry.names(sys.modules[__name__])


def load(name: str) -> Solver:
    """Import a solver.

    Raises
    ------
    UnknownNameError
        If there is no file of that name.
    """
    return cast(Solver, registry.load(sys.modules[__name__], "solver", name))
