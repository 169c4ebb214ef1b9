from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from scipy.optimize import approx_fprime, minimize
from scipy.special import expit, logsumexp

from featurestore.errors import ProbeError
from probes import L2_GRID, certificate, probabilities
from probes.objective import (
    among,
    chance_loss,
    class_frequencies,
    free_classes,
    losses_and_residuals,
    mixture,
    stake,
    with_limits,
)
from probes.solvers import path

N, D, K = 60, 5, 4


def data(multilabel, seed=0):
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((N, D)) + 3
    if multilabel:
        return X, rng.random((N, K)) < [0.1, 0.3, 0.5, 0.9]
    return X, rng.choice(K, N, p=[0.05, 0.15, 0.3, 0.5])


def direct_objective(X, y, coef, intercept, l2):
    z = X @ coef.T + intercept
    losses = (np.logaddexp(0, z) - y * z).sum(axis=1) if y.ndim == 2 else logsumexp(z, axis=1) - z[np.arange(len(y)), y]
    return losses.mean() + l2 / 2 * np.sum(coef**2)


def test_grid_is_the_papers_at_twenty_thousand_images():
    lambdas = np.logspace(-6, 5, 45)
    np.testing.assert_allclose(L2_GRID, 2 * lambdas / 20_000, rtol=1e-12)


def test_importing_probes_loads_neither_torch_nor_sklearn():
    heavy = "import sys, probes; sys.exit(bool({'torch', 'sklearn'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", heavy], check=False).returncode == 0


@pytest.mark.parametrize("multilabel", [False, True])
def test_objective_and_gradient_are_those_of_the_formula(multilabel):
    X, y = data(multilabel)
    rng = np.random.default_rng(1)
    theta, l2, h = rng.standard_normal((K, D + 1)), 0.1, 1e-6

    def at(t):
        return direct_objective(X, y, t[:, :D], t[:, D], l2)

    found = certificate(X, y, theta[:, :D], theta[:, D], l2=l2, n_classes=K)
    bumps = np.eye(theta.size).reshape(-1, *theta.shape) * h
    gradient = [(at(theta + bump) - at(theta - bump)) / (2 * h) for bump in bumps]
    assert found.objective == pytest.approx(at(theta), rel=1e-12)
    assert found.gradient_norm == pytest.approx(np.linalg.norm(gradient), rel=1e-6)


@pytest.mark.parametrize("multilabel", [False, True])
@pytest.mark.parametrize("l2", [1e-3, 1.0])
def test_dual_value_never_exceeds_the_minimum(multilabel, l2):
    X, y = data(multilabel)
    (best,) = path.fit_path(X, y, l2s=[l2], n_classes=K, gap_tolerance=1e-10)
    minimum = best.certificate.objective
    chance = chance_loss(class_frequencies(y, K), multilabel=multilabel)
    rng = np.random.default_rng(2)
    for scale in (0.0, 1e-6, 1e-3, 0.1, 1.0, 5.0):
        coef = best.coef + scale * rng.standard_normal((K, D))
        intercept = best.intercept + 3 * scale * rng.standard_normal(K)
        found = certificate(X, y, coef, intercept, l2=l2, n_classes=K)
        assert found.objective - found.duality_gap * stake(found.objective, chance) <= minimum
        assert minimum * (1 - 1e-10) <= found.objective


@pytest.mark.parametrize("multilabel", [False, True])
def test_gap_equals_primal_less_dual_written_out(multilabel):
    X, y = data(multilabel)
    rng = np.random.default_rng(3)
    coef, intercept, l2 = 0.1 * rng.standard_normal((K, D)), 0.3 * rng.standard_normal(K), 0.05
    found = certificate(X, y, coef, intercept, l2=l2, n_classes=K)

    e = y if multilabel else np.eye(K)[y]
    p = probabilities(X, coef, intercept, multilabel)
    epsilon, t = mixture((p - e).mean(axis=0), class_frequencies(y, K), multilabel=multilabel)
    q = (1 - epsilon) * p + epsilon * t
    np.testing.assert_allclose((q - e).sum(axis=0), 0, atol=1e-12)
    entropy = -(q * np.log(q)).sum() - (((1 - q) * np.log(1 - q)).sum() if multilabel else 0)
    dual = entropy / N - np.sum(((q - e).T @ X / N) ** 2) / (2 * l2)
    primal = direct_objective(X, y, coef, intercept, l2)
    chance = chance_loss(class_frequencies(y, K), multilabel=multilabel)
    assert chance == pytest.approx(direct_objective(X, y, np.zeros((K, D)), _best_biases(y, multilabel), l2), rel=1e-12)
    assert found.duality_gap == pytest.approx((primal - dual) / stake(primal, chance), rel=1e-9)


