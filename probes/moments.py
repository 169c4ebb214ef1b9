"""Means and products of features in float64. They work on blocks of rows, so that no copy of all features is made."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from probes.objective import Features, Labels, Vector, class_frequencies

ROUNDING = 1e-12
"""Relative error that a mean of many images may have. Features have seven digits, so that none varies by less."""

BLOCK = 4096  # rows, or columns, at a time: 64 MiB in float64 at 2048 features


def row_blocks(X: Features) -> Iterator[tuple[slice, Vector]]:
    """Yield slices of rows, each with these rows of X (n, n_features) in float64; one empty block if X is empty."""
    for start in range(0, max(len(X), 1), BLOCK):
        rows = slice(start, start + BLOCK)
        yield rows, X[rows].astype(np.float64)


def by_blocks(function: Callable[[Vector], Vector], X: Features) -> Vector:
    """Apply `function` to blocks of rows of X (n, n_features) in float64; return the joined result, shape (n, ...)."""
    return np.concatenate([function(block) for _, block in row_blocks(X)])


def affine(X: Features, coef: Vector, intercept: Vector) -> Vector:
    """Return X Wᵀ + b, shape (n, n_classes), for weights (n_classes, n_features) and biases (n_classes,)."""
    return by_blocks(lambda block: block @ coef.T + intercept, X)


def indicators(y: Labels, n_classes: int) -> NDArray[np.bool_]:
    """Return which image has which class, shape (n, n_classes)."""
    return y.astype(np.bool_) if y.ndim == 2 else y[:, None] == np.arange(n_classes)


def mean(X: Features) -> Vector:
    """Return the mean of the rows, shape (n_features,)."""
    centre: Vector = X.mean(axis=0, dtype=np.float64)
    return centre


def variances(X: Features, centre: Vector) -> Vector:
    """Return the mean square of each feature's distance to the centre, shape (n_features,)."""
    total = np.zeros(X.shape[1])
    for _, block in row_blocks(X):
        block -= centre
        total += np.sum(block**2, axis=0)
    total /= len(X)
    return total


def deviations(X: Features) -> tuple[Vector, Vector]:
    """Return the mean and the standard deviation of each feature (n_features,), the latter 1 for one that is constant.

    A feature is constant, too, where it differs from its mean by no more than the rounding of the mean: to divide by
    that would turn a feature that says nothing into one that decides.
    """
    centre = mean(X)
    spread = variances(X, centre)
    return centre, np.where(spread > (ROUNDING * centre) ** 2, np.sqrt(spread), 1.0)


def class_means(X: Features, y: Labels, n_classes: int) -> Vector:
    """Return the mean of the rows of each class, shape (n_classes, n_features); zeros for a class without rows."""
    sums = cross(X, indicators(y, n_classes), np.zeros(X.shape[1])).T
    frequency = class_frequencies(y, n_classes)[:, None]
    return np.divide(sums, frequency, out=np.zeros_like(sums), where=frequency > 0)


def covariance(X: Features, centre: Vector, group: Labels | None = None) -> Vector:
    """Return (1/n) Σ (x − c)(x − c)ᵀ, shape (n_features, n_features).

    Parameters
    ----------
    X : ndarray of shape (n, n_features)
    centre : ndarray of shape (n_features,), or (n_groups, n_features) if there are groups
        The centre c, or one centre for each group.
    group : ndarray of shape (n,), optional
        The group of each row.
    """
    total = np.zeros((X.shape[1], X.shape[1]))
    for rows, block in row_blocks(X):
        block -= centre if group is None else centre[group[rows]]
        total += block.T @ block
    total /= len(X)
    return total


def gram(X: Features, centre: Vector) -> Vector:
    """Return (1/n) (x_i − c)·(x_j − c), shape (n, n).

    For n < n_features it is the smaller matrix with the same eigenvalues as `covariance`, but for those that are 0.
    """
    total = np.zeros((len(X), len(X)))
    for start in range(0, X.shape[1], BLOCK):
        block = X[:, start : start + BLOCK].astype(np.float64)
        block -= centre[start : start + BLOCK]
        total += block @ block.T
    total /= len(X)
    return total


def cross(X: Features, Y: NDArray[Any], centre: Vector) -> Vector:
    """Return (1/n) Σ (x − c) yᵀ, shape (n_features, m), for numbers or booleans Y (n, m)."""
    total = np.zeros((X.shape[1], Y.shape[1]))
    for rows, block in row_blocks(X):
        block -= centre
        total += block.T @ Y[rows].astype(np.float64)
    total /= len(X)
    return total
