"""Metrics, one function each: class probabilities and labels -> a value with its standard error.

Every metric takes `scores`, probabilities in an ndarray of shape (n, n_classes), and `y`, an ndarray of shape (n,) of
class indices or, when images can have several labels, of shape (n, n_classes) of booleans. It returns a `Score`. The
standard error says how much the value of the same probe would vary with other test images. A mean over classes leaves
out classes without a test image; it is NaN if no class has one. Accuracies and errors are fractions.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from featurestore.errors import UnknownNameError
from probes.objective import Labels, Vector

N_BOOTSTRAP = 200  # resamples: the standard error is known to 1 / sqrt(2 · 200), 5 % of itself
BOOTSTRAP_SEED = 0
CALIBRATION_BINS = 15
PROBABILITY_FLOOR = float(np.finfo(np.float64).eps)  # 2.2e-16: no image costs more than 36 nats


def share_error(share: Vector | float, n: NDArray[np.intp] | int) -> Vector | float:
    """Return the standard error of a share of n images: half the width of Wilson's interval at one standard deviation.

    It is above 0 at shares of 0 and 1, too.
    """
    error: Vector | float = np.sqrt(share * (1 - share) / n + 1 / (4 * n**2)) / (1 + 1 / n)
    return error


class Score(NamedTuple):
    """A metric's value and its standard error, in the same unit."""

    value: float
    standard_error: float


def top1(scores: Vector, y: Labels) -> Score:
    """Share of images whose most probable class is right. Standard error: Wilson's."""
    correct = scores.argmax(axis=1) == y
    return Score(float(correct.mean()), float(share_error(correct.mean(), len(y))))


def top5(scores: Vector, y: Labels) -> Score:
    """Share of images whose class is among the five most probable. Standard error: Wilson's.

    Of classes with equal scores the earlier comes first, as in `top1`. With fewer than six classes it is 1.
    """
    of_label = scores[np.arange(len(y)), y, None]
    earlier = np.arange(scores.shape[1]) < y[:, None]
    ahead = (scores > of_label) | ((scores == of_label) & earlier)
    correct = ahead.sum(axis=1) < 5
    return Score(float(correct.mean()), float(share_error(correct.mean(), len(y))))


def mean_per_class(scores: Vector, y: Labels) -> Score:
    """Mean over classes of the recall. Standard error: Wilson's per class, with the classes as strata."""
    shown, of_class, n = np.unique(y, return_inverse=True, return_counts=True)
    recall = np.bincount(of_class, weights=scores.argmax(axis=1) == y) / n
    return Score(float(recall.mean()), float(np.linalg.norm(share_error(recall, n)) / len(shown)))


def balanced_accuracy(scores: Vector, y: Labels) -> Score:
    """Mean recall; multi-label, mean over classes of (sensitivity + specificity) / 2 at probability 1/2.

    With one label per image this is `mean_per_class`. With several labels, it leaves out classes that all or none of
    the images have, and the standard error comes from the delta method: one image counts in every class, so its
    contributions are added first.
    """
    if y.ndim == 1:
        return mean_per_class(scores, y)
    varied = np.flatnonzero(y.any(axis=0) & ~y.all(axis=0))
    if not varied.size:
        return Score(float("nan"), float("nan"))
    shown = y[:, varied].astype(np.bool_)
    right = (scores[:, varied] >= 0.5) == shown
    sensitivity, specificity = right.mean(axis=0, where=shown), right.mean(axis=0, where=~shown)
    frequency = shown.mean(axis=0)
    share, rate = np.where(shown, frequency, 1 - frequency), np.where(shown, sensitivity, specificity)
    contribution = ((right - rate) / share / 2).mean(axis=1)
    return Score(float((sensitivity + specificity).mean() / 2), _mean_error(contribution))


