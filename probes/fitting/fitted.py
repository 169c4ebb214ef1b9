"""A fitted probe: its scores, its choice of a hyper-parameter, and the evidence for both."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from probes.objective import Features, LogisticFit, Vector


@dataclass(frozen=True)
class Evidence:
    """Numbers that show how good a fit is. A number that a probe does not have is None.

    Each field is a column of the same name in the tables `results` and `tuning`.
    """

    objective: float | None = None
    gradient_norm: float | None = None
    duality_gap: float | None = None
    n_iter: int | None = None
    converged: bool | None = None
    seconds: float | None = None

    @classmethod
    def of(cls, fit: LogisticFit) -> Evidence:
        """Take the evidence from a logistic fit."""
        return cls(
            objective=fit.certificate.objective,
            gradient_norm=fit.certificate.gradient_norm,
            duality_gap=fit.certificate.duality_gap,
            n_iter=fit.n_iter,
            converged=fit.converged,
            seconds=fit.seconds,
        )


@dataclass(frozen=True)
class Trial:
    """One value of a hyper-parameter, and how well its fit does on the validation images.

    Attributes
    ----------
    value : float
    validation : float
        The metric.
    evidence : Evidence
        The evidence of that fit.
    loss : float
        The loss, which tells values apart that the metric does not; NaN if it is not known.
    """

    value: float
    validation: float
    evidence: Evidence
    loss: float = math.nan


@dataclass(frozen=True)
class Choice:
    """The chosen value of a hyper-parameter, and all values that were tried.

    Attributes
    ----------
    value : float
    at_grid_edge : bool
        Whether the value is the smallest or largest that was tried, and better than the one beside it. A still better
        one may lie outside the grid then.
    trials : tuple of Trial
        In ascending order of value.
    loss_kind : str
        What the losses of the trials are: ``cross_entropy`` or ``squared_error``; empty if they have none.
    """

    value: float
    at_grid_edge: bool
    trials: tuple[Trial, ...]
    loss_kind: str = ""


@dataclass(frozen=True)
class FittedProbe:
    """A probe that can score images, or the measures of a method that cannot.

    Attributes
    ----------
    scores : callable or None
        Features (n, n_features) -> scores (n, n_classes), float64: probabilities if `probabilistic`, else numbers that
        are larger for likelier classes. None for a method that measures features and scores no images.
    probabilistic : bool
        Whether the scores are probabilities: rows that add up to 1 or, with several labels per image, values in [0, 1].
    choice : Choice or None
        The choice that was made on the validation images; None if the method has nothing to choose.
    evidence : Evidence
        The evidence of the final fit.
    refitted : bool
        Whether the final fit used the validation images, too, where it could (`probes.fitting.refit`).
    measures : mapping of str to float
        Name -> number that the method has measured on the images it was given. Each becomes a row of `results`.
    """

    scores: Callable[[Features], Vector] | None
    probabilistic: bool = True
    choice: Choice | None = None
    evidence: Evidence = Evidence()
    refitted: bool = True
    measures: Mapping[str, float] = field(default_factory=dict)
