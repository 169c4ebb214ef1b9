"""Choose a hyper-parameter on training and validation images. No function here has an argument for test images.

The value with the best metric on the validation images is chosen. A metric that counts images takes few values, so that
it is often the same for many values of a hyper-parameter, and says nothing about them then: where all images are right,
the strongest regularisation is as good as the weakest. Of values with equal metrics, those with the smallest loss on
the validation images are taken, and of these the middle one. The loss is the cross-entropy where the scores are
probabilities, else the squared error.

The choice depends neither on the order of a grid nor on values whose metric is worse.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from featurestore.errors import ConfigurationError, ProbeError
from probes import metrics
from probes.fitting.fitted import Choice, Evidence, Trial
from probes.metrics import Metric
from probes.objective import Features, Labels, LogisticFit, Vector, probabilities

METRIC_TOLERANCE = 1e-12
"""Metrics that differ by less are equal: they are means of the same numbers, added in another order."""

LOSS_TOLERANCE = 1e-6
"""Losses that differ by less than this part of the smallest are equal: no set of images could tell them apart."""

SMALLEST_LOSS = 1e-4
"""Losses that differ by less are equal. A label with this cross-entropy has a probability of 0.9999; where classes can
be told apart, still smaller losses say only that the weights are larger, and would always choose the end of a grid."""


@dataclass(frozen=True)
class Loss:
    """A loss of scores, smaller where they are better.

    Attributes
    ----------
    kind : str
        Its name in the table `tuning`.
    function : callable
        Scores (n, n_classes) and labels -> the mean over images.
    """

    kind: str
    function: Callable[[Vector, Labels], float]

    def __call__(self, scores: Vector, y: Labels) -> float:
        return self.function(scores, y)


CROSS_ENTROPY = Loss("cross_entropy", lambda scores, y: metrics.nll(scores, y).value)
"""Mean over images, in nats; with several labels per image, summed over classes."""


def squared_error(absent: float = 0.0, present: float = 1.0) -> Loss:
    """Return the mean over images of the squared distance to the targets, summed over classes.

    Parameters
    ----------
    absent, present : float
        Target of the classes that an image does not have, and of those that it has.
    """

    def error(scores: Vector, y: Labels) -> float:
        shown = y.astype(np.bool_) if y.ndim == 2 else y[:, None] == np.arange(scores.shape[1])
        return float(np.sum((scores - np.where(shown, present, absent)) ** 2) / len(y))

    return Loss("squared_error", error)


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

    Parameters
    ----------
    fit_path : callable
        The `fit_path` of a solver (`probes.solvers`), with all its arguments set but X, y and l2s.
    X_train, X_val : ndarray of shape (n_train, n_features) and (n_val, n_features)
    y_train, y_val : ndarray of shape (n,) or (n, n_classes)
    l2s : sequence of float
        In any order.
    metric : str
        Name of one of `probes.metrics`.

    Raises
    ------
    UnknownNameError
        If there is no such metric.
    ConfigurationError
        If `l2s` is empty.
    ProbeError
        If the training images cannot be fitted, there are no validation images, or the metric is not defined for them.
    """
    measure = measure_of(metric, y_val, probabilistic=True)
    fits = fit_path(X_train, y_train, l2s=sorted(set(l2s)))
    trials = []
    for fit in fits:
        scores = probabilities(X_val, fit.coef, fit.intercept, y_val.ndim == 2)
        trials.append(Trial(fit.l2, measure(scores, y_val).value, Evidence.of(fit), CROSS_ENTROPY(scores, y_val)))
    return choose(trials, higher_is_better=measure.higher_is_better, loss_kind=CROSS_ENTROPY.kind)


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
        Values with their scores. Scores are computed during the iteration, so that the seconds of a trial are the time
        of its scores.
    y_val : ndarray of shape (n_val,) or (n_val, n_classes)
    metric : str
        Name of one of `probes.metrics`.
    probabilistic : bool
        Whether the scores are probabilities. If not, they are close to 1 for classes that an image has and to 0 for
        others.
    stronger_last : bool
        Whether larger values regularise more.

    Raises
    ------
    UnknownNameError
        If there is no such metric.
    ProbeError
        If the metric needs probabilities and the scores are no probabilities, or there are no validation images.
    """
    measure = measure_of(metric, y_val, probabilistic=probabilistic)
    loss = CROSS_ENTROPY if probabilistic else squared_error()
    trials = []
    start = time.perf_counter()
    for value, scores in val_scores:
        seconds = time.perf_counter() - start
        validation = measure(scores, y_val).value
        trials.append(Trial(float(value), validation, Evidence(seconds=seconds), loss(scores, y_val)))
        start = time.perf_counter()
    return choose(trials, higher_is_better=measure.higher_is_better, stronger_last=stronger_last, loss_kind=loss.kind)


def measure_of(metric: str, y: Labels, *, probabilistic: bool) -> Metric:
    """Return the metric of that name, which must be defined for such validation images and scores.

    Raises
    ------
    UnknownNameError
        If there is no such metric.
    ProbeError
        If the metric is not defined for them, or there are no validation images.
    """
    measure = metrics.by_name(metric)
    defined = metrics.names(multilabel=y.ndim == 2, probabilistic=probabilistic)
    if metric not in defined:
        labels = "several labels per image" if y.ndim == 2 else "one label per image"
        scores = "probabilities" if probabilistic else "scores that are no probabilities"
        raise ProbeError(f"With {labels} and {scores}, the metric must be one of {', '.join(defined)}. Got {metric!r}.")
    if not len(y):
        raise ProbeError(
            "A hyper-parameter is chosen on the validation images. Got none: all of them are unreadable. "
            "`probestore query skipped_images` shows why."
        )
    return measure


def check_grid(name: str, values: Sequence[float], *, largest: float = math.inf) -> None:
    """Raise ConfigurationError unless `values`, at least one, are positive and at most `largest`."""
    if not values or not all(0 < value <= largest for value in values):
        limit = "" if largest == math.inf else f" and at most {largest:g}"
        raise ConfigurationError(f"{name} must be one or more values above 0{limit}. Got {list(values)}.")


def choose(
    trials: Iterable[Trial], *, higher_is_better: bool, stronger_last: bool = True, loss_kind: str = ""
) -> Choice:
    """Choose the best of trials, as the module docstring says.

    Parameters
    ----------
    trials : iterable of Trial
        In any order, each value once.
    higher_is_better : bool
        Of the metric.
    stronger_last : bool
        Whether larger values regularise more. Of two values in the middle, the one that regularises more is taken.
    loss_kind : str
        What the losses are.

    Raises
    ------
    ConfigurationError
        If there are no trials.
    """
    ordered = sorted(trials, key=lambda trial: trial.value)
    if not ordered:
        raise ConfigurationError("A grid must have at least one value. Got none.")
    ties = tied([trial.validation for trial in ordered], higher_is_better=higher_is_better)
    equal = np.flatnonzero(_least(np.where(ties, [trial.loss for trial in ordered], np.nan), ties))
    middle = equal[len(equal) // 2 if stronger_last else (len(equal) - 1) // 2]
    return Choice(ordered[middle].value, _is_edge(int(middle), equal, len(ordered)), tuple(ordered), loss_kind)


def tied(validations: ArrayLike, *, higher_is_better: bool) -> NDArray[np.bool_]:
    """Return which values (n,) of a metric equal the best one; all of them if none is a number.

    Parameters
    ----------
    validations : array-like of shape (n,)
        NaN where the metric is not defined, which is worse than any number.
    higher_is_better : bool
    """
    values = np.asarray(validations, dtype=np.float64)
    if np.isnan(values).all():
        return np.ones(len(values), dtype=np.bool_)
    best = np.nanmax(values) if higher_is_better else np.nanmin(values)
    return np.isclose(values, best, rtol=METRIC_TOLERANCE, atol=METRIC_TOLERANCE)


def _least(losses: Vector, among: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return which losses (n,) equal the smallest; `among` if none is a finite number."""
    finite = np.isfinite(losses)
    if not finite.any():
        return among
    least = losses[finite].min()
    equal: NDArray[np.bool_] = finite & (losses <= least + max(LOSS_TOLERANCE * abs(least), SMALLEST_LOSS))
    return equal


def _is_edge(chosen: int, equal: NDArray[np.intp], n: int) -> bool:
    """Return whether the chosen of n values is an end, and the value beside it is not as good. One value is an end."""
    beside = {0: 1, n - 1: n - 2}
    return chosen in beside and (n == 1 or beside[chosen] not in equal)