def map_11point(scores: Vector, y: Labels) -> Score:
    """Mean over classes of the 11-point interpolated average precision of PASCAL VOC 2007. Multi-label.

    AP = (1/11) Σ_{r = 0, 0.1, ..., 1} max {precision at recall ≥ r} (Everingham et al., IJCV 88, 2010, section 4.2).
    Images with equal scores enter together, so that their order in the file does not matter. Standard error: bootstrap
    over images.
    """
    rankings = [_Ranking.of(scores[:, k], y[:, k].astype(np.bool_)) for k in np.flatnonzero(y.any(axis=0))]
    every_image_once = np.ones(len(y), dtype=np.int64)

    def mean_ap(weights: NDArray[np.int64]) -> float:
        return _mean_of_numbers([ranking.average_precision(weights) for ranking in rankings])

    return Score(mean_ap(every_image_once), _bootstrap_error(mean_ap, len(y)))


def nll(scores: Vector, y: Labels) -> Score:
    """Mean negative log-likelihood of the labels, in nats; multi-label, summed over classes as in `probes.objective`.

    Probabilities are clipped to `PROBABILITY_FLOOR` first, so that a class the probe thought impossible costs 36 nats,
    not infinity. Standard error: of the sample mean.
    """
    of_label = np.where(y, scores, 1 - scores) if y.ndim == 2 else scores[np.arange(len(y)), y, None]
    losses = -np.log(np.maximum(of_label, PROBABILITY_FLOOR)).sum(axis=1)
    return Score(float(losses.mean()), _mean_error(losses))


def ece(scores: Vector, y: Labels) -> Score:
    """Expected calibration error of the most probable class, over 15 bins of equal width.

    ECE = Σ_b (n_b/n) |accuracy_b − confidence_b|.

    Guo et al., *On Calibration of Modern Neural Networks*, ICML 2017. Bins are closed above. Standard error: bootstrap
    over images; the error itself is biased upwards when a bin holds few images.
    """
    confidence = scores.max(axis=1)
    excess = (scores.argmax(axis=1) == y) - confidence
    bins = np.clip(np.ceil(confidence * CALIBRATION_BINS).astype(np.int64) - 1, 0, CALIBRATION_BINS - 1)

    def error(weights: NDArray[np.int64]) -> float:
        return float(np.abs(np.bincount(bins, weights=weights * excess)).sum() / len(y))

    return Score(error(np.ones(len(y), dtype=np.int64)), _bootstrap_error(error, len(y)))


@dataclass(frozen=True)
class Metric:
    """A metric: its name, the labels and scores it is defined for, and the function that a call runs.

    The value of a metric with `is_share` is a share of the test images, so that it gives the standard error, too.
    """

    name: str
    function: Callable[[Vector, Labels], Score]
    higher_is_better: bool
    single_label: bool
    multilabel: bool
    needs_probabilities: Literal["never", "multilabel", "always"]  # where not, the order of the scores is enough
    is_share: bool = False

    def __call__(self, scores: Vector, y: Labels) -> Score:
        return self.function(scores, y)

    def error_of(self, value: float, n_test: int) -> float | None:
        """Return the standard error that a value on so many test images has; None if it takes more to know it."""
        return float(share_error(value, n_test)) if self.is_share else None


METRICS = (
    Metric(
        "top1",
        top1,
        higher_is_better=True,
        single_label=True,
        multilabel=False,
        needs_probabilities="never",
        is_share=True,
    ),
    Metric(
        "top5",
        top5,
        higher_is_better=True,
        single_label=True,
        multilabel=False,
        needs_probabilities="never",
        is_share=True,
    ),
    Metric(
        "mean_per_class",
        mean_per_class,
        higher_is_better=True,
        single_label=True,
        multilabel=False,
        needs_probabilities="never",
    ),
    Metric(
        "map_11point",
        map_11point,
        higher_is_better=True,
        single_label=False,
        multilabel=True,
        needs_probabilities="never",
    ),
    Metric(
        "balanced_accuracy",
        balanced_accuracy,
        higher_is_better=True,
        single_label=True,
        multilabel=True,
        needs_probabilities="multilabel",
    ),
    Metric("nll", nll, higher_is_better=False, single_label=True, multilabel=True, needs_probabilities="always"),
    Metric("ece", ece, higher_is_better=False, single_label=True, multilabel=False, needs_probabilities="always"),
)


