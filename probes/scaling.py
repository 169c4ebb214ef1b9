"""Rescaling of features before a probe sees them; chosen as an option of the probe, and part of its cell's key."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import numpy as np

from probes import moments
from probes.objective import Features

Scaling = Literal["none", "standardize", "unit"]
"""As they are; each feature divided by its standard deviation over the training images; each image by its norm."""


def scaler(scaling: Scaling, X_train: Features) -> Callable[[Features], Features]:
    """Return a function that rescales features (n, n_features), by what the training images alone say.

    Features are not centred: a bias that is free undoes it. One that does not vary is left as it is.
    """
    if scaling == "standardize":
        deviation = np.sqrt(moments.variances(X_train, moments.mean(X_train)))
        deviation[deviation == 0] = 1
        return lambda X: (X / deviation).astype(np.float32)
    return unit if scaling == "unit" else lambda X: X


def unit(X: Features) -> Features:
    """Each row (n, n_features) divided by its Euclidean norm, in float32; a row of zeros stays one."""
    X = X.astype(np.float32)
    norm = np.linalg.norm(X, axis=1, keepdims=True)
    X /= np.where(norm == 0, 1, norm)
    return X
