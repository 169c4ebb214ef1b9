"""One body of tests for all solvers: a new file in `probes/solvers/` is tested without another line here."""

from __future__ import annotations

from importlib.util import find_spec

import numpy as np
import pytest
import torch
from tasks import rectified

from featurestore.errors import ConfigurationError, ProbeError, UnknownNameError
from probes import GAP_TOLERANCE, certificate, probabilities, solvers

L2S = [1e-2, 1.0, 1e-4]  # on purpose in no order
every_solver = pytest.mark.parametrize("name", solvers.names())
both_tasks = pytest.mark.parametrize("multilabel", [False, True])


def fit_path(name, *args, **options):
    if name == "cuml" and not (find_spec("cuml") and torch.cuda.is_available()):
        pytest.skip("needs cuML and a CUDA device")
    return solvers.load(name).fit_path(*args, device="cpu", **options)


def certified(X, y, fit, n_classes, **options):
    return certificate(X, y, fit.coef, fit.intercept, l2=fit.l2, n_classes=n_classes, **options)


def assert_same(fit, other):
    """The same solution, found in two ways that are both certified to 1e-8."""
    assert fit.converged
    assert other.converged
    assert fit.certificate.objective == pytest.approx(other.certificate.objective, rel=1e-7)
    np.testing.assert_allclose(fit.coef, other.coef, atol=1e-3 * np.abs(other.coef).max())
    np.testing.assert_allclose(fit.intercept, other.intercept, atol=1e-3 * np.abs(other.coef).max())


@every_solver
@both_tasks
def test_every_solver_reaches_the_same_certified_optimum(name, multilabel):
    X, y = rectified(multilabel=multilabel)
    fits = fit_path(name, X, y, l2s=L2S, n_classes=4, gap_tolerance=1e-8)
    reference = fit_path("path", X, y, l2s=L2S, n_classes=4, gap_tolerance=1e-10)
    assert [fit.l2 for fit in fits] == L2S
    for fit, best in zip(fits, reference, strict=True):
        assert fit.converged
        assert fit.certificate.objective == pytest.approx(best.certificate.objective, rel=1e-7)
        assert fit.certificate.gradient_norm < 1e-3
        np.testing.assert_allclose(fit.coef, best.coef, atol=1e-3 * np.abs(best.coef).max())
        np.testing.assert_allclose(fit.intercept, best.intercept, atol=1e-3 * np.abs(best.intercept).max())


@every_solver
@both_tasks
@pytest.mark.parametrize("shape", [(200, 12), (30, 80)])
def test_certificates_are_those_of_the_objective(name, multilabel, shape):
    X, y = rectified(*shape, multilabel=multilabel)
    for fit in fit_path(name, X, y, l2s=L2S, n_classes=4):
        found = certified(X, y, fit, 4)
        assert fit.converged
        assert found.duality_gap <= GAP_TOLERANCE
        assert fit.certificate.objective == pytest.approx(found.objective, rel=1e-10)
        assert fit.certificate.gradient_norm == pytest.approx(found.gradient_norm, rel=1e-3, abs=1e-12)
        assert fit.certificate.duality_gap == pytest.approx(found.duality_gap, rel=1e-3, abs=1e-12)


@every_solver
@pytest.mark.parametrize("kind", [np.float16, np.float32])
def test_low_precision_features_are_fitted_as_they_are(name, kind):
    X, y = rectified()
    X = X.astype(kind)
    (low,) = fit_path(name, X, y, l2s=[0.1], n_classes=4)
    (high,) = fit_path(name, X.astype(np.float64), y, l2s=[0.1], n_classes=4)
    np.testing.assert_allclose(low.coef, high.coef, rtol=1e-12)


@every_solver
def test_an_absent_class_has_probability_zero_and_the_rest_do_not_notice(name):
    X, y = rectified()
    (fit,) = fit_path(name, X, np.where(y < 2, y, y + 1), l2s=[0.1], n_classes=6)
    (without,) = fit_path(name, X, y, l2s=[0.1], n_classes=4)
    assert fit.intercept[[2, 5]].tolist() == [-np.inf, -np.inf]
    np.testing.assert_allclose(fit.coef[[0, 1, 3, 4]], without.coef, rtol=1e-9)
    assert fit.certificate.duality_gap == pytest.approx(without.certificate.duality_gap)
    assert certified(X, np.where(y < 2, y, y + 1), fit, 6).duality_gap <= GAP_TOLERANCE
    scores = probabilities(X, fit.coef, fit.intercept, multilabel=False)
    assert not scores[:, [2, 5]].any()
    np.testing.assert_allclose(scores.sum(axis=1), 1)


