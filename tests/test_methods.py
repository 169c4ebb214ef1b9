"""One body of tests for all methods: a new file in `probes/methods/` is tested without another line here."""

from __future__ import annotations

import numpy as np
import pytest

from featurestore.errors import UnknownNameError
from probes import GAP_TOLERANCE, L2_GRID, certificate, methods, metrics, solvers

OPTIONS = {"n_classes": 3, "seed": 0, "device": "cpu"}


def split(multilabel=False):
    """Train, validation and test images that overlap, 60 of each."""
    rng = np.random.default_rng(0)
    y = np.arange(180) % 3
    X = (2.5 * rng.standard_normal((3, 8))[y] + 2 * rng.standard_normal((180, 8))).astype(np.float32)
    labels = X[:, :3] > [-1, 0, 1] if multilabel else y
    return [(X[part], labels[part]) for part in (slice(0, 60), slice(60, 120), slice(120, 180))]


def fit(name, multilabel=False, **options):
    (X_train, y_train), (X_val, y_val), _ = split(multilabel)
    method = methods.load(name)
    solver = method.SOLVERS[0] if method.SOLVERS else ""
    metric = metrics.names(multilabel)[0]
    return method.fit(X_train, y_train, X_val, y_val, **{**OPTIONS, "metric": metric, "solver": solver, **options})


@pytest.mark.parametrize("name", methods.names())
@pytest.mark.parametrize("multilabel", [False, True])
def test_a_fitted_probe_scores_unseen_images_well_above_chance(name, multilabel):
    X_test, y_test = split(multilabel)[2]
    scores = fit(name, multilabel).scores(X_test)
    assert scores.shape == (60, 3)
    assert scores.dtype == np.float64
    assert scores.min() >= 0
    assert scores.max() <= 1
    assert metrics.balanced_accuracy(scores, y_test).value > 0.6


@pytest.mark.parametrize("name", methods.names())
def test_every_method_declares_what_it_chooses_and_with_what(name):
    method = methods.load(name)
    assert set(method.SOLVERS) <= set(solvers.names())
    assert method.__doc__
    assert method.__doc__.splitlines()[0].endswith(".")
    assert fit(name).hyperparameter == method.HYPERPARAMETER


def test_logistic_is_refitted_on_train_and_validation_at_the_chosen_l2():
    (X_train, y_train), (X_val, y_val), _ = split()
    probe = fit("logistic", metric="nll")
    X, y = np.concatenate([X_train, X_val]), np.concatenate([y_train, y_val])
    weights = probe.scores.keywords
    found = certificate(X, y, weights["coef"], weights["intercept"], l2=probe.chosen, n_classes=3)
    assert found.duality_gap <= GAP_TOLERANCE * 1.001
    assert probe.evidence.objective == pytest.approx(found.objective)
    assert probe.evidence.converged
    assert not probe.at_grid_edge


def test_logistic_tries_the_whole_grid_with_evidence():
    probe = fit("logistic", metric="nll")
    assert [trial.value for trial in probe.trials] == L2_GRID.tolist()
    assert max(trial.evidence.duality_gap for trial in probe.trials) <= GAP_TOLERANCE
    assert probe.chosen == min(probe.trials, key=lambda trial: trial.validation).value


def test_unknown_names_are_errors_that_suggest():
    with pytest.raises(UnknownNameError, match="Did you mean 'logistic'"):
        methods.load("logistics")
    with pytest.raises(UnknownNameError, match="Did you mean 'sklearn'"):
        fit("logistic", solver="sklear")