def names(*, multilabel: bool, probabilistic: bool = True) -> list[str]:
    """Return the names of the metrics that are defined for such labels and scores.

    Parameters
    ----------
    multilabel : bool
        Whether an image can have several labels.
    probabilistic : bool
        Whether the scores are probabilities. If not, only metrics that use the order of the scores are defined.
    """
    needed = {"always", "multilabel"} if multilabel else {"always"}
    of_task = [metric for metric in METRICS if (metric.multilabel if multilabel else metric.single_label)]
    return [metric.name for metric in of_task if probabilistic or metric.needs_probabilities not in needed]


def by_name(name: str) -> Metric:
    """Return the metric of that name.

    Raises
    ------
    UnknownNameError
        If there is no such metric.
    """
    known = {metric.name: metric for metric in METRICS}
    if name not in known:
        listed = f"Metrics are {', '.join(known)}."
        if name.lower() in ("accuracy", "acc"):  # what is written like it is another quantity
            raise UnknownNameError("metric", name, (), f"Accuracy is top1, or mean_per_class over classes. {listed}")
        raise UnknownNameError("metric", name, known, listed)
    return known[name]


@dataclass(frozen=True)
class _Ranking:
    """The images in descending order of a class's score."""

    order: NDArray[np.intp]  # (n,)
    positive: NDArray[np.bool_]  # (n,), in that order
    last_of_tie: NDArray[np.intp]  # positions at which a group of equal scores ends

    @classmethod
    def of(cls, scores: Vector, positive: NDArray[np.bool_]) -> _Ranking:
        order = np.argsort(-scores, kind="stable")
        ends = np.append(np.diff(scores[order]) != 0, True)
        return cls(order, positive[order], np.flatnonzero(ends))

    def average_precision(self, weights: NDArray[np.int64]) -> float:
        """Return the 11-point average precision, counting each image `weights` times; NaN if no positive is left."""
        weights = weights[self.order]
        found = np.cumsum(weights * self.positive)[self.last_of_tie]
        if found[-1] == 0:
            return float("nan")
        precision = found / np.maximum(np.cumsum(weights)[self.last_of_tie], 1)
        best_from_here = np.maximum.accumulate(precision[::-1])[::-1]
        # In whole numbers, because 0.1 · 3 is more than 0.3.
        first = np.searchsorted(10 * found, np.arange(11) * found[-1])
        return float(best_from_here[first].mean())


def _mean_error(values: Vector) -> float:
    """Return the standard error of the mean of values; NaN for a single value."""
    return float(values.std(ddof=1) / np.sqrt(len(values))) if len(values) > 1 else float("nan")


def _bootstrap_error(statistic: Callable[[NDArray[np.int64]], float], n: int) -> float:
    """Return the standard deviation of `statistic` over seeded resamples of n images.

    `statistic` takes how often each image was drawn, shape (n,).
    """
    rng = np.random.default_rng(BOOTSTRAP_SEED)
    draws = (np.bincount(rng.integers(0, n, n), minlength=n) for _ in range(N_BOOTSTRAP))
    values = np.array([statistic(weights) for weights in draws])
    defined = values[np.isfinite(values)]  # a resample may show none of the classes
    return float(defined.std(ddof=1)) if len(defined) > 1 else float("nan")


def _mean_of_numbers(values: list[float]) -> float:
    """Return the mean of the values that are not NaN; NaN if all are."""
    numbers = [value for value in values if not np.isnan(value)]
    return float(np.mean(numbers)) if numbers else float("nan")
