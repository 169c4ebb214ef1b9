"""The objective of every logistic probe, its conventions, and the certificate of how far a fit is from the optimum.

For n images with features x_i, weights W (one row per class) and biases b, with logits z_i = W x_i + b, a probe
minimises

    P(W, b) = (1/n) Σ_i loss(z_i, y_i) + (l2/2) ||W||²,      the biases are free.

- Single-label, y_i a class index: the softmax cross-entropy, loss(z, y) = log Σ_k exp z_k − z_y.
- Multi-label, y_i a row of booleans: one binary regression per class, all with the same l2,
  loss(z, y) = Σ_k log(1 + exp z_k) − y_k z_k.

The shape of y decides which of the two. With sample weights w_i the mean is weighted, Σ w_i loss_i / Σ w_i; multi-label
problems may weight an image differently in each class. All tables and arguments of probestore use this l2. In other
conventions it is:

- scikit-learn: l2 = 1 / (n C), or 1 / (C Σ w_i) with sample weights;
- Kornblith et al. (2019), λ||W||² against the sum of the losses: l2 = 2 λ / n.

**Certificate.** Let p_i be the predicted probabilities and e_i the labels as indicators. Fenchel duality (Boyd and
Vandenberghe, *Convex Optimization*, 5.1.6; for regularised losses Shalev-Shwartz and Zhang, JMLR 14, 2013) gives, for
any probabilities q_i with Σ_i (q_i − e_i) = 0, the condition of a free bias, the lower bound

    D(q) = (1/n) Σ_i H(q_i) − (1/(2 l2)) ||(1/n) Σ_i (q_i − e_i) x_iᵀ||²  ≤  min P,        H the entropy.

The probabilities p_i themselves meet the constraint only at the optimal bias, so they are mixed with one distribution
t: q_i = (1 − ε) p_i + ε t. With m the mean of p_i and f the frequencies of the classes, the constraint is t = m + (f −
m)/ε; ε is the smallest for which t holds probabilities. The Fenchel-Young equality turns the difference into

    P − D(q) = (1/n) Σ_i KL(q_i || p_i) + ||l2 W + G_q||² / (2 l2),        G_q = (1/n) Σ_i (q_i − e_i) x_iᵀ.

The reported gap is this difference divided by the stake. The stake is the smaller of P, which is still to lose, and
P₀ − P, which the weights have won so far; P₀ is the objective of zero weights and the best biases (the entropy of f).
Without biases there is no constraint, ε = 0, and P₀ is the logarithm of the number of classes. If the gap were relative
to P alone, zero weights would pass at strong regularisation, although a model of small weights can rank images as well
as one of large weights. The bound holds at every (W, b), optimal or not. Its terms are non-negative, so that no digits
cancel; most of it is computed with the gradient.

**Centring.** Because the q_i − e_i add up to 0, D does not change when a constant vector is subtracted from every x_i;
nor does P, if b changes accordingly. Everything is therefore computed on centred features.

**Classes without a contrast.** A class that is absent from the training labels (multi-label: always absent, or always
present) has its optimum at a bias of −∞ (+∞). A fit returns that limit: zero weights, an infinite intercept, and so a
probability of exactly 0 (1) and no loss. The other classes, `free_classes`, are fitted as if this class did not exist.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy.special import entr, expit, log_expit, log_softmax, softmax, xlogy

from featurestore.errors import ProbeError

Features: TypeAlias = NDArray[np.floating[Any]]
"""(n, n_features), of any floating type."""

Labels: TypeAlias = NDArray[np.int64] | NDArray[np.bool_]
"""Class indices (n,), or booleans (n, n_classes) when multi-label."""

Vector: TypeAlias = NDArray[np.float64]

L2_GRID: NDArray[np.float64] = 10.0 ** (np.arange(-40, 5) / 4)
"""45 values, four to a decade, 1e-10 to 10. They are the paper's λ of 1e-6 to 1e5 at n = 20,000, ascending."""

GAP_TOLERANCE = 1e-3
"""Relative duality gap to which fits are certified: the objective is within 0.1 % of the stake of its minimum.

A test set cannot resolve what this leaves open: by strong convexity (l2/2)||W − W*||² ≤ gap · P, and compared with fits
certified to 1e-9 the accuracy changes by a small part of its standard error (at most a fifth: `test_solvers.py`).
The gap is a bound, not an estimate: where the curvature of the loss is well above l2, a fit is better than its gap.
"""


SMALLEST_STAKE = 1e-9


@dataclass(frozen=True)
class Certificate:
    """Numbers that show how good a fit is. They hold at any parameters, optimal or not.

    Attributes
    ----------
    objective : float
        P, in nats.
    gradient_norm : float
        Euclidean norm of the gradient of P in (W, b).
    duality_gap : float
        Upper bound of P − min P, divided by the `stake`.
    """

    objective: float
    gradient_norm: float
    duality_gap: float


