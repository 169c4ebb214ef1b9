"""One body of tests for all methods: a new file in `probes/methods/` is tested without another line here."""

from __future__ import annotations

import dataclasses
import functools
import json
import math
import subprocess
import sys

import numpy as np
import pytest
from pydantic import TypeAdapter
from tasks import fit, images, task

from featurestore.errors import ConfigurationError, ProbeError, UnknownNameError
from probes import GAP_TOLERANCE, L2_GRID, methods, metrics, solvers

EVERY = methods.names()
EVERY_TASK = [(name, multilabel) for name in EVERY for multilabel in (False, True)[: 1 + methods.load(name).MULTILABEL]]


@functools.cache
def fitted(name, multilabel=False):
    return fit(name, task(multilabel=multilabel))


@pytest.mark.parametrize(("name", "multilabel"), EVERY_TASK)
def test_a_fitted_probe_scores_unseen_images_well_above_chance_or_measures_a_finite_number(name, multilabel):
    probe = fitted(name, multilabel)
    if probe.scores is None:
        assert probe.measures
        assert all(math.isfinite(value) for value in probe.measures.values())
        return
    X_test, y_test = images(60, multilabel=multilabel, seed=1)
    scores = probe.scores(X_test)
    assert scores.shape == (60, 3)
    assert scores.dtype == np.float64
    metric = metrics.names(multilabel=multilabel, probabilistic=probe.probabilistic)[0]
    assert metrics.by_name(metric)(scores, y_test).value > 0.6
    assert probe.scores(X_test[:1]) == pytest.approx(scores[:1], abs=1e-6)


@pytest.mark.parametrize(("name", "multilabel"), EVERY_TASK)
def test_probabilities_are_probabilities(name, multilabel):
    probe = fitted(name, multilabel)
    if probe.scores is None or not probe.probabilistic:
        pytest.skip("has none")
    scores = probe.scores(images(60, seed=1)[0])
    assert scores.min() >= 0
    assert scores.max() <= 1
    assert multilabel or scores.sum(axis=1) == pytest.approx(1)


@pytest.mark.parametrize(("name", "multilabel"), EVERY_TASK)
def test_a_probe_chooses_what_it_declares_with_a_metric_that_its_scores_allow(name, multilabel):
    method, probe = methods.load(name), fitted(name, multilabel)
    assert (probe.choice is None) == (method.HYPERPARAMETER is None)
    if probe.choice:
        values = [trial.value for trial in probe.choice.trials]
        assert values == sorted(set(values))
        assert probe.choice.value in values
    if probe.choice and not probe.probabilistic:
        with pytest.raises(ProbeError, match="the metric must be one of"):
            fit(name, task(multilabel=multilabel, metric="nll"))


@pytest.mark.parametrize("name", EVERY)
def test_every_method_says_what_it_is_and_with_what_it_fits(name):
    method = methods.load(name)
    assert set(method.SOLVERS) <= set(solvers.names())
    assert method.__doc__
    assert method.__doc__.splitlines()[0].endswith(".")


@pytest.mark.parametrize("name", EVERY)
def test_options_survive_json_and_cannot_be_changed(name):
    options = methods.load(name).Options()
    as_json = json.dumps(dataclasses.asdict(options))
    assert TypeAdapter(type(options)).validate_json(as_json) == options
    assert hash(options) == hash(methods.load(name).Options())


@pytest.mark.parametrize("name", EVERY)
def test_half_precision_features_give_what_the_same_numbers_in_single_precision_give(name):
    half = task(dtype=np.float16)
    single = dataclasses.replace(half, X=half.X.astype(np.float32))
    probes = fit(name, half), fit(name, single)
    assert probes[0].measures == pytest.approx(dict(probes[1].measures))
    if probes[0].scores is not None:
        X_test = images(60, seed=1, dtype=np.float16)[0]
        assert probes[0].scores(X_test) == pytest.approx(probes[1].scores(X_test.astype(np.float32)), abs=1e-4)


@pytest.mark.parametrize("name", EVERY)
def test_features_that_are_not_finite_are_refused(name):
    broken = task()
    broken.X[3, 2] = np.nan
    with pytest.raises(ProbeError, match="finite"):
        fit(name, broken)


@pytest.mark.parametrize("name", EVERY)
def test_no_array_is_written_to(name):
    given = task()
    X, y = given.X.copy(), given.y.copy()
    fit(name, given)
    assert np.array_equal(given.X, X)
    assert np.array_equal(given.y, y)


def test_importing_every_method_is_light():
    code = "import sys\nfrom probes import methods\n[methods.load(n) for n in methods.names()]\nprint(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not {"torch", "sklearn", "ray"} & set(done.stdout.split())


def test_logistic_is_refitted_on_train_and_validation_at_the_chosen_l2():
    given = task(metric="nll")
    probe = fit("logistic", given)
    scores = probe.scores(given.X)
    again = fit("logistic", given, solver="sklearn", l2s=(probe.choice.value,), gap_tolerance=1e-9)
    assert scores == pytest.approx(again.scores(given.X), abs=1e-2)
    assert probe.evidence.duality_gap <= GAP_TOLERANCE
    assert probe.evidence.objective == pytest.approx(again.evidence.objective, rel=1e-3)
    assert probe.evidence.converged
    assert not probe.choice.at_grid_edge


def test_logistic_tries_the_whole_grid_with_evidence():
    choice = fit("logistic", task(metric="nll")).choice
    assert [trial.value for trial in choice.trials] == L2_GRID.tolist()
    assert max(trial.evidence.duality_gap for trial in choice.trials) <= GAP_TOLERANCE
    assert choice.value == min(choice.trials, key=lambda trial: trial.validation).value


@pytest.mark.parametrize(
    ("name", "options"),
    [("knn", {"ks": (0, 10)}), ("ridge", {"l2s": ()}), ("lda", {"shrinkages": (0.5, 2.0)}), ("svm", {"l2s": (-1.0,)})],
)
def test_a_grid_that_makes_no_sense_is_refused(name, options):
    with pytest.raises(ConfigurationError, match="must be one or more values above 0"):
        methods.load(name).Options(**options)


def test_unknown_names_are_errors_that_suggest():
    with pytest.raises(UnknownNameError, match="Did you mean 'logistic'"):
        methods.load("logistics")
    with pytest.raises(UnknownNameError, match="Did you mean 'sklearn'"):
        fit("logistic", task(), solver="sklear")