@every_solver
def test_labels_that_all_images_share_cost_nothing(name):
    X, y = rectified(multilabel=True)
    y[:, 1], y[:, 3] = False, True
    (fit,) = fit_path(name, X, y, l2s=[0.1], n_classes=4)
    assert fit.converged
    assert certified(X, y, fit, 4).duality_gap <= GAP_TOLERANCE
    assert probabilities(X, fit.coef, fit.intercept, multilabel=True)[0, [1, 3]].tolist() == [0, 1]


@every_solver
@pytest.mark.parametrize("y", [np.ones(200, dtype=np.int64), np.ones((200, 3), dtype=np.bool_)])
def test_nothing_to_tell_apart_is_fitted_at_once(name, y):
    (fit,) = fit_path(name, rectified()[0], y, l2s=[0.1], n_classes=3)
    assert fit.converged
    assert fit.certificate.objective == 0
    assert not fit.coef.any()


@every_solver
def test_two_classes_are_a_softmax_too(name):
    X, y = rectified(k=2)
    (fit,) = fit_path(name, X, y, l2s=[1e-2], n_classes=2, gap_tolerance=1e-8)
    assert fit.certificate.duality_gap <= 1e-8
    np.testing.assert_allclose(fit.coef[0], -fit.coef[1], rtol=1e-6)


@every_solver
@both_tasks
def test_running_out_of_iterations_is_reported(name, multilabel):
    X, y = rectified(multilabel=multilabel)
    (fit,) = fit_path(name, X, y, l2s=[1e-4], n_classes=4, max_iter=2)
    assert not fit.converged
    assert fit.n_iter == 2
    assert fit.certificate.duality_gap > GAP_TOLERANCE


@every_solver
def test_features_that_are_not_finite_are_refused(name):
    X, y = rectified()
    X[3, 2] = np.inf
    with pytest.raises(ProbeError, match="finite"):
        fit_path(name, X, y, l2s=[1.0], n_classes=4)


@both_tasks
@pytest.mark.parametrize("shape", [(300, 20), (40, 100)])
def test_path_certifies_the_weakest_regularisation(multilabel, shape):
    X, y = rectified(*shape, multilabel=multilabel)
    fits = fit_path("path", X, y, l2s=[1e-9, 1e-8, 1e-10], n_classes=4)
    assert all(fit.converged for fit in fits)
    assert max(certified(X, y, fit, 4).duality_gap for fit in fits) <= GAP_TOLERANCE * 1.001


@pytest.mark.slow
def test_accuracy_does_not_move_within_the_gap_tolerance():
    X, y = rectified(n=2200, d=40, seed=1)
    for l2 in (1e-2, 1e-4, 1e-6):
        share = []
        for gap in (GAP_TOLERANCE, 1e-9):
            (fit,) = fit_path("path", X[:200], y[:200], l2s=[l2], n_classes=4, gap_tolerance=gap)
            share.append((probabilities(X[200:], fit.coef, fit.intercept, False).argmax(axis=1) == y[200:]).mean())
        assert abs(share[0] - share[1]) <= 0.2 * np.sqrt(share[1] * (1 - share[1]) / 2000)


@pytest.mark.gpu
def test_path_gives_the_same_on_cuda():
    if not torch.cuda.is_available():
        pytest.skip("needs a CUDA device")
    X, y = rectified()
    pair = [
        solvers.load("path").fit_path(X, y, l2s=[1e-2], n_classes=4, gap_tolerance=1e-9, device=device)[0]
        for device in ("cpu", "cuda")
    ]
    np.testing.assert_allclose(pair[0].coef, pair[1].coef, atol=1e-4)


def test_unknown_solver_is_an_error_that_suggests():
    with pytest.raises(UnknownNameError, match="Did you mean 'path'"):
        solvers.load("paht")


@pytest.mark.parametrize("multilabel", [False, True])
@pytest.mark.parametrize("solver", solvers.names())
def test_a_weak_signal_at_strong_regularisation_is_fitted_all_the_same(solver, multilabel):
    """Relative to the objective alone, no weights at all would pass; they rank images like a coin."""
    rng = np.random.default_rng(0)
    y = np.arange(300) % 3
    X = 0.01 * (np.eye(3)[y] @ rng.normal(size=(3, 10)) + 0.3 * rng.normal(size=(300, 10)))
    labels = np.eye(3)[y].astype(bool) if multilabel else y
    (fit,) = fit_path(solver, X, labels, l2s=[10.0], n_classes=3)
    assert fit.converged
    found = (X - X.mean(axis=0)) @ fit.coef.T
    assert (found.argmax(axis=1) == y).mean() > 0.9


