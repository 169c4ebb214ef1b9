from __future__ import annotations

import inspect
import math
from functools import partial

import numpy as np
import pytest
from sklearn.metrics import log_loss, mean_squared_error

from featurestore.errors import ConfigurationError, ProbeError, UnknownNameError
from probes import Evidence, Trial, metrics, probabilities, solvers
from probes.fitting.tuning import check_grid, choose, choose_l2, choose_value


def trials(*validations, losses=None):
    losses = losses or [math.nan] * len(validations)
    found = enumerate(zip(validations, losses, strict=True))
    return tuple(Trial(10.0**i, validation, Evidence(), loss) for i, (validation, loss) in found)


def chosen(*validations, losses=None, **how):
    return choose(trials(*validations, losses=losses), **{"higher_is_better": True, **how}).value


def split(seed=0):
    rng = np.random.default_rng(seed)
    y = np.arange(150) % 3
    X = 2 * rng.standard_normal((3, 6))[y] + 2 * rng.standard_normal((150, 6))
    return X[:90], y[:90], X[90:], y[90:]


def test_the_best_value_is_chosen():
    assert choose(trials(0.1, 0.3, 0.2), higher_is_better=True).value == 10
    assert choose(trials(0.3, 0.2, 0.1, 0.4), higher_is_better=False).value == 100


def test_ties_go_to_the_smallest_loss():
    assert chosen(1.0, 1.0, 1.0, 1.0, 0.9, losses=[0.4, 0.2, 0.3, 0.5, 0.1]) == 10
    assert chosen(0.5, 0.5, 0.6, higher_is_better=False, losses=[3.0, 2.0, 1.0]) == 10


def test_equal_losses_go_to_the_middle_and_of_two_to_the_stronger_regularisation():
    assert chosen(0.1, 0.3, 0.3, 0.3, 0.2) == 100
    assert chosen(0.1, 0.3, 0.3, 0.2) == 100
    assert chosen(0.1, 0.3, 0.3, 0.2, stronger_last=False) == 10
    assert chosen(0.3, 0.3, higher_is_better=False) == 10
    assert chosen(1.0, 1.0, 1.0, 1.0, 1.0, losses=[0.2, 0.2, 0.2, 0.9, 0.9]) == 10


def test_the_middle_of_ties_that_are_not_side_by_side_is_one_of_them():
    assert chosen(0.9, 0.5, 0.9, 0.5, 0.5, 0.9) == 100
    assert chosen(0.9, 0.5, 0.5, 0.9, stronger_last=False) == 1


def test_losses_that_say_nothing_are_equal():
    assert chosen(1.0, 1.0, 1.0, losses=[3e-16, 2e-5, 1e-9]) == 10
    assert chosen(1.0, 1.0, 1.0, losses=[0.5, 0.5 + 1e-9, 0.5 - 1e-9]) == 10
    assert chosen(1.0, 1.0, 1.0, losses=[0.5, 0.51, 0.499]) == 100


def test_metrics_that_differ_by_rounding_are_equal():
    assert chosen(sum([0.1] * 10), 1.0, 0.5, losses=[0.3, 0.2, 0.1]) == 10


@pytest.mark.parametrize("losses", [[math.nan, 0.2, 0.3], [math.inf, 0.2, math.nan]])
def test_a_loss_that_is_no_number_is_worse_than_any(losses):
    assert chosen(1.0, 1.0, 1.0, losses=losses) == 10


def test_a_metric_that_is_no_number_is_worse_than_any_and_the_loss_decides_if_all_are():
    nan = math.nan
    assert chosen(nan, 0.1, nan) == 10
    assert chosen(nan, 0.1, nan, higher_is_better=False) == 10
    assert chosen(nan, nan, nan, losses=[0.3, 0.2, 0.1]) == 100


def test_a_choice_depends_neither_on_the_order_of_the_grid_nor_on_worse_values():
    rng = np.random.default_rng(0)
    for _ in range(200):
        n = int(rng.integers(1, 9))
        given = trials(*rng.choice([0.8, 0.9, 1.0], n).tolist(), losses=rng.choice([0.1, 0.2, 0.3], n).tolist())
        choice = choose(given, higher_is_better=True)
        best = max(trial.validation for trial in given)
        ties = [trial for trial in given if trial.validation == best]
        least = [trial.value for trial in ties if trial.loss == min(tie.loss for tie in ties)]
        assert choice.value in least
        assert abs(sum(v < choice.value for v in least) - sum(v > choice.value for v in least)) <= 1
        assert choose([given[i] for i in rng.permutation(n)], higher_is_better=True) == choice
        assert choose(ties, higher_is_better=True).value == choice.value


@pytest.mark.parametrize(("validations", "at_edge"), [((3, 2, 1), True), ((1, 2, 3), True), ((1, 3, 2), False)])
def test_a_choice_at_either_end_of_the_grid_is_flagged(validations, at_edge):
    assert choose(trials(*validations), higher_is_better=True).at_grid_edge is at_edge


@pytest.mark.parametrize(
    ("losses", "at_edge"), [((1.0, 2.0, 3.0), True), ((3.0, 2.0, 1.0), True), ((2.0, 1.0, 1.0), False), (None, False)]
)
def test_an_end_of_the_grid_is_flagged_only_where_it_is_better_than_what_lies_beside_it(losses, at_edge):
    assert choose(trials(1.0, 1.0, 1.0, losses=losses), higher_is_better=True).at_grid_edge is at_edge


def test_the_loss_is_the_cross_entropy_of_probabilities_and_the_squared_error_of_other_scores():
    y = np.array([0, 1, 2, 1])
    scores = np.random.default_rng(0).dirichlet(np.ones(3), 4)
    (trial,) = choose_value([(1.0, scores)], y, metric="top1").trials
    assert trial.loss == pytest.approx(log_loss(y, scores, labels=range(3)))
    choice = choose_value([(1.0, scores)], y, metric="top1", probabilistic=False)
    assert choice.loss_kind == "squared_error"
    assert choice.trials[0].loss == pytest.approx(3 * mean_squared_error(np.eye(3)[y], scores))
    labels = np.array([[1, 0], [1, 1], [0, 0], [0, 1]]) > 0
    (trial,) = choose_value([(1.0, scores[:, :2])], labels, metric="map_11point").trials
    each = [log_loss(labels[:, k], scores[:, k], labels=[0, 1]) for k in range(2)]
    assert trial.loss == pytest.approx(sum(each))


def test_without_validation_images_nothing_is_chosen():
    with pytest.raises(ProbeError, match="all of them are unreadable"):
        choose_value([(1.0, np.zeros((0, 2)))], np.zeros(0, np.int64), metric="top1")


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
    ties = [trial for trial in choice.trials if trial.validation == best]
    assert choice.value == min(ties, key=lambda trial: trial.loss).value
    assert choice.loss_kind == "cross_entropy"
    assert all(trial.evidence.converged for trial in choice.trials)


@pytest.mark.parametrize(("stronger_last", "expected"), [(True, 3), (False, 2)])
def test_values_are_chosen_by_the_scores_they_give(stronger_last, expected):
    y = np.array([0, 1, 1])
    right = np.eye(2)[y]
    val_scores = ((value, scores) for value, scores in [(1, 1 - right), (2, right), (3, right), (4, right[::-1])])
    choice = choose_value(val_scores, y, metric="top1", stronger_last=stronger_last)
    assert choice.value == expected
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
