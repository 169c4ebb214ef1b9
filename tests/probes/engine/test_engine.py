"""The machinery of the path solver, against textbook forms of the same."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from tasks import rectified

from probes import certificate
from probes.engine import problem, rows
from probes.engine.lbfgs import Memory
from probes.engine.losses import OneVsRest, Softmax
from probes.solvers import path

both_losses = pytest.mark.parametrize("loss", [Softmax(), OneVsRest()], ids=["softmax", "one-vs-rest"])


def two_loops(pairs, gradient, precondition, dot):
    """Nocedal and Wright, algorithm 7.4, as it is printed; `dot` gives (B, 1)."""
    q, alphas = gradient.clone(), []
    for s, y in reversed(pairs):
        alphas.append(dot(s, q) / dot(s, y))
        q -= alphas[-1] * y
    s, y = pairs[-1]
    r = precondition(q) * dot(s, y) / dot(y, precondition(y))
    for (s, y), alpha in zip(pairs, reversed(alphas), strict=True):
        r += (alpha - dot(y, r) / dot(s, y)) * s
    return r


@both_losses
@pytest.mark.parametrize("n_pairs", [1, 4, 14])
def test_the_memory_gives_the_direction_of_the_two_loops_at_any_l2(loss, n_pairs, monkeypatch):
    monkeypatch.setattr("probes.engine.lbfgs.PAIRS", 10)
    generator = torch.Generator().manual_seed(0)
    curvature = torch.rand(3, 5, generator=generator, dtype=torch.float64) + 0.1
    gradient = torch.randn(3, 5, generator=generator, dtype=torch.float64)
    memory = Memory(gradient, 3 if loss.multilabel else 1)
    steps = [torch.randn(3, 5, generator=generator, dtype=torch.float64) for _ in range(n_pairs)]
    for step in steps:
        memory.add(step, curvature * step)
    for l2 in (0.5, 1e-3):
        pairs = [(step, (curvature + l2) * step) for step in steps[-10:]]
        found = memory.inverse_hessian_times(gradient, l2, lambda g: g / 2)
        torch.testing.assert_close(found, two_loops(pairs, gradient, lambda g: g / 2, loss.dot))


@both_losses
def test_a_step_without_curvature_is_not_learned_from(loss):
    memory = Memory(torch.zeros(3, 5, dtype=torch.float64), 3 if loss.multilabel else 1)
    gradient = torch.ones(3, 5, dtype=torch.float64)
    memory.add(gradient, 2 * gradient)
    before = memory.inverse_hessian_times(gradient, 0.1, lambda g: g)
    memory.add(torch.zeros_like(gradient), torch.zeros_like(gradient))
    torch.testing.assert_close(memory.inverse_hessian_times(gradient, 0.1, lambda g: g), before)


@pytest.mark.parametrize("multilabel", [False, True])
def test_block_by_block_the_fit_is_the_same(multilabel, monkeypatch):
    X, y = rectified(n=700, multilabel=multilabel)
    X = X.astype(np.float16)
    monkeypatch.setattr(path, "FEW", 0)
    (whole,) = path.fit_path(X, y, l2s=[1e-3], n_classes=4, device="cpu", gap_tolerance=1e-5)
    monkeypatch.setitem(rows.WHOLE_BYTES, "cpu", 0)
    monkeypatch.setitem(problem.LOGITS_BYTES, "cpu", 0)
    monkeypatch.setattr(rows, "BLOCK_BYTES", 1)
    (blocks,) = path.fit_path(X, y, l2s=[1e-3], n_classes=4, device="cpu", gap_tolerance=1e-5)
    assert whole.converged
    assert blocks.converged
    assert blocks.certificate.objective == pytest.approx(whole.certificate.objective, rel=1e-5)
    np.testing.assert_allclose(blocks.coef, whole.coef, atol=1e-2 * np.abs(whole.coef).max())


@pytest.mark.parametrize("multilabel", [False, True])
def test_float32_fits_carry_the_certificate_of_float64(multilabel, monkeypatch):
    monkeypatch.setattr(path, "FEW", 0)
    X, y = rectified(n=900, d=30, multilabel=multilabel)
    X = X.astype(np.float32)
    for fit in path.fit_path(X, y, l2s=[1e-8, 1e-2, 1e-5], n_classes=4, device="cpu"):
        found = certificate(X, y, fit.coef, fit.intercept, l2=fit.l2, n_classes=4)
        assert fit.converged
        assert fit.certificate.duality_gap == pytest.approx(found.duality_gap, rel=1e-3)
        assert fit.certificate.objective == pytest.approx(found.objective, rel=1e-10)


def test_what_float32_leaves_short_is_finished_in_float64(monkeypatch):
    monkeypatch.setattr(path, "FEW", 0)
    monkeypatch.setattr(path, "FLOAT32_GAP", 0)
    monkeypatch.setattr(path, "PATIENCE", 2)
    X, y = rectified(n=900, d=30)
    (fit,) = path.fit_path(X.astype(np.float32), y, l2s=[1e-7], n_classes=4, device="cpu", gap_tolerance=1e-9)
    assert fit.certificate.duality_gap <= 1e-9


def test_read_only_features_are_fitted_and_left_alone():
    X, y = rectified()
    X = X.astype(np.float32)
    before = X.copy()
    X.flags.writeable = False
    (fit,) = path.fit_path(X, y, l2s=[1e-2], n_classes=4, device="cpu")
    assert fit.converged
    np.testing.assert_array_equal(X, before)


def test_bias_and_weights_come_out_for_features_far_from_zero():
    X, y = rectified()
    (near,) = path.fit_path(X, y, l2s=[1e-2], n_classes=4, device="cpu", gap_tolerance=1e-8)
    (far,) = path.fit_path(X + 100.0, y, l2s=[1e-2], n_classes=4, device="cpu", gap_tolerance=1e-8)
    np.testing.assert_allclose(far.coef, near.coef, atol=1e-6)
