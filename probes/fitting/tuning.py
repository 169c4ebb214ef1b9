"""Choose a hyper-parameter on training and validation images. No function here has an argument for test images."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Sequence

from featurestore.errors import ConfigurationError, ProbeError
from probes import metrics
from probes.fitting.fitted import Choice, Evidence, Trial
from probes.metrics import Metric
from probes.objective import Features, Labels, LogisticFit, Vector, probabilities


def choose_l2(
    fit_path: Callable[..., list[LogisticFit]],
    X_train: Features,
    y_train: Labels,
    X_val: Features,
    y_val: Labels,
    *,
    l2s: Sequence[float],
    metric: str,
) -> Choice:
    """Fit every l2 on the training images and choose the one that does best on the validation images.

    Ties go to the stronger regularisation.

    Parameters
    ----------
    fit_path : callable
        The `fit_path` of a solver (`probes.solvers`), with all its arguments set but X, y and l2s.
    X_train, X_val : ndarray of shape (n_train, n_features) and (n_val, n_features)
    y_train, y_val : ndarray of shape (n,) or (n, n_classes)
    l2s : sequence of float
    metric : str
        Name of one of `probes.metrics`.

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
    fits = fit_path(X_train, y_train, l2s=sorted(l2s))
    trials = tuple(
        Trial(
            value=fit.l2,
            validation=measure(probabilities(X_val, fit.coef, fit.intercept, y_val.ndim == 2), y_val).value,
            evidence=Evidence.of(fit),
        )
        for fit in fits
    )
    return choose(trials, higher_is_better=measure.higher_is_better)


def choose_value(
    val_scores: Iterable[tuple[float, Vector]],
    y_val: Labels,
    *,
    metric: str,
    probabilistic: bool = True,
    stronger_last: bool = True,
) -> Choice:
    """Choose among values of a hyper-parameter, given the scores of the validation images for each value.

    Parameters
    ----------
    val_scores : iterable of (float, ndarray of shape (n_val, n_classes))
        Values in ascending order, each with its scores. Scores are computed during the iteration, so that the seconds
        of a trial are the time of its scores.
    y_val : ndarray of shape (n_val,) or (n_val, n_classes)
    metric : str
        Name of one of `probes.metrics`.
    probabilistic : bool
        Whether the scores are probabilities.
    stronger_last : bool
        Whether larger values regularise more. Ties go to the stronger regularisation.

    Raises
    ------
    UnknownNameError
        If there is no such metric.
    ProbeError
        If the metric needs probabilities and the scores are no probabilities.
    """
    measure = measure_of(metric, y_val, probabilistic=probabilistic)
    trials = []
    start = time.perf_counter()
    for value, scores in val_scores:
        seconds = time.perf_counter() - start
        trials.append(Trial(float(value), measure(scores, y_val).value, Evidence(seconds=seconds)))
        start = time.perf_counter()
    return choose(tuple(trials), higher_is_better=measure.higher_is_better, stronger_last=stronger_last)


def measure_of(metric: str, y: Labels, *, probabilistic: bool) -> Metric:
    """Return the metric of that name, which must be defined for such labels and scores.

    Raises
    ------
    UnknownNameError
        If there is no such metric.
    ProbeError
        If the metric is not defined for them.
    """
    measure = metrics.by_name(metric)
    defined = metrics.names(multilabel=y.ndim == 2, probabilistic=probabilistic)
    if metric not in defined:
        labels = "several labels per image" if y.ndim == 2 else "one label per image"
        scores = "probabilities" if probabilistic else "scores that are no probabilities"
        raise ProbeError(f"With {labels} and {scores}, the metric must be one of {', '.join(defined)}. Got {metric!r}.")
    return measure


def check_grid(name: str, values: Sequence[float], *, largest: float = math.inf) -> None:
    """Raise ConfigurationError unless `values`, at least one, are positive and at most `largest`."""
    if not values or not all(0 < value <= largest for value in values):
        limit = "" if largest == math.inf else f" and at most {largest:g}"
        raise ConfigurationError(f"{name} must be one or more values above 0{limit}. Got {list(values)}.")


def choose(trials: tuple[Trial, ...], *, higher_is_better: bool, stronger_last: bool = True) -> Choice:
    """Choose the best of trials, which are in ascending order of value. Ties go to the stronger regularisation.

    Raises
    ------
    ConfigurationError
        If there are no trials.
    """
    if not trials:
        raise ConfigurationError("A grid must have at least one value. Got none.")
    sign = 1 if higher_is_better else -1
    in_order = reversed(trials) if stronger_last else iter(trials)
    best = max(in_order, key=lambda trial: sign * trial.validation)
    return Choice(best.value, best.value in (trials[0].value, trials[-1].value), trials)
