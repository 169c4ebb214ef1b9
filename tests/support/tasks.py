"""Small synthetic tasks for the tests of probes: overlapping Gaussians, so that no probe is perfect."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.special import softmax

from probes import methods, metrics
from probes.fitting.fitted import FittedProbe
from probes.fitting.learning_task import LearningTask
from probes.methods import FitResources
from probes.objective import Features, Labels


def images(
    n: int = 180, d: int = 8, *, multilabel: bool = False, seed: int = 0, dtype: Any = np.float32
) -> tuple[Features, Labels]:
    """Features (n, d) and labels of three classes."""
    rng = np.random.default_rng(seed)
    y = np.arange(n) % 3
    X = 2.5 * np.random.default_rng(7).standard_normal((3, d))[y] + 2 * rng.standard_normal((n, d))
    return X.astype(dtype), X[:, :3] > [-1, 0, 1] if multilabel else y


def rectified(
    n: int = 200, d: int = 12, k: int = 4, *, multilabel: bool = False, seed: int = 0
) -> tuple[Features, Labels]:
    """Non-negative features (n, d), as after a ReLU, and labels of k classes that overlap."""
    rng = np.random.default_rng(seed)
    y = np.arange(n) % k
    latent = rng.standard_normal((k, d))[y] + 1.5 * rng.standard_normal((n, d))
    X = np.maximum(latent @ rng.standard_normal((d, d)), 0)
    return X, (latent[:, :k] > [-1, 0, 1, 2] if multilabel else y)


def task(n: int = 120, d: int = 8, *, multilabel: bool = False, dtype: Any = np.float32, **fields: Any) -> LearningTask:
    """Half of the images are for validation."""
    X, y = images(n, d, multilabel=multilabel, dtype=dtype)
    given = {"n_train": n // 2, "n_classes": 3, "metric": metrics.names(multilabel=multilabel)[0], **fields}
    return LearningTask(X=X, y=y, source_probabilities=lambda X: softmax(X[:, :5].astype(np.float32), axis=1), **given)


def fit(name: str, task: LearningTask, *, solver: str | None = None, seed: int = 0, **options: Any) -> FittedProbe:
    """Fit the method of that name on the CPU, with its preferred solver."""
    method = methods.load(name)
    preferred = method.SOLVERS[0] if method.SOLVERS else ""
    resources = FitResources(solver=preferred if solver is None else solver, seed=seed, device="cpu")
    return method.fit(task, method.Options(**options), resources)
