"""Measures of features that need no training, each against its definition written out without any shortcut."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from scipy.optimize import minimize
from scipy.stats import multivariate_normal
from sklearn.covariance import LedoitWolf
from tasks import fit, task

from featurestore.errors import ProbeError
from probes.methods import leep

WIDE = {"n": 40, "d": 60}  # fewer images than features


def evidence_per_image(X, y):
    """max over α and β of log N(y; 0, I/β + X Xᵀ/α) / n, from several starts."""

    def negative(logs):
        covariance = np.exp(-logs[1]) * np.eye(len(X)) + np.exp(-logs[0]) * X @ X.T
        return -multivariate_normal.logpdf(y, cov=covariance) / len(X)

    starts = [(0.0, 0.0), (4.0, 2.0), (8.0, 1.0)]
    options = {"xatol": 1e-6, "fatol": 1e-10, "maxiter": 2000}
    return -min(minimize(negative, start, method="Nelder-Mead", options=options).fun for start in starts)


@pytest.mark.slow
@pytest.mark.parametrize("multilabel", [False, True])
@pytest.mark.parametrize("shape", [{"n": 80}, WIDE], ids=["tall", "wide"])
def test_logme_is_the_largest_evidence(shape, multilabel):
    given = task(multilabel=multilabel, dtype=np.float64, **shape)
    Y = given.y.astype(float) if multilabel else np.eye(3)[given.y]
    probe = fit("logme", given)
    assert probe.measures["logme"] == pytest.approx(np.mean([evidence_per_image(given.X, y) for y in Y.T]), abs=1e-6)
    assert probe.evidence.converged


def test_logme_does_not_depend_on_the_unit_of_the_features():
    given = task()
    louder = dataclasses.replace(given, X=given.X * 1024)
    assert fit("logme", louder).measures["logme"] == pytest.approx(fit("logme", given).measures["logme"], rel=1e-9)


def test_logme_is_finite_for_features_that_say_nothing_or_everything():
    rng = np.random.default_rng(0)
    given = task()
    for X in (rng.standard_normal((120, 8)), np.eye(3)[given.y], np.ones((120, 1))):
        assert np.isfinite(fit("logme", dataclasses.replace(given, X=X)).measures["logme"])
    with pytest.raises(ProbeError, match="features that are not 0"):
        fit("logme", dataclasses.replace(given, X=np.zeros((120, 8))))


def test_logme_leaves_out_classes_without_contrast():
    given = task(multilabel=True)
    without = dataclasses.replace(given, y=given.y[:, :2], n_classes=2)
    always = dataclasses.replace(given, y=given.y | [False, False, True])
    assert fit("logme", always).measures == pytest.approx(dict(fit("logme", without).measures))


def spread_of_means(X, y):
    return np.cov(np.stack([X[y == k].mean(axis=0) for k in y]), rowvar=False, bias=True)


def test_hscore_is_its_definition():
    X, y = task(dtype=np.float64).final
    expected = np.trace(np.linalg.pinv(np.cov(X, rowvar=False, bias=True)) @ spread_of_means(X, y))
    assert fit("hscore", task(dtype=np.float64), shrinkage="none").measures["hscore"] == pytest.approx(expected)


@pytest.mark.parametrize("shape", [{}, WIDE], ids=["tall", "wide"])
def test_hscore_shrinks_as_ledoit_and_wolf(shape):
    X, y = task(dtype=np.float64, **shape).final
    theirs = LedoitWolf().fit(X)
    expected = (1 - theirs.shrinkage_) * np.trace(np.linalg.inv(theirs.covariance_) @ spread_of_means(X, y))
    assert fit("hscore", task(dtype=np.float64, **shape)).measures["hscore"] == pytest.approx(expected)


def test_hscore_without_shrinkage_is_at_its_limit_when_features_outnumber_images():
    assert fit("hscore", task(**WIDE), shrinkage="none").measures["hscore"] == pytest.approx(2)


def test_hscore_does_not_count_a_feature_twice():
    given = task(dtype=np.float64)
    doubled = dataclasses.replace(given, X=np.hstack([given.X, given.X]))
    alone, twice = (fit("hscore", each, shrinkage="none").measures["hscore"] for each in (given, doubled))
    assert twice == pytest.approx(alone)


def test_leep_is_its_definition():
    given = task()
    theta, y = given.source_probabilities(given.X), given.y
    n, n_source = theta.shape
    joint = np.zeros((3, n_source))
    for i in range(n):
        for z in range(n_source):
            joint[y[i], z] += theta[i, z] / n
    total = 0.0
    for i in range(n):
        total += np.log(sum(joint[y[i], z] / joint[:, z].sum() * theta[i, z] for z in range(n_source)))
    assert fit("leep", given).measures["leep"] == pytest.approx(total / n)


def test_nce_is_its_definition():
    given = task()
    source, y = given.source_probabilities(given.X).argmax(axis=1), given.y
    total = 0.0
    for z in set(source.tolist()):
        for c in set(y[source == z].tolist()):
            both = np.mean((source == z) & (y == c))
            total += both * np.log(both / np.mean(source == z))
    assert fit("nce", given).measures["nce"] == pytest.approx(total)


@pytest.mark.parametrize("name", ["leep", "nce"])
def test_a_source_class_that_is_the_label_leaves_nothing_open(name):
    given = task()
    knowing = dataclasses.replace(given, X=np.eye(3)[given.y], source_probabilities=lambda X: X)
    assert fit(name, knowing).measures[name] == pytest.approx(0)
    ignorant = dataclasses.replace(given, source_probabilities=lambda X: np.tile([1.0, 0.0], (len(X), 1)))
    assert fit(name, ignorant).measures[name] == pytest.approx(-np.log(3))


@pytest.mark.parametrize("name", ["leep", "nce"])
def test_the_source_classifier_is_asked_block_by_block(name, monkeypatch):
    given, sizes = task(), []
    asked = dataclasses.replace(
        given, source_probabilities=lambda X: sizes.append(len(X)) or given.source_probabilities(X)
    )
    monkeypatch.setattr(leep, "BLOCK", 50)
    assert fit(name, asked).measures == pytest.approx(dict(fit(name, given).measures))
    assert sizes[:3] == [50, 50, 20]


@pytest.mark.parametrize("name", ["leep", "nce"])
def test_a_network_without_a_classifier_has_no_such_measure(name):
    with pytest.raises(ProbeError, match=f"{name.upper()} needs .* the store has none"):
        fit(name, dataclasses.replace(task(), source_probabilities=None))


@pytest.mark.parametrize("name", ["logme", "hscore", "leep", "nce"])
def test_measures_are_of_the_images_that_may_be_learned_from(name):
    given = task()
    few_shot = dataclasses.replace(given, refit_on_validation=False)
    train_only = dataclasses.replace(given, X=given.train[0], y=given.train[1])
    assert fit(name, few_shot).measures == fit(name, train_only).measures
    assert fit(name, few_shot).measures != fit(name, given).measures
