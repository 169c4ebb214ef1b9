"""Geometry of features, against the definitions written out and worked examples."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest

from probes.analysis import geometry


def cloud(n: int, dim: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((n, dim))


# ---- neighbours -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_the_nearest_image_is_that_of_all_cosines_to_the_mean(dtype, monkeypatch):
    monkeypatch.setattr(geometry, "BLOCK", 7)
    X, bank = (3 + cloud(20, 6)).astype(dtype), (3 + cloud(31, 6, seed=1)).astype(dtype)
    from_mean = [side.astype(np.float64) - bank.mean(axis=0, dtype=np.float64) for side in (X, bank)]
    a, b = (side / np.linalg.norm(side, axis=1, keepdims=True) for side in from_mean)
    similarity, row = geometry.nearest(X, bank)
    assert row.tolist() == (a @ b.T).argmax(axis=1).tolist()
    assert similarity == pytest.approx((a @ b.T).max(axis=1), abs=1e-5)


def test_an_image_that_is_there_is_nearest_to_itself(monkeypatch):
    monkeypatch.setattr(geometry, "BLOCK", 5)
    bank = cloud(12, 4)
    similarity, row = geometry.nearest(bank, bank)
    assert row.tolist() == list(range(12))
    assert similarity == pytest.approx(np.ones(12))


def test_of_equal_images_the_first_is_nearest(monkeypatch):
    monkeypatch.setattr(geometry, "BLOCK", 2)
    bank = np.array([[0.0, 1], [1, 0], [1, 0], [0, -1], [1, 0]])
    assert geometry.nearest(np.array([[2.0, 0]]), bank)[1].tolist() == [1]


def test_an_image_at_the_mean_is_like_no_other():
    similarity, row = geometry.nearest(np.zeros((1, 2)), np.array([[1.0, 0], [-1, 0]]))
    assert (similarity.tolist(), row.tolist()) == ([0], [0])


# ---- spread -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(40, 8), (8, 40)])
def test_the_spectrum_is_that_of_the_covariance(shape):
    X = 5 + cloud(*shape)
    singular = np.linalg.svd(X - X.mean(axis=0), compute_uv=False)
    found = geometry.spectrum(X.astype(np.float64))
    assert found[::-1] == pytest.approx((singular**2 / len(X))[: len(found)])
    assert len(found) == min(shape[0] - 1, shape[1])


def test_equal_directions_are_counted():
    X = np.vstack([np.eye(4), -np.eye(4)])
    assert geometry.effective_rank(geometry.spectrum(X)) == pytest.approx(4)
    assert geometry.participation_ratio(geometry.spectrum(X)) == pytest.approx(4)


def test_a_faint_direction_counts_more_in_the_effective_rank():
    values = np.array([0.04, 1.0])  # singular values 0.2 and 1
    share = np.array([1 / 6, 5 / 6])
    assert geometry.effective_rank(values) == pytest.approx(np.prod(share**-share))
    assert geometry.participation_ratio(values) == pytest.approx(1.04**2 / 1.0016)


def test_features_that_do_not_vary_have_no_rank():
    found = geometry.spectrum(np.full((5, 3), 0.1, dtype=np.float16))
    assert (geometry.effective_rank(found), geometry.participation_ratio(found)) == (None, None)


# ---- classes ----------------------------------------------------------------------------------------------------


def test_class_separation_is_that_of_all_pairs():
    X, y = cloud(30, 5) + 1, np.array([0] * 5 + [1] * 10 + [4] * 15)
    directions = X / np.linalg.norm(X, axis=1, keepdims=True)
    classes = [directions[y == k] for k in (0, 1, 4)]
    within = np.mean([1 - (one @ one.T).mean() for one in classes])
    total = np.mean([1 - (one @ other.T).mean() for one, other in product(classes, classes)])
    assert geometry.class_geometry(X, y).separation == pytest.approx(1 - within / total)


def test_within_over_between_is_that_of_the_scatter_matrices():
    X, y = cloud(30, 5), np.arange(30) % 3
    means = np.stack([X[y == k].mean(axis=0) for k in range(3)])
    within, between = ((X - means[y]) ** 2).sum(), 10 * ((means - X.mean(axis=0)) ** 2).sum()
    assert geometry.class_geometry(X, y).within_between == pytest.approx(within / between)


def test_classes_that_have_collapsed_are_fully_apart():
    found = geometry.class_geometry(np.repeat(np.eye(3), 4, axis=0), np.repeat(np.arange(3), 4))
    assert (found.separation, found.within_between) == (pytest.approx(1), pytest.approx(0, abs=1e-12))


@pytest.mark.parametrize(("X", "y"), [(cloud(6, 3), np.zeros(6, int)), (np.ones((6, 3)), np.arange(6) % 2)])
def test_one_class_or_one_point_has_no_classes_to_tell_apart(X, y):
    assert geometry.class_geometry(X, y) == geometry.ClassGeometry(None, None)


# ---- likeness ---------------------------------------------------------------------------------------------------


def likeness(X: np.ndarray, Y: np.ndarray) -> float:
    return float(geometry.cka([geometry.centred_gram(X), geometry.centred_gram(Y)])[0, 1])


def unbiased_hsic(K: np.ndarray, L: np.ndarray) -> float:
    """Song et al. (2012), equation 5, as it is printed."""
    n, ones = len(K), np.ones(len(K))
    K, L = K - np.diag(np.diag(K)), L - np.diag(np.diag(L))
    middle = ones @ K @ ones * (ones @ L @ ones) / ((n - 1) * (n - 2))
    return (np.trace(K @ L) + middle - 2 / (n - 2) * ones @ K @ L @ ones) / (n * (n - 3))


def test_cka_is_that_of_the_unbiased_estimate():
    X, Y = 3 + cloud(25, 6), 3 + np.hstack([cloud(25, 3), cloud(25, 9, seed=1)])
    K, L = X @ X.T, Y @ Y.T
    expected = unbiased_hsic(K, L) / np.sqrt(unbiased_hsic(K, K) * unbiased_hsic(L, L))
    assert likeness(X, Y) == pytest.approx(expected, abs=1e-6)


def test_a_rotation_a_shift_and_a_scale_change_nothing():
    X = cloud(30, 5)
    rotation, _ = np.linalg.qr(cloud(5, 5, seed=1))
    assert likeness(X, 100 + 7 * X @ rotation) == pytest.approx(1, abs=1e-6)


def test_unrelated_features_are_not_alike_however_few_the_images():
    assert abs(np.mean([likeness(cloud(20, 200, seed), cloud(20, 200, seed + 100)) for seed in range(20)])) < 0.02


@pytest.mark.parametrize("X", [np.full((9, 4), 0.3), cloud(3, 2)])
def test_without_variation_or_images_there_is_no_likeness(X):
    assert geometry.centred_gram(X) is None