@pytest.mark.parametrize(("multilabel", "by_class"), [(False, False), (True, False), (True, True)])
@pytest.mark.parametrize("fit_intercept", [False, True])
def test_with_weights_objective_gradient_and_gap_hold_against_a_minimiser(multilabel, fit_intercept, by_class):
    X, y = data(multilabel)
    rng = np.random.default_rng(4)
    weight, l2 = rng.random((N, K) if by_class else N), 0.1
    share = weight / weight.sum(axis=0)

    def at(theta):
        coef, intercept = theta.reshape(K, D + 1)[:, :D], fit_intercept * theta.reshape(K, D + 1)[:, D]
        z = X @ coef.T + intercept
        losses = np.logaddexp(0, z) - y * z if multilabel else logsumexp(z, axis=1) - z[np.arange(N), y]
        return (losses * (share[:, None] if multilabel and not by_class else share)).sum() + l2 / 2 * np.sum(coef**2)

    options = {"l2": l2, "n_classes": K, "sample_weight": weight, "fit_intercept": fit_intercept}
    minimum = minimize(at, np.zeros(K * (D + 1)), method="BFGS", options={"gtol": 1e-7}).fun
    chance = chance_loss(class_frequencies(y, K, weight), multilabel, fit_intercept)
    for scale in (0.01, 0.3):
        theta = scale * rng.standard_normal((K, D + 1))
        theta[:, D] *= fit_intercept
        found = certificate(X, y, theta[:, :D], theta[:, D], **options)
        assert found.objective == pytest.approx(at(theta), rel=1e-12)
        assert found.gradient_norm == pytest.approx(np.linalg.norm(approx_fprime(theta.ravel(), at)), rel=1e-4)
        assert found.objective - found.duality_gap * stake(found.objective, chance) <= minimum <= found.objective


def _best_biases(y, multilabel):
    frequency = class_frequencies(y, K)
    return np.log(frequency / (1 - frequency)) if multilabel else np.log(frequency)


def test_what_is_at_stake_is_the_smaller_of_loss_left_and_gain():
    assert stake(0.1, chance=2.0) == 0.1
    assert stake(1.9, chance=2.0) == pytest.approx(0.1)
    assert stake(2.5, chance=2.0) == pytest.approx(2e-9)


def test_tiny_losses_keep_their_digits():
    losses, residuals = losses_and_residuals(np.array([[0.0, -40.0, -41.0]]), np.array([0]))
    odds = np.exp(-40) + np.exp(-41)
    assert losses[0, 0] == pytest.approx(odds, rel=1e-14)
    np.testing.assert_allclose(residuals[0], [-odds, np.exp(-40), np.exp(-41)], rtol=1e-14)
    losses, residuals = losses_and_residuals(np.array([[50.0, -50.0]]), np.array([[True, False]]))
    np.testing.assert_allclose(losses, np.exp(-50), rtol=1e-14)
    np.testing.assert_allclose(residuals[0], [-np.exp(-50), np.exp(-50)], rtol=1e-14)


def test_huge_logits_overflow_nothing():
    losses, residuals = losses_and_residuals(np.array([[0.0, 2000.0]]), np.array([0]))
    assert losses[0, 0] == 2000
    np.testing.assert_array_equal(residuals, [[-1, 1]])


def test_classes_without_a_contrast_take_their_limit():
    y = np.array([[True, False, True], [False, False, True]])
    assert free_classes(y, 3).tolist() == [0]
    coef, intercept = with_limits(np.ones((1, 2)), np.ones(1), y, 3)
    assert intercept.tolist() == [1, -np.inf, np.inf]
    assert probabilities(np.zeros((1, 2)), coef, intercept, multilabel=True).tolist() == [[expit(1), 0, 1]]
    assert among(np.array([4, 1, 4]), free_classes(np.array([4, 1, 4]), 5)).tolist() == [1, 0, 1]


@pytest.mark.parametrize(
    ("X", "y", "message"),
    [
        (np.zeros((2, 3)), np.array([0, 4]), "from 0 to 3"),
        (np.zeros((2, 3)), np.array([-1, 0]), "Got -1"),
        (np.full((2, 3), np.nan), np.array([0, 1]), "finite"),
        (np.zeros((2, 3)), np.array([0]), "n labels"),
        (np.zeros((2, 3)), np.zeros((2, 4)), "booleans"),
    ],
)
def test_data_that_cannot_be_fitted_are_refused(X, y, message):
    with pytest.raises(ProbeError, match=message):
        certificate(X, y, np.zeros((K, 3)), np.zeros(K), l2=1.0, n_classes=K)
