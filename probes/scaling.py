"""Rescale features before a probe is fitted on them. The scaling is an option of the probe and part of a cell's key."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import numpy as np

from probes import moments
from probes.objective import Features

Scaling = Literal["none", "standardize", "unit"]
""""none" changes nothing; "standardize" divides each feature by its standard deviation over the training images; "unit"
divides each image by its norm."""


def scaler(scaling: Scaling, X_train: Features) -> Callable[[Features], Features]:
    """Return a function that rescales features (n, n_features); only the training images decide how.

    The function does not centre features, because a free bias would undo that. It leaves a constant feature as it is.
    """
    if scaling == "standardize":
        _, deviation = moments.deviations(X_train)
        return lambda X: (X / deviation).astype(np.float32)
    return unit if scaling == "unit" else lambda X: X


def unit(X: Features) -> Features:
    """Divide each row of X (n, n_features) by its Euclidean norm, in float32; a row of zeros stays zeros."""
    X = X.astype(np.float32)
    norm = np.linalg.norm(X, axis=1, keepdims=True)
    X /= np.where(norm == 0, 1, norm)
    return X
