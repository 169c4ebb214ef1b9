"""What fitting a probe gives back: the scores it can make, the choice it made, and the evidence for both."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from probes.objective import Features, LogisticFit, Vector


@dataclass(frozen=True)
class Evidence:
    """How well a fit was done; None where that makes no sense for the probe.

    The fields are those of the columns of the same names in the `results` and `tuning` tables.
    """

    objective: float | None = None
    gradient_norm: float | None = None
    duality_gap: float | None = None
    n_iter: int | None = None
    converged: bool | None = None
    seconds: float | None = None

    @classmethod
    def of(cls, fit: LogisticFit) -> Evidence:
        """The evidence that a logistic fit carries."""
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
    """A value of a hyper-parameter, what it gives on the validation images, and the evidence of that fit."""

    value: float
    validation: float
    evidence: Evidence


@dataclass(frozen=True)
class Choice:
    """A chosen value and the trials it won.

    Attributes
    ----------
    value : float
    at_grid_edge : bool
        Whether it is the smallest or largest value tried, so that a better one may lie outside.
    trials : tuple of Trial
        Ascending in value.
    """

    value: float
    at_grid_edge: bool
    trials: tuple[Trial, ...]


@dataclass(frozen=True)
class FittedProbe:
    """A probe that is ready to score images, or what a method has measured without being able to.

    Attributes
    ----------
    scores : callable or None
        Features (n, n_features) to scores (n, n_classes), float64: probabilities if `probabilistic`, else any number
        that is larger for a likelier class. None for a method that scores features, not images.
    probabilistic : bool
        Whether the scores are probabilities (rows that add up to 1; multi-label, each in [0, 1]).
    choice : Choice or None
        What was chosen on the validation images; None if there was nothing to choose.
    evidence : Evidence
        Of the final fit.
    measures : mapping of str to float
        What the method has measured by itself on the images it was given; a row of `results` each, of that name.
    """

    scores: Callable[[Features], Vector] | None
    probabilistic: bool = True
    choice: Choice | None = None
    evidence: Evidence = Evidence()
    measures: Mapping[str, float] = field(default_factory=dict)
