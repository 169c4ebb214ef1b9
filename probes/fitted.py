"""What fitting a probe gives back: the scores it can make, the choice it made, and the evidence for both."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

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
class FittedProbe:
    """A probe that is ready to score images.

    Attributes
    ----------
    hyperparameter : str or None
        Name of what was chosen on the validation images; None if there was nothing to choose.
    chosen : float or None
    at_grid_edge : bool or None
        Whether the choice was the first or last of its grid, so that a better value may lie outside.
    trials : tuple of Trial
        Ascending in value.
    evidence : Evidence
        Of the final fit.
    scores : callable
        Features (n, n_features) to probabilities (n, n_classes), float64.
    """

    hyperparameter: str | None
    chosen: float | None
    at_grid_edge: bool | None
    trials: tuple[Trial, ...]
    evidence: Evidence
    scores: Callable[[Features], Vector]
