"""Weighted vote of the nearest neighbours by cosine similarity, their number chosen on validation images.

An image x is compared with the labelled images x_i by s_i = x·x_i / (||x|| ||x_i||). The k most similar vote with
weight exp(s_i / T), and the score of a class is its share of the votes,

    p_c = Σ_{i in N_k(x)} exp(s_i / T) [y_i has c] / Σ_{i in N_k(x)} exp(s_i / T),

with [y_i has c] of shape (n, n_classes) for labels of both kinds. Nothing is trained, and the search is exact. One
search for the largest k serves all values of k, which are tried on the validation images. A k above the number of
images becomes that number. The search runs in float32 and holds one block of similarities at a time.

Sources: Wu et al., *Unsupervised Feature Learning via Non-Parametric Instance Discrimination*, CVPR 2018 (the weights,
T = 0.07); Oquab et al., *DINOv2*, 2023 (the values of k).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from probes.fitting.fitted import FittedProbe
from probes.fitting.learning_task import LearningTask
from probes.fitting.refit import checked_refit
from probes.fitting.tuning import check_grid, choose_value
from probes.methods import FitResources
from probes.objective import Features, Labels, Vector, check_data
from probes.scaling import unit

if TYPE_CHECKING:
    from torch import Tensor

HYPERPARAMETER = "k"
SOLVERS = ()
MULTILABEL = True

BLOCK = 2**25  # similarities at a time: 128 MiB


@dataclass(frozen=True)
class Options:
    """Settings that change the numbers.

    Attributes
    ----------
    ks : tuple of int
        The values of k to choose from.
    temperature : float
        T of the formula.
    """

    ks: tuple[int, ...] = (10, 20, 100, 200)
    temperature: float = 0.07

    def __post_init__(self) -> None:
        check_grid("ks", self.ks)
        check_grid("temperature", [self.temperature])


@checked_refit
def fit(task: LearningTask, options: Options, resources: FitResources) -> FittedProbe:
    """Choose k, as `probes.methods.Fit` describes."""
    check_data(task.X, task.y, task.n_classes)
    shares = partial(_shares, temperature=options.temperature, n_classes=task.n_classes)
    ks = sorted({min(k, task.n_train) for k in options.ks})
    similarity, index = _nearest(task.val[0], _bank(task.train[0], resources), ks[-1])
    val_scores = ((k, shares(similarity[:, :k], index[:, :k], task.train[1])) for k in ks)
    choice = choose_value(val_scores, task.val[1], metric=task.metric)
    bank, labels = _bank(task.final[0], resources), task.final[1]
    return FittedProbe(scores=lambda X: shares(*_nearest(X, bank, int(choice.value)), labels), choice=choice)


def _bank(X: Features, resources: FitResources) -> Tensor:
    """Put the rows of X (n, n_features), divided by their norms, on the device."""
    import torch

    return torch.from_numpy(unit(X)).to(resources.torch_device())


def _nearest(X: Features, bank: Tensor, k: int) -> tuple[Vector, NDArray[np.int64]]:
    """Find the k rows of `bank` nearest to each row of X.

    Returns
    -------
    similarities : ndarray of shape (len(X), k)
        Descending.
    rows : ndarray of shape (len(X), k)
        Rows of `bank`.
    """
    import torch

    similarity, index = np.empty((len(X), k)), np.empty((len(X), k), dtype=np.int64)
    step = max(1, BLOCK // len(bank))
    for start in range(0, len(X), step):
        rows = slice(start, start + step)
        found = torch.topk(torch.from_numpy(unit(X[rows])).to(bank.device) @ bank.T, k)
        similarity[rows], index[rows] = found.values.cpu().numpy(), found.indices.cpu().numpy()
    return similarity, index


def _shares(
    similarity: Vector, index: NDArray[np.int64], labels: Labels, *, temperature: float, n_classes: int
) -> Vector:
    """Return the share of votes of each class, shape (n, n_classes), from the neighbours that `_nearest` found."""
    weights = np.exp((similarity - similarity[:, :1]) / temperature)  # the nearest weighs 1: no T overflows
    weights /= weights.sum(axis=1, keepdims=True)
    shares = np.zeros((len(index), n_classes))
    everyone = np.arange(len(index))
    for weight, neighbour in zip(weights.T, index.T, strict=True):  # not at once: (n, k, n_classes) may not fit
        if labels.ndim == 2:
            shares += weight[:, None] * labels[neighbour]
        else:
            shares[everyone, labels[neighbour]] += weight
    return np.minimum(shares, 1)  # above by rounding only