@dataclass(frozen=True)
class LogisticFit:
    """A solution at one value of l2, with its certificate.

    Attributes
    ----------
    l2 : float
    coef : ndarray of shape (n_classes, n_features)
    intercept : ndarray of shape (n_classes,)
        Infinite for the classes without a contrast (module docstring).
    n_iter : int
        Iterations for this value alone; where a solver fits one class at a time, those of the slowest class.
    converged : bool
        Whether the fit reached the requested gap within the allowed iterations.
    seconds : float
        Wall-clock time spent on this value alone.
    certificate : Certificate
    """

    l2: float
    coef: NDArray[np.float64]
    intercept: NDArray[np.float64]
    n_iter: int
    converged: bool
    seconds: float
    certificate: Certificate


def certificate(
    X: Features,
    y: Labels,
    coef: Vector,
    intercept: Vector,
    *,
    l2: float,
    n_classes: int,
    sample_weight: Vector | None = None,
    fit_intercept: bool = True,
) -> Certificate:
    """Certify parameters on the data of their fit, in float64. They may come from any solver.

    Parameters
    ----------
    X : ndarray of shape (n, n_features)
    y : ndarray of shape (n,) or (n, n_classes)
    coef : ndarray of shape (n_classes, n_features)
    intercept : ndarray of shape (n_classes,)
    l2 : float
        Positive.
    n_classes : int
    sample_weight : ndarray of shape (n,) or, when multi-label, (n, n_classes), optional
        Not negative; only their ratios matter.
    fit_intercept : bool
        False where the biases were held at 0.

    Raises
    ------
    ProbeError
        If X and y cannot be fitted (`check_data`).
    """
    check_data(X, y, n_classes, sample_weight)
    share = shares(sample_weight, y)
    counts = share.any(axis=1)
    X, y, share = X[counts], y[counts], share[counts]
    centre = X.mean(axis=0, dtype=np.float64) if fit_intercept else np.zeros(X.shape[1])
    X_centred = X - centre
    logits = X_centred @ coef.T + (intercept + coef @ centre)
    losses, residuals = losses_and_residuals(logits, y)
    losses[np.broadcast_to(share == 0, losses.shape)] = 0  # it may be infinite
    residuals *= share
    frequency = class_frequencies(y, n_classes, share)
    mean_residual = residuals.sum(axis=0)
    slope = residuals.T @ X_centred
    dual_residual, divergence = l2 * coef + slope, 0.0
    if fit_intercept:
        epsilon, t = mixture(mean_residual, frequency, multilabel=y.ndim == 2)
        class_sums = (_indicators(y, n_classes) * share).T @ X_centred
        dual_residual -= epsilon[:, None] * (slope + class_sums)
        divergence = _divergence(logits, share, epsilon, t, multilabel=y.ndim == 2)
    gap = divergence + float(np.sum(dual_residual**2)) / (2 * l2)

    objective = float((share * losses).sum() + l2 / 2 * np.sum(coef**2))
    gradient = l2 * coef + slope + np.outer(mean_residual, centre)  # on X as it came, not centred
    return Certificate(
        objective=objective,
        gradient_norm=float(np.hypot(np.linalg.norm(gradient), np.linalg.norm(fit_intercept * mean_residual))),
        duality_gap=relative(gap, objective, chance_loss(frequency, y.ndim == 2, fit_intercept)),
    )


def mixture(mean_residual: Vector, frequency: Vector, *, multilabel: bool) -> tuple[Vector, Vector]:
    """Return ε and t of the module docstring: mixing t into the probabilities makes them dual feasible.

    Parameters
    ----------
    mean_residual : ndarray of shape (n_classes,)
        The mean of the differences p − e. The difference of the means, m − f, would lose digits.
    frequency : ndarray of shape (n_classes,)
        f, the mean of e.
    multilabel : bool

    Returns
    -------
    epsilon : ndarray of shape (1,), or (n_classes,) when multi-label
    t : ndarray of shape (n_classes,)
        A distribution over classes. When multi-label, a probability for each class: 0 if the class is predicted too
        often, 1 if too seldom.
    """
    mean = frequency + mean_residual
    too_often = mean_residual > 0
    if multilabel:
        return np.abs(_ratio(mean_residual, np.where(too_often, mean, 1 - mean))), np.where(too_often, 0.0, 1.0)
    epsilon = np.max(_ratio(mean_residual, mean), initial=0.0, keepdims=True)
    if epsilon == 0:
        return epsilon, frequency
    return epsilon, np.maximum(mean - mean_residual / epsilon, 0)  # below zero by rounding only


