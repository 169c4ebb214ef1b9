from __future__ import annotations

import inspect
from functools import partial

import numpy as np
import pytest

from featurestore.errors import ConfigurationError, ProbeError, UnknownNameError
from probes import Evidence, Trial, metrics, probabilities, solvers
from probes.fitting.tuning import check_grid, choose, choose_l2, choose_value


def trials(*validations):
    return tuple(Trial(10.0**i, validation, Evidence()) for i, validation in enumerate(validations))


def split(seed=0):
    rng = np.random.default_rng(seed)
    y = np.arange(150) % 3
    X = 2 * rng.standard_normal((3, 6))[y] + 2 * rng.standard_normal((150, 6))
    return X[:90], y[:90], X[90:], y[90:]


def test_the_best_value_is_chosen():
    assert choose(trials(0.1, 0.3, 0.2), higher_is_better=True).value == 10
    assert choose(trials(0.3, 0.2, 0.1, 0.4), higher_is_better=False).value == 100


def test_ties_go_to_stronger_regularisation():
    assert choose(trials(0.1, 0.3, 0.3, 0.2), higher_is_better=True).value == 100
    assert choose(trials(0.3, 0.3), higher_is_better=False).value == 10


def test_the_stronger_regularisation_can_be_the_smaller_value():
    assert choose(trials(0.1, 0.3, 0.3, 0.2), higher_is_better=True, stronger_last=False).value == 10


@pytest.mark.parametrize(("validations", "at_edge"), [((3, 2, 1), True), ((1, 2, 3), True), ((1, 3, 2), False)])
def test_a_choice_at_either_end_of_the_grid_is_flagged(validations, at_edge):
    assert choose(trials(*validations), higher_is_better=True).at_grid_edge is at_edge


def test_an_empty_grid_is_refused():
    with pytest.raises(ConfigurationError, match="at least one"):
        choose((), higher_is_better=True)


@pytest.mark.parametrize("metric", ["top1", "nll"])
def test_l2_is_chosen_on_validation_images(metric):
    X_train, y_train, X_val, y_val = split()
    l2s = [1e-4, 1e-1, 10.0, 1e-2]
    fit_path = solvers.load("path").fit_path
    choice = choose_l2(partial(fit_path, n_classes=3), *split(), l2s=l2s, metric=metric)
    fits = fit_path(X_train, y_train, l2s=sorted(l2s), n_classes=3)
    measure = metrics.by_name(metric)
    values = [measure(probabilities(X_val, f.coef, f.intercept, False), y_val).value for f in fits]
    best = max(values) if measure.higher_is_better else min(values)
    assert [trial.value for trial in choice.trials] == sorted(l2s)
    assert [trial.validation for trial in choice.trials] == pytest.approx(values)
    assert choice.value == max(l2 for l2, value in zip(sorted(l2s), values, strict=True) if value == best)
    assert all(trial.evidence.converged for trial in choice.trials)


@pytest.mark.parametrize(("stronger_last", "chosen"), [(True, 3), (False, 2)])
def test_values_are_chosen_by_the_scores_they_give(stronger_last, chosen):
    y = np.array([0, 1, 1])
    right = np.eye(2)[y]
    val_scores = ((value, scores) for value, scores in [(1, 1 - right), (2, right), (3, right), (4, right[::-1])])
    choice = choose_value(val_scores, y, metric="top1", stronger_last=stronger_last)
    assert choice.value == chosen
    assert [trial.validation for trial in choice.trials] == pytest.approx([0, 1, 1, 1 / 3])
    assert all(trial.evidence.seconds >= 0 for trial in choice.trials)


def test_scores_that_are_no_probabilities_are_not_judged_as_such():
    y = np.array([0, 1])
    with pytest.raises(ProbeError, match="the metric must be one of top1, .*Got 'nll'"):
        choose_value([(1.0, np.eye(2))], y, metric="nll", probabilistic=False)
    with pytest.raises(ProbeError, match="several labels per image and probabilities.*Got 'top1'"):
        choose_value([(1.0, np.eye(2))], np.eye(2) > 0, metric="top1")


@pytest.mark.parametrize("values", [[], [0.0, 1.0], [1.0, 2.0], [float("nan")]])
def test_a_grid_outside_its_range_is_refused(values):
    check_grid("shares", [0.1, 1.0], largest=1)
    with pytest.raises(ConfigurationError, match="shares must be one or more values above 0 and at most 1"):
        check_grid("shares", values, largest=1)


def test_no_argument_could_bring_a_test_set_in():
    arrays = [name for name in inspect.signature(choose_l2).parameters if name[:2] in ("X_", "y_")]
    assert arrays == ["X_train", "y_train", "X_val", "y_val"]
    assert [name for name in inspect.signature(choose_value).parameters if name[:2] in ("X_", "y_")] == ["y_val"]


def test_an_unknown_metric_is_refused_before_anything_is_fitted():
    def never(*_args, **_options):
        raise AssertionError

    with pytest.raises(UnknownNameError):
        choose_l2(never, *split(), l2s=[1.0], metric="top2")