@every_solver
@both_tasks
def test_integer_weights_repeat_images(name, multilabel):
    X, y = rectified(multilabel=multilabel)
    times = np.random.default_rng(1).integers(1, 4, len(X))
    options = {"l2s": [1e-2], "n_classes": 4, "gap_tolerance": 1e-8}
    (weighted,) = fit_path(name, X, y, sample_weight=times.astype(float), **options)
    (repeated,) = fit_path(name, X.repeat(times, axis=0), y.repeat(times, axis=0), **options)
    assert_same(weighted, repeated)


@every_solver
@both_tasks
def test_images_that_weigh_nothing_might_as_well_not_be_there(name, multilabel):
    X, y = rectified(multilabel=multilabel)
    kept = np.random.default_rng(1).random(len(X)) < 0.7
    options = {"l2s": [1e-2], "n_classes": 4, "gap_tolerance": 1e-8}
    (weighted,) = fit_path(name, X, y, sample_weight=kept.astype(float), **options)
    (removed,) = fit_path(name, X[kept], y[kept], **options)
    assert_same(weighted, removed)


@every_solver
def test_a_class_whose_images_weigh_nothing_is_absent(name):
    X, y = rectified()
    (fit,) = fit_path(name, X, y, l2s=[0.1], n_classes=4, sample_weight=(y != 2).astype(float))
    assert fit.converged
    assert np.isneginf(fit.intercept).tolist() == [False, False, True, False]
    assert not fit.coef[2].any()


@every_solver
def test_only_ratios_of_weights_matter(name):
    X, y = rectified()
    weight = np.random.default_rng(1).random(len(X))
    options = {"l2s": [1e-2], "n_classes": 4, "gap_tolerance": 1e-8}
    (small,) = fit_path(name, X, y, sample_weight=1e-4 * weight, **options)
    (large,) = fit_path(name, X, y, sample_weight=1e4 * weight, **options)
    assert_same(small, large)


@every_solver
def test_weights_by_class_are_those_of_each_regression_by_itself(name):
    X, y = rectified(multilabel=True)
    weight = np.random.default_rng(1).random(y.shape) + 0.1
    options = {"l2s": [1e-2], "gap_tolerance": 1e-8}
    (together,) = fit_path(name, X, y, n_classes=4, sample_weight=weight, **options)
    assert together.converged
    assert certified(X, y, together, 4, sample_weight=weight).duality_gap <= 1.001e-8
    for k in range(4):
        (alone,) = fit_path(name, X, y[:, [k]], n_classes=1, sample_weight=weight[:, k], **options)
        np.testing.assert_allclose(together.coef[[k]], alone.coef, atol=2e-3 * np.abs(alone.coef).max())


@every_solver
@both_tasks
@pytest.mark.parametrize("weighted", [False, True])
def test_without_an_intercept_every_solver_reaches_the_same_certified_optimum(name, multilabel, weighted):
    X, y = rectified(multilabel=multilabel)
    weight = np.random.default_rng(1).random(len(X)) if weighted else None
    options = {"l2s": [1e-2, 1e-4], "n_classes": 4, "sample_weight": weight, "fit_intercept": False}
    reference = fit_path("path", X, y, gap_tolerance=1e-10, **options)
    for fit, best in zip(fit_path(name, X, y, gap_tolerance=1e-8, **options), reference, strict=True):
        assert not fit.intercept.any()
        assert certified(X, y, fit, 4, sample_weight=weight, fit_intercept=False).duality_gap <= 1.001e-8
        assert_same(fit, best)


@every_solver
@both_tasks
def test_without_an_intercept_a_class_without_images_is_a_class_like_any_other(name, multilabel):
    X, y = rectified(multilabel=multilabel)
    if multilabel:
        y[:, 1], y[:, 3] = False, True
    (fit,) = fit_path(name, X, y, l2s=[1e-2], n_classes=4 if multilabel else 6, fit_intercept=False)
    assert fit.converged
    assert not fit.intercept.any()
    assert fit.coef.any(axis=1).all()
    assert certified(X, y, fit, len(fit.coef), fit_intercept=False).duality_gap <= GAP_TOLERANCE


@every_solver
@pytest.mark.parametrize("weight", [-np.ones(200), np.zeros(200), np.ones(199)])
def test_weights_that_cannot_be_used_are_refused(name, weight):
    X, y = rectified()
    with pytest.raises(ProbeError, match="Sample weights must be"):
        fit_path(name, X, y, l2s=[1.0], n_classes=4, sample_weight=weight)


@pytest.mark.skipif(find_spec("cuml") is not None, reason="cuML is installed")
def test_without_cuml_its_solver_says_what_to_install_and_what_else_there_is():
    X, y = rectified()
    with pytest.raises(ConfigurationError, match=r"needs cuML.*pip install 'probestore\[cuml\]'.*NVIDIA GPU.*'path'"):
        solvers.load("cuml").fit_path(X, y, l2s=[1.0], n_classes=4)
