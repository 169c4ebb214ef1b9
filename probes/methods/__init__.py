"""Probes, one per file; the file name is the probe's name everywhere.

Adding a probe is adding a file here that has what `Method` asks for. The first line of its docstring is what
`probestore list probes` says of it; formula, shapes and source follow. A method receives arrays and returns a
`probes.fitted.FittedProbe`; it reads and writes nothing, and it never sees a test image.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Protocol, cast

from featurestore import registry
from probes.fitted import FittedProbe
from probes.objective import Features, Labels


class Fit(Protocol):
    """What every method's `fit` does."""

    def __call__(
        self,
        X_train: Features,
        y_train: Labels,
        X_val: Features,
        y_val: Labels,
        *,
        n_classes: int,
        metric: str,
        solver: str,
        seed: int,
        device: str,
    ) -> FittedProbe:
        """Choose on the validation images, then fit on both.

        Parameters
        ----------
        X_train, X_val : ndarray of shape (n_train, n_features) and (n_val, n_features)
            float16, float32 or float64.
        y_train, y_val : ndarray of shape (n,) or (n, n_classes)
            Class indices, or booleans when multi-label.
        n_classes : int
        metric : str
            Name in `probes.metrics` by which to choose.
        solver : str
            One of `SOLVERS`; empty if there are none.
        seed : int
            Of whatever is random in the method.
        device : str
            "auto", "cpu" or "cuda".

        Raises
        ------
        ProbeError
            If the arrays cannot be fitted.
        UnknownNameError
            If there is no such metric or solver.
        """


class Method(Protocol):
    """A module of this folder."""

    HYPERPARAMETER: str | None
    """Name of what is chosen on the validation images; None if there is nothing to choose."""

    SOLVERS: tuple[str, ...]
    """Names in `probes.solvers` that it can use, the preferred one first; empty if it needs none."""

    OPTIONS: Mapping[str, object]
    """Whatever else decides its numbers, such as a grid, as JSON-serialisable values; part of a cell's key."""

    fit: Fit


def names() -> list[str]:
    """Names of all methods, sorted."""
    return registry.names(sys.modules[__name__])


def load(name: str) -> Method:
    """Import a method.

    Raises
    ------
    UnknownNameError
        If there is no file of that name.
    """
    return cast(Method, registry.load(sys.modules[__name__], "probe", name))