def chance_loss(frequency: Vector, multilabel: bool, fit_intercept: bool = True) -> float:
    """Return the objective P₀ of zero weights and the best biases, in nats: the entropy of the class frequencies."""
    if not fit_intercept:
        return float(len(frequency) * np.log(2) if multilabel else np.log(len(frequency)))
    return float(np.sum(entr(frequency) + (entr(1 - frequency) if multilabel else 0.0)))


def shares(sample_weight: Vector | None, y: Labels) -> Vector:
    """Return the share of each image, (n, 1) or (n, n_classes): its weight over the sum of weights, else 1/n."""
    if sample_weight is None:
        return np.full((len(y), 1), 1 / len(y))
    weight = sample_weight[:, None] if sample_weight.ndim == 1 else sample_weight
    share: Vector = weight / weight.sum(axis=0)
    return share


def stake(objective: float, chance: float) -> float:
    """Return the stake, by which a gap is divided: the smaller of the objective and its gain over chance.

    It is at least `SMALLEST_STAKE` times chance: features without information on the labels gain only rounding errors.
    """
    return max(min(objective, chance - objective), SMALLEST_STAKE * chance)


def relative(gap: float, objective: float, chance: float) -> float:
    """Return the gap divided by the stake; 0 for a gap of 0, which a single class has."""
    return gap / stake(objective, chance) if gap else 0.0


def losses_and_residuals(logits: Vector, y: Labels) -> tuple[Vector, Vector]:
    """Return the losses and their derivatives p − e in the logits, to full relative precision however small they are.

    At weak regularisation separable classes have losses near 1e-9. Subtracting p_y from 1, or z_y from a log-sum-exp,
    would keep seven of their digits; computing with the margins z_k − z_y keeps all.

    Parameters
    ----------
    logits : ndarray of shape (n, n_classes)
    y : ndarray of shape (n,) or (n, n_classes)

    Returns
    -------
    losses : ndarray of shape (n, 1) or (n, n_classes)
    residuals : ndarray of shape (n, n_classes)
    """
    if y.ndim == 2:
        sign = np.where(y, -1.0, 1.0)  # a positive margin is a mistake
        margins = sign * logits
        return np.logaddexp(0, margins), sign * expit(margins)
    rows = np.arange(len(y))
    margins = logits - logits[rows, y, None]
    shift = margins.max(axis=1, keepdims=True)  # never negative: the label's own margin is 0
    others = np.exp(margins - shift)
    others[rows, y] = 0
    odds = others.sum(axis=1, keepdims=True)
    normaliser = np.exp(-shift) + odds
    residuals = others / normaliser
    residuals[rows, y] = -(odds / normaliser)[:, 0]
    return np.where(shift > 0, shift + np.log(normaliser), np.log1p(odds)), residuals


def probabilities(X: Features, coef: Vector, intercept: Vector, multilabel: bool) -> Vector:
    """Return the predicted probabilities, shape (n, n_classes); rows add up to 1 unless `multilabel`.

    Parameters
    ----------
    X : ndarray of shape (n, n_features)
    coef : ndarray of shape (n_classes, n_features)
    intercept : ndarray of shape (n_classes,)
    multilabel : bool
    """
    logits = X.astype(np.float64, copy=False) @ coef.T + intercept
    scores: Vector = expit(logits) if multilabel else softmax(logits, axis=1)
    return scores


def check_data(X: Features, y: Labels, n_classes: int, sample_weight: Vector | None = None) -> None:
    """Raise ProbeError unless X (n, n_features), n > 0, is finite and y and the weights, if any, fit its rows."""
    if X.ndim != 2 or len(X) != len(y) or not len(X):
        raise ProbeError(f"Features must have the shape (n, d) with n labels, n > 0. Got {X.shape} and {y.shape}.")
    if y.ndim == 2 and (y.shape[1] != n_classes or y.dtype != np.bool_):
        raise ProbeError(f"Multi-label y must be booleans of shape (n, {n_classes}). Got {y.dtype} of shape {y.shape}.")
    if y.ndim == 1 and not (y.min() >= 0 and y.max() < n_classes):
        raise ProbeError(f"Labels must be from 0 to {n_classes - 1}. Got {y.min()} to {y.max()}.")
    if not all(np.isfinite(X[row : row + 4096]).all() for row in range(0, len(X), 4096)):
        raise ProbeError("Features must be finite. Got NaN or infinity.")
    if sample_weight is not None and not (
        sample_weight.shape in (y.shape, y.shape[:1]) and (sample_weight >= 0).all() and sample_weight.any()
    ):
        raise ProbeError(
            f"Sample weights must be of shape {y.shape}, none negative, not all 0. Got shape {sample_weight.shape}, "
            f"smallest weight {sample_weight.min(initial=np.inf):g}."
        )


