"""Measures of features without a probe: nearest neighbours, spread, classes, and the similarity of two networks.

Nearest training image. The similarity of two images is the cosine of their features, after the mean m of the training
images is subtracted: s(x, z) = (x − m)·(z − m) / (‖x − m‖ ‖z − m‖). Without subtracting m, a ReLU network finds all
images similar: on five datasets and four networks, the median similarity of a test image to its nearest training image
was between 0.65 and 0.96. With m subtracted it was between 0.47 and 0.70, so that one threshold serves all. (Barz &
Denzler, *Do We Train on Test Data? Purging CIFAR of Near-Duplicates*, 2020, also look for copies by the cosine of
features.)

Spread, from the eigenvalues λ of the features' covariance (1/n) Σ (x − m)(x − m)ᵀ:

    effective rank = exp(−Σ p log p), p = √λ / Σ √λ   (Roy & Vetterli, *The Effective Rank*, EUSIPCO 2007)
    participation ratio = (Σ λ)² / Σ λ²

Both are between 1 and the number of features. The effective rank also counts directions of little variance.

Classes, for one label per image, with class means μ_k of the K classes that occur and x̂ = x / ‖x‖:

    separation = 1 − d_within / d_total   (Kornblith et al., *Why Do Better Loss Functions Lead to Less Transferable
    Features?*, NeurIPS 2021), where d_within is the mean cosine distance between two images of a class, averaged over
    classes, and d_total that between an image of one class and one of another or the same, averaged over pairs of
    classes: d_within = 1 − (1/K) Σ ‖μ̂_k‖² and d_total = 1 − ‖(1/K) Σ μ̂_k‖², for means μ̂_k of the x̂.

    within / between = tr Σ_W / tr Σ_B, the spread around class means over the spread of the class means, where each
    class counts as often as it has images. It goes to 0 as classes collapse onto their means (Papyan et al., PNAS 2020;
    their NC1 multiplies Σ_W by the inverse of Σ_B).

Similarity of two networks. Linear CKA (Kornblith et al., *Similarity of Neural Network Representations Revisited*, ICML
2019) with the unbiased estimate of HSIC (Song et al., *Feature Selection via Dependence Maximization*, JMLR 2012):
unlike the plain estimate, it does not grow when there are fewer images than features. With the Gram matrix K = X Xᵀ,
its diagonal set to 0 and its rows U-centred,

    K̃_ij = K_ij − r_i / (n − 2) − r_j / (n − 2) + s / ((n − 1)(n − 2)), r_i = Σ_j K_ij, s = Σ_i r_i, K̃_ii = 0,

HSIC(K, L) = Σ K̃_ij L̃_ij / (n (n − 3)), and CKA = HSIC(K, L) / √(HSIC(K, K) HSIC(L, L)) is the cosine of K̃ and L̃. CKA
is 1 if a rotation and a scale make the features equal, around 0 for unrelated features, and can be slightly negative.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from probes import moments
from probes.objective import Features, Labels, Vector
from probes.scaling import unit

BLOCK = 8192  # rows of either side at a time: 256 MiB of similarities, and 64 MiB of features at 2048 of them
_PAIRS = 2**16  # entries of the Gram matrices at a time: 25 MiB in float64 for 50 networks

# ---- neighbours ----------------------------------------------------------------------------------------------------


def nearest(X: Features, bank: Features, *, device: str = "cpu") -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Find the row of `bank` that is most similar to each row of `X`.

    Similarity is the cosine after the mean of `bank` is subtracted. The search is exact, in float32, by blocks of both.
    Of equally similar rows it takes the first.

    Parameters
    ----------
    X : ndarray of shape (n, n_features)
    bank : ndarray of shape (n_bank, n_features)
        It must have at least one row.
    device : str
        A device of torch, such as "cpu" or "cuda".

    Returns
    -------
    similarity : ndarray of shape (n,)
        In [-1, 1]; 0 for an image whose features equal the mean.
    row : ndarray of shape (n,)
        Rows of `bank`.
    """
    import torch

    centre = moments.mean(bank).astype(np.float32)
    similarity, row = np.full(len(X), -np.inf, dtype=np.float32), np.zeros(len(X), dtype=np.int64)
    for start in range(0, len(bank), BLOCK):
        block = torch.from_numpy(_directions(bank[start : start + BLOCK], centre)).to(device)
        for rows in (slice(first, first + BLOCK) for first in range(0, len(X), BLOCK)):
            best = (torch.from_numpy(_directions(X[rows], centre)).to(device) @ block.T).max(dim=1)
            values, places = best.values.cpu().numpy(), best.indices.cpu().numpy()
            better = values > similarity[rows]
            similarity[rows][better] = values[better]
            row[rows][better] = start + places[better]
    return np.clip(similarity, -1, 1), row


