"""Choice of a hyper-parameter on train and validation arrays; no argument could bring a test set in."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from featurestore.errors import ConfigurationError
from probes import metrics
from probes.fitted import Evidence, Trial
from probes.objective import Features, Labels, probabilities
from probes.solvers import FitPath


@dataclass(frozen=True)
class Choice:
    """A chosen value and the trials it won.

    Attributes
    ----------
    value : float
    at_grid_edge : bool
        Whether it is the smallest or largest value tried.
    trials : tuple of Trial
        Ascending in value.
    """

    value: float
    at_grid_edge: bool
    trials: tuple[Trial, ...]


def choose_l2(
    fit_path: FitPath,
    X_train: Features,
    y_train: Labels,
    X_val: Features,
    y_val: Labels,
    *,
    l2s: Sequence[float],
    n_classes: int,
    metric: str,
    device: str = "auto",
) -> Choice:
    """Fit every l2 on the training images and choose the one that does best on the validation images.

    Ties go to the stronger regularisation.

    Parameters
    ----------
    fit_path : callable
        A solver's; see `probes.solvers`.
    X_train, X_val : ndarray of shape (n_train, n_features) and (n_val, n_features)
    y_train, y_val : ndarray of shape (n,) or (n, n_classes)
    l2s : sequence of float
    n_classes : int
    metric : str
        Name of one of `probes.metrics`.
    device : str

    Raises
    ------
    UnknownNameError
        If there is no such metric.
    ConfigurationError
        If `l2s` is empty.
    ProbeError
        If the training images cannot be fitted.
    """
    measure = metrics.by_name(metric)
    fits = fit_path(X_train, y_train, l2s=sorted(l2s), n_classes=n_classes, device=device)
    trials = tuple(
        Trial(
            value=fit.l2,
            validation=measure(probabilities(X_val, fit.coef, fit.intercept, y_val.ndim == 2), y_val).value,
            evidence=Evidence.of(fit),
        )
        for fit in fits
    )
    return choose(trials, higher_is_better=measure.higher_is_better)


def choose(trials: tuple[Trial, ...], *, higher_is_better: bool) -> Choice:
    """Choose the best of trials that ascend in strength of regularisation; ties go to the last of them.

    Raises
    ------
    ConfigurationError
        If there are no trials.
    """
    if not trials:
        raise ConfigurationError("A grid needs at least one value. Got none.")
    sign = 1 if higher_is_better else -1
    best = max(reversed(trials), key=lambda trial: sign * trial.validation)
    return Choice(best.value, best.value in (trials[0].value, trials[-1].value), trials)
