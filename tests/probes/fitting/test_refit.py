"""What is chosen holds at the refit, too, whatever the class counts: one body of tests for all methods that choose."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from tasks import fit

from probes import methods, metrics
from probes.fitting.fitted import Choice, Evidence, FittedProbe, Trial
from probes.fitting.learning_task import LearningTask
from probes.fitting.refit import checked_refit

pytestmark = pytest.mark.slow  # all together they take longer than make quick has time for

PREDICT = [name for name in methods.names() if methods.predicts(name)]
CHOOSE = [name for name in PREDICT if methods.load(name).HYPERPARAMETER]
BALANCED, SKEWED = (30, 30, 30), (24, 9, 3)
DECADES = tuple((10.0 ** np.arange(-10, 2)).tolist())
QUICK = {"mlp": {"width": 128, "learning_rate": 0.01}, "logistic": {"l2s": DECADES}, "ridge": {"l2s": DECADES}}


def labelled(counts, *, distance, scale, seed):
    """Images (n, 8) around the corners of a triangle, and their classes."""
    rng = np.random.default_rng(seed)
    y = np.repeat(np.arange(3), counts)
    X = distance * np.eye(3, 8)[y] + rng.standard_normal((len(y), 8)) / np.sqrt(8) + 1
    return (scale * X).astype(np.float32), y


def unequal(train, val, *, distance=6.0, scale=0.05, metric="top1", seed=0, **fields):
    """A task whose classes have other shares among the validation images."""
    X_train, y_train = labelled(train, distance=distance, scale=scale, seed=seed)
    X_val, y_val = labelled(val, distance=distance, scale=scale, seed=seed + 1)
    X, y = np.concatenate([X_train, X_val]), np.concatenate([y_train, y_val])
    return LearningTask(X=X, y=y, n_train=len(y_train), n_classes=3, metric=metric, **fields)


def as_indicators(task):
    return dataclasses.replace(task, y=task.y[:, None] == np.arange(3), metric="map_11point")


def on_validation(probe, task):
    return metrics.by_name(task.metric)(probe.scores(task.val[0]), task.val[1])


def best(probe):
    (value,) = (trial.validation for trial in probe.choice.trials if trial.value == probe.choice.value)
    return value


@pytest.mark.slow
@pytest.mark.parametrize(
    ("train", "val", "scale"), [(BALANCED, SKEWED, 0.05), (SKEWED, BALANCED, 20.0), ((8, 8, 8), (30, 8, 2), 1.0)]
)
@pytest.mark.parametrize("name", PREDICT)
def test_classes_that_can_be_told_apart_are_told_apart_whatever_their_counts(name, train, val, scale):
    task = unequal(train, val, scale=scale)
    X_test, y_test = labelled((20, 20, 20), distance=6.0, scale=scale, seed=7)
    for one in (task, dataclasses.replace(task, refit_on_validation=False)):
        probe = fit(name, one, **QUICK.get(name, {}))
        scores = probe.scores(X_test)
        assert metrics.top1(scores, y_test).value == 1
        assert not probe.probabilistic or metrics.nll(scores, y_test).value < 0.1


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in PREDICT if methods.load(name).MULTILABEL])
def test_labels_that_can_be_told_apart_are_told_apart_whatever_their_counts(name):
    X_test, y_test = labelled((20, 20, 20), distance=6.0, scale=0.05, seed=7)
    probe = fit(name, as_indicators(unequal(BALANCED, SKEWED)), **QUICK.get(name, {}))
    scores = probe.scores(X_test)
    assert metrics.map_11point(scores, y_test[:, None] == np.arange(3)).value == 1
    assert not probe.probabilistic or metrics.nll(scores, y_test[:, None] == np.arange(3)).value < 0.3


@pytest.mark.parametrize("scaling", ["standardize", "unit"])
def test_so_are_scaled_features(scaling):
    X_test, y_test = labelled((20, 20, 20), distance=6.0, scale=0.05, seed=7)
    scores = fit("logistic", unequal(BALANCED, SKEWED), scaling=scaling, l2s=DECADES).scores(X_test)
    assert metrics.top1(scores, y_test).value == 1
    assert metrics.nll(scores, y_test).value < 0.1


@pytest.mark.parametrize("metric", ["top1", "mean_per_class"])
@pytest.mark.parametrize(("train", "val"), [((24, 24, 24), (16, 16, 16)), (BALANCED, SKEWED), ((5, 5, 5), (30, 20, 6))])
@pytest.mark.parametrize("name", CHOOSE)
def test_a_refit_is_not_worse_on_the_validation_images_than_the_score_that_chose_it(name, train, val, metric):
    """By no more than one standard error: images that overlap may change sides."""
    task = unequal(train, val, distance=0.8, metric=metric)
    probe = fit(name, task, **QUICK.get(name, {}))
    again = on_validation(probe, task)
    assert again.value >= best(probe) - again.standard_error
    assert probe.refitted or again.value == pytest.approx(best(probe), abs=1e-9)


@pytest.mark.parametrize("name", CHOOSE)
def test_the_fit_on_the_training_images_is_the_one_that_was_chosen(name):
    """The penalty counts the same at both fits, or the same images would not give the same score."""
    task = unequal((9, 9, 9), (20, 20, 20), distance=1.0, refit_on_validation=False)
    probe = fit(name, task, **QUICK.get(name, {}))
    assert on_validation(probe, task).value == pytest.approx(best(probe))
    assert not probe.refitted


@pytest.mark.parametrize("name", ["logistic", "ridge", "svm", "lda"])
def test_twice_the_images_are_the_same_problem(name):
    """A strength counts per image: every image a second time, for validation, changes nothing."""
    once = unequal((10, 8, 6), (1, 1, 1), distance=0.8)
    once = dataclasses.replace(once, X=once.X[:24], y=once.y[:24])
    twice = dataclasses.replace(once, X=np.concatenate([once.X] * 2), y=np.concatenate([once.y] * 2))
    alone = dataclasses.replace(twice, refit_on_validation=False)
    X_test, _ = labelled((5, 5, 5), distance=0.8, scale=0.05, seed=7)
    values = [fit(name, one, **QUICK.get(name, {})).scores(X_test) for one in (twice, alone)]
    assert values[0] == pytest.approx(values[1], rel=2e-2, abs=2e-2)


def made(before, again):
    """A method whose refit gives the share `again` of the validation images their class, the other fit `before`."""

    @checked_refit
    def method(task, options, resources):
        share = again if task.refit_on_validation else before
        right = np.eye(3)[task.val[1]]
        right[round(share * len(right)) :] = np.roll(right[round(share * len(right)) :], 1, axis=1)
        choice = Choice(1.0, at_grid_edge=True, trials=(Trial(1.0, before, Evidence()),))
        return FittedProbe(scores=lambda X: right, choice=choice)

    return method


@pytest.mark.parametrize(("before", "again", "kept"), [(0.9, 0.5, False), (0.9, 0.9, True), (0.9, 0.875, True)])
def test_a_refit_that_fails_gives_way_to_the_fit_that_was_chosen(before, again, kept):
    task = unequal((5, 5, 5), (20, 10, 10))
    probe = made(before, again)(task, None, None)
    assert probe.refitted is kept
    assert on_validation(probe, task).value == pytest.approx(again if kept else before)