def _directions(X: Features, centre: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return unit vectors (n, n_features) that point from the centre to the rows of X."""
    return np.asarray(unit(X.astype(np.float32) - centre), dtype=np.float32)


# ---- spread --------------------------------------------------------------------------------------------------------


def spectrum(X: Features) -> Vector:
    """Return the eigenvalues, but those that are 0, of the covariance of the rows of `X` (n, n_features), ascending."""
    product = moments.gram if len(X) < X.shape[1] else moments.covariance
    eigenvalues = np.linalg.eigvalsh(product(X, moments.mean(X)))
    noise = eigenvalues.max(initial=0.0) * max(X.shape) * np.finfo(np.float64).eps
    found: Vector = eigenvalues[eigenvalues > noise]
    return found


def effective_rank(eigenvalues: Vector) -> float | None:
    """Return exp of the entropy of the singular values; None if all are 0."""
    if not eigenvalues.size:
        return None
    share = np.sqrt(eigenvalues)
    share /= share.sum()
    return float(np.exp(-np.sum(share * np.log(share))))


def participation_ratio(eigenvalues: Vector) -> float | None:
    """Return (Σ λ)² / Σ λ²; None if all eigenvalues are 0."""
    if not eigenvalues.size:
        return None
    scaled = eigenvalues / eigenvalues.max()
    return float(scaled.sum() ** 2 / np.sum(scaled**2))


# ---- classes -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class ClassGeometry:
    """How far apart classes are.

    Attributes
    ----------
    separation : float or None
        1 if the images of a class are alike and the classes differ; around 0 if classes do not differ. None if all
        images are alike, or there is only one class.
    within_between : float or None
        None if all class means are equal, or there is only one class.
    """

    separation: float | None
    within_between: float | None


def class_geometry(X: Features, y: Labels) -> ClassGeometry:
    """Measure the classes of single-label images.

    Parameters
    ----------
    X : ndarray of shape (n, n_features)
    y : ndarray of int64, shape (n,)
        Class indices. Classes without images have no effect.
    """
    _, group, counts = np.unique(y, return_inverse=True, return_counts=True)
    if len(counts) < 2:
        return ClassGeometry(None, None)
    sums, unit_sums = _group_sums(X, group, len(counts))
    unit_means = unit_sums / counts[:, None]
    distance_within = 1 - np.mean(np.sum(unit_means**2, axis=1))
    distance_total = 1 - np.sum(unit_means.mean(axis=0) ** 2)
    centre = moments.mean(X)
    between = counts @ np.sum((sums / counts[:, None] - centre) ** 2, axis=1) / len(X)
    total = moments.variances(X, centre).sum()
    noise = len(X) * np.finfo(np.float64).eps
    return ClassGeometry(
        separation=float(1 - distance_within / distance_total) if distance_total > noise else None,
        within_between=float(max(total - between, 0) / between) if between > total * noise else None,
    )


def _group_sums(X: Features, group: NDArray[np.int64], n_groups: int) -> tuple[Vector, Vector]:
    """Return the sums (n_groups, n_features) of the rows of each group, and of these rows divided by their norms."""
    from scipy.sparse import csr_array

    sums, unit_sums = np.zeros((n_groups, X.shape[1])), np.zeros((n_groups, X.shape[1]))
    for rows, block in moments.row_blocks(X):
        members = csr_array((np.ones(len(block)), (group[rows], np.arange(len(block)))), (n_groups, len(block)))
        sums += members @ block
        norms = np.linalg.norm(block, axis=1, keepdims=True)
        unit_sums += members @ (block / np.where(norms == 0, 1, norms))
    return sums, unit_sums


# ---- similarity ----------------------------------------------------------------------------------------------------


def centred_gram(X: Features) -> NDArray[np.float32] | None:
    """Return the entries K̃_ij, i < j, of the U-centred Gram matrix of the rows of `X`, scaled to norm 1.

    Parameters
    ----------
    X : ndarray of shape (n, n_features)

    Returns
    -------
    ndarray of shape (n (n - 1) / 2,) or None
        In float32, 8 MB for 2,000 images. None if the matrix is 0, because all images have the same features, or if
        there are fewer than four images.
    """
    n = len(X)
    if n < 4:
        return None
    K = moments.gram(X, moments.mean(X))  # a shift changes nothing in the end, and a large mean would cost digits
    size = np.abs(K).max()
    np.fill_diagonal(K, 0)
    sums = K.sum(axis=1)
    K -= (sums / (n - 2))[:, None]
    K -= sums / (n - 2)
    K += sums.sum() / ((n - 1) * (n - 2))
    entries: Vector = K[np.triu_indices(n, 1)]
    norm = np.linalg.norm(entries)
    return (entries / norm).astype(np.float32) if norm > size * n * np.finfo(np.float64).eps else None


def cka(grams: Sequence[NDArray[np.float32]]) -> Vector:
    """Return the debiased linear CKA of every two networks, shape (n, n).

    `grams` are the results of `centred_gram` for the same images, one for each network.
    """
    found = np.zeros((len(grams), len(grams)))
    for start in range(0, len(grams[0]) if grams else 0, _PAIRS):
        block = np.stack([gram[start : start + _PAIRS] for gram in grams]).astype(np.float64)
        found += block @ block.T
    return np.clip(found, -1, 1)
