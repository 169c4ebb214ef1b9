"""A fitted probe: its scores, its choice of a hyper-parameter, and the evidence for both."""

from __future__ import annotations

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
    """One value of a hyper-parameter, the metric of its fit on the validation images, and the evidence of that fit."""

    value: float
    validation: float
    evidence: Evidence


@dataclass(frozen=True)
class Choice:
    """The chosen value of a hyper-parameter, and all values that were tried.

    Attributes
    ----------
    value : float
    at_grid_edge : bool
        Whether the value is the smallest or largest that was tried. A better one may lie outside the grid then.
    trials : tuple of Trial
        In ascending order of value.
    """

    value: float
    at_grid_edge: bool
    trials: tuple[Trial, ...]


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
    measures : mapping of str to float
        Name -> number that the method has measured on the images it was given. Each becomes a row of `results`.
    """

    scores: Callable[[Features], Vector] | None
    probabilistic: bool = True
    choice: Choice | None = None
    evidence: Evidence = Evidence()
    measures: Mapping[str, float] = field(default_factory=dict)