def weighing(X: Features, y: Labels, sample_weight: Vector | None) -> tuple[Features, Labels, Vector | None]:
    """Return the images whose weight is not 0, with their labels and weights."""
    if sample_weight is None or sample_weight.all():
        return X, y, sample_weight
    counts = sample_weight.any(axis=1) if sample_weight.ndim == 2 else sample_weight > 0
    return X[counts], y[counts], sample_weight[counts]


def class_frequencies(y: Labels, n_classes: int, sample_weight: Vector | None = None) -> Vector:
    """Return the share of the images, by weight, that have each class, shape (n_classes,)."""
    share = shares(sample_weight, y)
    if y.ndim == 2:
        mean: Vector = (share * y).sum(axis=0)
        return mean
    counts: Vector = np.bincount(y, weights=share[:, 0], minlength=n_classes).astype(np.float64)
    return counts


def free_classes(
    y: Labels, n_classes: int, fit_intercept: bool = True, sample_weight: Vector | None = None
) -> NDArray[np.intp]:
    """Return the indices of the classes whose optimal bias is finite (module docstring); all without biases."""
    if not fit_intercept:
        return np.arange(n_classes)
    counts = shares(sample_weight, y) > 0
    if y.ndim == 1:
        return np.flatnonzero(np.bincount(y[counts[:, 0]], minlength=n_classes))
    return np.flatnonzero((y & counts).any(axis=0) & (~y & counts).any(axis=0))


def among(y: Labels, classes: NDArray[np.intp]) -> Labels:
    """Renumber the labels by their position in `classes`, which is ascending."""
    return y[:, classes] if y.ndim == 2 else np.searchsorted(classes, y)


def with_limits(
    coef: Vector,
    intercept: Vector,
    y: Labels,
    n_classes: int,
    fit_intercept: bool = True,
    sample_weight: Vector | None = None,
) -> tuple[Vector, Vector]:
    """Return the parameters of all classes from those of the free classes; the others are at their limit.

    Parameters
    ----------
    coef : ndarray of shape (n_free, n_features)
    intercept : ndarray of shape (n_free,)
    y : ndarray of shape (n,) or (n, n_classes)
    n_classes : int
    fit_intercept : bool
    sample_weight : ndarray of shape (n,) or (n, n_classes), optional
    """
    free = free_classes(y, n_classes, fit_intercept, sample_weight)
    all_coef = np.zeros((n_classes, coef.shape[1]))
    all_intercept = np.where(class_frequencies(y, n_classes, sample_weight) > 0, np.inf, -np.inf)
    all_coef[free], all_intercept[free] = coef, intercept
    return all_coef, all_intercept


def trivial_fit(
    X: Features,
    y: Labels,
    l2: float,
    n_classes: int,
    fit_intercept: bool = True,
    sample_weight: Vector | None = None,
) -> LogisticFit:
    """Return the fit for data without a contrast: one class, or labels that all images share."""
    free = free_classes(y, n_classes, fit_intercept, sample_weight)
    none = np.zeros((free.size, X.shape[1])), np.zeros(free.size)
    parameters = with_limits(*none, y, n_classes, fit_intercept, sample_weight)
    return LogisticFit(l2, *parameters, 0, True, 0.0, Certificate(0.0, 0.0, 0.0))


def _divergence(logits: Vector, share: Vector, epsilon: Vector, t: Vector, *, multilabel: bool) -> float:
    """Return the mean over images of KL(q_i || p_i) for q = (1 − ε) p + ε t."""
    if not multilabel:
        return float((share * mixed_divergence(log_softmax(logits, axis=1), epsilon, t)).sum())
    yes, no = mixed_divergence(log_expit(logits), epsilon, t), mixed_divergence(log_expit(-logits), epsilon, 1 - t)
    return float((share * (yes + no)).sum())


def mixed_divergence(log_p: Vector, epsilon: Vector, t: Vector) -> Vector:
    """Return q log(q/p) − q + p, elementwise, for q = (1 − ε) p + ε t.

    The argument is the logarithm of p, because it is finite where p underflows. Where q is close to p, the function
    uses log1p, because a difference of logarithms would lose all digits.
    """
    p = np.exp(log_p)
    shift = epsilon * (t - p)
    small = np.abs(shift) < p / 2
    change = np.divide(shift, p, out=np.zeros_like(p), where=small)
    near = p * ((1 + change) * np.log1p(change) - change)
    q = p + shift
    far: Vector = np.where(small, near, xlogy(q, q) - q * np.maximum(log_p, -1e300) - shift)
    return far


def _ratio(numerator: Vector, denominator: Vector) -> Vector:
    """Return numerator / denominator, with 0 / 0 = 0."""
    return np.divide(numerator, denominator, out=np.zeros_like(numerator), where=numerator != 0)


def _indicators(y: Labels, n_classes: int) -> Vector:
    """Return the labels as indicators e, shape (n, n_classes)."""
    return y.astype(np.float64) if y.ndim == 2 else np.eye(n_classes)[y]
