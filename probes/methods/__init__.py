"""Probes, one per file; the file name is the probe's name everywhere.

Adding a probe is adding a file here that has what `Method` asks for. The first line of its docstring is what
`probestore list probes` says of it; formula, shapes and source follow. A method receives arrays and returns a
`probes.fitting.fitted.FittedProbe`; it reads and writes nothing, and it never sees a test image.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import Any, Protocol, cast

from featurestore import registry
from probes.fitting.fitted import FittedProbe
from probes.fitting.task import Task


@dataclass(frozen=True)
class Means:
    """What a fit may use.

    Attributes
    ----------
    solver : str
        One of the method's `SOLVERS`; empty if it has none.
    seed : int
        Of whatever is random in the method.
    device : str
        "auto", "cpu" or "cuda".
    """

    solver: str = ""
    seed: int = 0
    device: str = "auto"

    def torch_device(self) -> str:
        """What `device` stands for on this machine: "cpu" or "cuda"."""
        import torch

        if self.device == "auto":
            return "cuda" if torch.cuda.is_available() else "cpu"
        return self.device


class Fit(Protocol):
    """What every method's `fit` does."""

    def __call__(self, task: Task, options: Any, means: Means) -> FittedProbe:
        """Choose on the validation images, then fit on `task.final`.

        Parameters
        ----------
        task : Task
        options : Options
            Of the method's own kind.
        means : Means

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

    MULTILABEL: bool
    """Whether it also takes tasks in which an image can have several labels."""

    PREDICTS: bool
    """False if its fits have no scores: a measure of the features alone. It may be left out where it is True."""

    NEEDS_CLASSIFIER: bool
    """True if it asks the network's own classifier, `Task.source_probabilities`. It may be left out where False."""

    Options: type
    """A frozen dataclass of whatever else decides its numbers, such as a grid; every field has a default.

    Fields are JSON-serialisable; a study sets them in ``[probe.<name>]``, and they are part of a cell's key.
    """

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


def predicts(name: str) -> bool:
    """Whether a method scores images, rather than measure the features alone."""
    return getattr(load(name), "PREDICTS", True)


def needs_classifier(name: str) -> bool:
    """Whether a method asks what the network's own classifier says of the images."""
    return getattr(load(name), "NEEDS_CLASSIFIER", False)
