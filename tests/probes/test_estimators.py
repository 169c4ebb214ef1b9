"""The estimators, held to scikit-learn's own checks and to its own logistic regression."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
from scipy.sparse import csr_array
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning, NotFittedError
from sklearn.linear_model import LogisticRegression
from sklearn.utils import compute_sample_weight
from sklearn.utils.estimator_checks import parametrize_with_checks

import probes
from featurestore.errors import UnknownNameError
from probes import L2_GRID, LogisticPath, LogisticProbe

L2S = [1e-2, 1.0, 1e-3]  # on purpose in no order
NAMES = np.array(["ant", "bee", "cat"])


def images(n=90, d=5, k=3, seed=0):
    """Overlapping classes."""
    rng = np.random.default_rng(seed)
    y = np.arange(n) % k
    return rng.standard_normal((k, d))[y] + rng.standard_normal((n, d)), y


def indicators(y):
    """Three labels, which an image can have together."""
    return np.column_stack([y == 0, y > 0, np.arange(len(y)) % 5 == 0]).astype(int)


@parametrize_with_checks([LogisticProbe(), LogisticProbe(class_weight="balanced")])
def test_scikit_learn_accepts_the_probe(estimator, check):
    check(estimator)


@pytest.mark.parametrize("fit_intercept", [True, False])
def test_the_optimum_is_that_of_scikit_learn_at_its_own_constant(fit_intercept):
    X, y = images()
    probe = LogisticProbe(0.01, gap_tolerance=1e-10, fit_intercept=fit_intercept).fit(X, y)
    other = LogisticRegression(C=1 / (len(X) * 0.01), tol=1e-10, max_iter=1000, fit_intercept=fit_intercept).fit(X, y)
    np.testing.assert_allclose(probe.coef_, other.coef_, atol=1e-5)
    np.testing.assert_allclose(probe.predict_proba(X), other.predict_proba(X), atol=1e-5)
    assert probe.converged_
    assert probe.duality_gap_ <= 1e-10


def test_the_optimum_of_two_classes_is_that_of_scikit_learn_at_twice_the_l2():
    X, y = images(k=2)
    probe = LogisticProbe(0.02, gap_tolerance=1e-10).fit(X, y)
    other = LogisticRegression(C=1 / (len(X) * 0.01), tol=1e-10, max_iter=1000).fit(X, y)
    np.testing.assert_allclose(probe.coef_[1] - probe.coef_[0], other.coef_[0], atol=1e-5)
    np.testing.assert_allclose(probe.decision_function(X), other.decision_function(X), atol=1e-5)


def test_a_path_is_in_the_order_given_and_each_value_a_probe_of_its_own():
    X, y = images()
    path = LogisticPath(L2S, gap_tolerance=1e-10).fit(X, y)
    assert path.l2s_.tolist() == L2S
    assert path.coefs_.shape == (3, 3, 5)
    assert path.predict_proba(X).shape == (3, 90, 3)
    assert path.converged_.all()
    for l2, scores, gap in zip(L2S, path.predict_proba(X), path.duality_gap_, strict=True):
        alone = LogisticProbe(l2, gap_tolerance=1e-10).fit(X, y)
        np.testing.assert_allclose(scores, alone.predict_proba(X), atol=1e-5)
        np.testing.assert_array_equal(scores, path.at(l2).predict_proba(X))
        assert path.at(l2).duality_gap_ == gap
        assert path.at(l2).l2 == l2


def test_a_path_without_values_takes_the_grid():
    X, y = images()
    path = LogisticPath(gap_tolerance=0.01).fit(X, y)
    np.testing.assert_array_equal(path.l2s_, L2_GRID)


def test_a_value_that_was_not_fitted_is_refused():
    X, y = images()
    with pytest.raises(ValueError, match=r"one of the fitted values \[0.01, 1.0, 0.001\]. Got 0.1"):
        LogisticPath(L2S).fit(X, y).at(0.1)
    with pytest.raises(NotFittedError):
        LogisticPath(L2S).at(1.0)


@pytest.mark.parametrize("l2s", [[], [0.0], [1.0, -1.0], [np.inf], [[1.0]]])
def test_values_that_are_not_positive_are_refused(l2s):
    with pytest.raises(ValueError, match="l2 must be one or more numbers above 0"):
        LogisticPath(l2s).fit(*images())


def test_labels_may_be_of_any_sort():
    X, y = images()
    probe = LogisticProbe().fit(X, NAMES[y])
    assert probe.classes_.tolist() == NAMES.tolist()
    np.testing.assert_array_equal(probe.predict(X), NAMES[LogisticProbe().fit(X, y).predict(X)])
    assert probe.score(X, NAMES[y]) > 0.7
    assert LogisticPath(L2S).fit(X, NAMES[y]).at(1.0).predict(X)[0] in NAMES


@pytest.mark.parametrize("class_weight", ["balanced", {"ant": 1.0, "bee": 3.0, "cat": 0.5}])
def test_class_weights_multiply_sample_weights(class_weight):
    X, y = images()
    X, y = X[30:], np.where(np.arange(60) < 40, 0, y[30:])
    given = np.random.default_rng(1).integers(1, 3, len(y))
    weight = given * compute_sample_weight(class_weight, NAMES[y].repeat(given))[np.cumsum(given) - 1]
    weighed = LogisticProbe(gap_tolerance=1e-10, class_weight=class_weight).fit(X, NAMES[y], given)
    explicit = LogisticProbe(gap_tolerance=1e-10).fit(X, NAMES[y], weight)
    np.testing.assert_allclose(weighed.coef_, explicit.coef_, atol=1e-4)


def test_multilabel_is_one_regression_per_class():
    X, y = images()
    Y = indicators(y)
    probe = LogisticProbe(0.01, gap_tolerance=1e-10).fit(X, Y)
    scores = probe.predict_proba(X)
    for k in range(3):
        other = LogisticRegression(C=1 / (len(X) * 0.01), tol=1e-10, max_iter=1000).fit(X, Y[:, k])
        np.testing.assert_allclose(scores[:, k], other.predict_proba(X)[:, 1], atol=1e-5)
    np.testing.assert_array_equal(probe.predict(X), scores > 0.5)
    np.testing.assert_allclose(probe.predict_log_proba(X), np.log(scores), rtol=1e-10)
    np.testing.assert_array_equal(LogisticProbe(0.01, gap_tolerance=1e-10).fit(X, csr_array(Y)).coef_, probe.coef_)
    assert LogisticPath(L2S).fit(X, Y).at(1.0).predict(X).shape == (90, 3)


def test_balanced_multilabel_balances_every_class():
    X, y = images()
    Y = indicators(y)
    probe = LogisticProbe(0.01, gap_tolerance=1e-10, class_weight="balanced").fit(X, Y)
    for k in range(3):
        weight = compute_sample_weight("balanced", Y[:, k])
        other = LogisticRegression(C=1 / (len(X) * 0.01), tol=1e-10, max_iter=1000).fit(X, Y[:, k], weight)
        np.testing.assert_allclose(probe.predict_proba(X)[:, k], other.predict_proba(X)[:, 1], atol=1e-5)
    with pytest.raises(ValueError, match="'balanced' or None"):
        LogisticProbe(class_weight={0: 1.0}).fit(X, Y)


@pytest.mark.parametrize("estimator", [LogisticProbe(1e-4, max_iter=2), LogisticPath([1.0, 1e-4], max_iter=2)])
def test_a_fit_that_falls_short_warns(estimator):
    with pytest.warns(
        ConvergenceWarning, match=r"1 of [12] fits .* l2 = 0.0001 after 2 iterations of at most 2"
    ) as found:
        estimator.fit(*images())
    assert not np.all(estimator.converged_)
    assert found[0].filename == __file__


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_features_reach_the_solver_as_they_are(dtype, monkeypatch):
    seen = []
    solver = probes.solvers.load("path")
    real = solver.fit_path
    monkeypatch.setattr(solver, "fit_path", lambda X, *args, **options: seen.append(X) or real(X, *args, **options))
    X, y = images()
    X = X.astype(dtype)
    assert LogisticProbe().fit(X, y).predict_proba(X).dtype == np.float64
    assert seen[0] is X


@pytest.mark.parametrize("estimator", [LogisticProbe(0.1, fit_intercept=False), LogisticPath(L2S, max_iter=500)])
def test_estimators_can_be_cloned_and_pickled(estimator):
    X, y = images()
    assert clone(estimator).get_params() == estimator.get_params()
    again = pickle.loads(pickle.dumps(estimator.fit(X, y)))  # noqa: S301
    np.testing.assert_array_equal(again.predict_proba(X), estimator.predict_proba(X))


def test_an_unknown_solver_is_an_error_that_suggests():
    with pytest.raises(UnknownNameError, match="Did you mean 'sklearn'"):
        LogisticProbe(solver="sklern").fit(*images())


def test_a_wrong_name_in_the_package_is_an_attribute_error():
    with pytest.raises(AttributeError, match="'probes' has no attribute 'LogisticPat'"):
        _ = probes.LogisticPat
