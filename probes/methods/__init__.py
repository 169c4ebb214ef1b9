"""Probes, one per file; the file name is the probe's name everywhere.

To add a probe, add a file here that has the names of `Method`. `probestore list probes` shows the first line of its
docstring; formula, shapes and source follow it. A method takes arrays and returns a
`probes.fitting.fitted.FittedProbe`. It reads and writes no file, and it never sees a test image.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import Any, Protocol, cast

from featurestore import registry
from probes.fitting.fitted import FittedProbe
from probes.fitting.learning_task import LearningTask


@dataclass(frozen=True)
class FitResources:
    """The solver, the seed and the device that a fit uses.

    Attributes
    ----------
    solver : str
        One of the method's `SOLVERS`; empty if the method has none.
    seed : int
        Seed of all random numbers of the fit.
    device : str
        "auto", "cpu" or "cuda".
    """

    solver: str = ""
    seed: int = 0
    device: str = "auto"

    def torch_device(self) -> str:
        """Return "cpu" or "cuda": the device that `device` stands for on this machine."""
        import torch

        if self.device == "auto":
            return "cuda" if torch.cuda.is_available() else "cpu"
        return self.device


class Fit(Protocol):
    """The function `fit` of every method."""

    def __call__(self, task: LearningTask, options: Any, resources: FitResources) -> FittedProbe:
        """Choose on the validation images, then fit on `task.final`.

        Parameters
        ----------
        task : LearningTask
        options : Options
            The `Options` of the same method.
        resources : FitResources

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
    """Name of the hyper-parameter that is chosen on the validation images; None if the method has none."""

    SOLVERS: tuple[str, ...]
    """Names of the `probes.solvers` that the method can use, the default first; empty if it needs no solver."""

    MULTILABEL: bool
    """Whether the method also takes tasks in which an image can have several labels."""

    PREDICTS: bool
    """Whether the method scores images. False if it only measures features. A file without this name means True."""

    NEEDS_CLASSIFIER: bool
    """Whether the method uses the network's own classifier, `LearningTask.source_probabilities`. A file without this
    name means False."""

    Options: type
    """A frozen dataclass of all other settings that change the numbers, such as a grid. Every field has a default.

    Fields must be JSON-serialisable. A study sets them in ``[probe.<name>]``, and they are part of a cell's key.
    """

    fit: Fit


def names() -> list[str]:
    """Return the names of all methods, sorted."""
    return registry.names(sys.modules[__name__])


def load(name: str) -> Method:
    """Import the method of that name.

    Raises
    ------
    UnknownNameError
        If there is no file of that name.
    """
    return cast(Method, registry.load(sys.modules[__name__], "probe", name))


def predicts(name: str) -> bool:
    """Return whether a method scores images. If not, it only measures features."""
    return getattr(load(name), "PREDICTS", True)


def needs_classifier(name: str) -> bool:
    """Return whether a method uses the network's own classifier."""
    return getattr(load(name), "NEEDS_CLASSIFIER", False)
