"""Minimisers of `probes.objective`, one per file; the file name is the solver's name everywhere.

Adding a solver is adding a file here with one function,

    fit_path(X, y, *, l2s, n_classes, gap_tolerance=GAP_TOLERANCE, max_iter=1000, device="auto") -> list[LogisticFit]

whose arguments and promises are those of `FitPath`. `tests/test_solvers.py` then tests it with the others. A file is
imported only when its solver is asked for, so a solver may need a library that is not always there.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Protocol, cast

from featurestore import registry
from probes.objective import GAP_TOLERANCE, Features, Labels, LogisticFit


class FitPath(Protocol):
    """What every solver's `fit_path` does."""

    def __call__(
        self,
        X: Features,
        y: Labels,
        *,
        l2s: Sequence[float],
        n_classes: int,
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
