"""Each probe against an implementation that is not ours."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from scipy.optimize import minimize
from scipy.spatial.distance import cdist
from scipy.special import expit, softmax
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.linear_model import Ridge
from sklearn.metrics import log_loss
from sklearn.neighbors import KNeighborsClassifier, NearestCentroid, NearestNeighbors
from tasks import fit, images, task

from featurestore.errors import ProbeError
from probes import metrics
from probes.methods import FitResources, knn, mlp
from probes.methods.mlp import Options, _Network
from probes.scaling import unit

WIDE = {"n": 60, "d": 100}  # fewer images than features
FIXED = {
    "knn": {"ks": (10,)},
    "ridge": {"l2s": (0.1,)},
    "ncm": {},
    "lda": {"shrinkages": (0.1,)},
    "svm": {"l2s": (0.01,)},
    "mlp": {"max_epochs": 2, "width": 16},
}


def indicators(y):
    return y.astype(float) if y.ndim == 2 else np.eye(3)[y]


@pytest.mark.parametrize("name", FIXED)
def test_a_few_shot_probe_learns_from_the_training_images_alone(name):
    def scores(refit, scramble):
        X = task().X
        X[60:] = images(60, seed=scramble)[0]
        given = dataclasses.replace(task(metric="top1"), X=X, refit_on_validation=refit)
        options = FIXED[name] | ({"max_epochs": 1} if name == "mlp" else {})
        return fit(name, given, **options).scores(X[:60])

    assert scores(refit=False, scramble=2) == pytest.approx(scores(refit=False, scramble=3), abs=1e-9)
    assert scores(refit=True, scramble=2) != pytest.approx(scores(refit=True, scramble=3), abs=1e-3)


def cosine_voters(k):
    return KNeighborsClassifier(k, metric="cosine", algorithm="brute", weights=lambda d: np.exp((1 - d) / 0.07))


@pytest.mark.parametrize("shape", [{}, WIDE], ids=["tall", "wide"])
def test_knn_is_sklearns_with_the_weights_of_the_source(shape):
    given = task(metric="nll", **shape)
    probe = fit("knn", given, ks=(20, 5, 10))
    for trial in probe.choice.trials:
        expected = cosine_voters(int(trial.value)).fit(*given.train).predict_proba(given.val[0])
        assert trial.validation == pytest.approx(metrics.nll(expected, given.val[1]).value, abs=1e-4)
    X_test = images(50, given.X.shape[1], seed=1)[0]
    expected = cosine_voters(int(probe.choice.value)).fit(given.X, given.y).predict_proba(X_test)
    assert probe.scores(X_test) == pytest.approx(expected, abs=1e-4)


def test_knn_of_several_labels_is_the_weighed_share_of_neighbours_that_have_each():
    given, X_test = task(multilabel=True), images(50, seed=1)[0]
    found = NearestNeighbors(n_neighbors=10, metric="cosine", algorithm="brute").fit(given.X).kneighbors(X_test)
    weights = np.exp((1 - found[0]) / 0.07)
    expected = [np.average(given.y[rows], axis=0, weights=w) for w, rows in zip(weights, found[1], strict=True)]
    assert fit("knn", given, ks=(10,)).scores(X_test) == pytest.approx(np.array(expected), abs=1e-4)


def test_knn_cuts_k_to_the_number_of_images_and_takes_the_middle_of_equals():
    choice = fit("knn", task(), ks=(1, 10, 200, 1000)).choice
    assert [trial.value for trial in choice.trials] == [1, 10, 60]
    given = task()
    far_apart = dataclasses.replace(given, X=(given.X + 1000 * np.eye(8, dtype=np.float32)[given.y]))
    assert fit("knn", far_apart, ks=(5, 10, 15)).choice.value == 10


def test_knn_never_holds_more_similarities_than_a_block(monkeypatch):
    given, X_test = task(), images(50, seed=1)[0]
    expected, sizes, topk = fit("knn", given).scores(X_test), [], torch.topk
    monkeypatch.setattr(knn, "BLOCK", 500)
    monkeypatch.setattr(torch, "topk", lambda block, k: sizes.append(block.numel()) or topk(block, k))
    assert fit("knn", given).scores(X_test) == pytest.approx(expected, abs=1e-6)
    assert len(sizes) > 20
    assert max(sizes) <= 500


@pytest.mark.parametrize("multilabel", [False, True])
@pytest.mark.parametrize("shape", [{}, WIDE], ids=["tall", "wide"])
def test_ridge_is_sklearns_on_the_whole_path(shape, multilabel):
    given = task(multilabel=multilabel, dtype=np.float64, **shape)
    (X, y), n_train = given.final, given.n_train
    measure = metrics.by_name(given.metric)
    l2s = (1e-6, 1e-3, 0.1, 10.0, 1e3)
    for trial in fit("ridge", given, l2s=l2s).choice.trials:
        theirs = Ridge(alpha=n_train * trial.value, solver="svd").fit(given.train[0], indicators(given.train[1]))
        assert trial.validation == pytest.approx(measure(theirs.predict(given.val[0]), given.val[1]).value)
    for l2 in l2s:
        probe = fit("ridge", given, l2s=(l2,))
        theirs = Ridge(alpha=len(X) * l2, solver="svd").fit(X, indicators(y))
        ours = probe.scores.keywords
        assert ours["coef"] == pytest.approx(theirs.coef_, rel=1e-5, abs=1e-8)
        assert ours["intercept"] == pytest.approx(theirs.intercept_, rel=1e-5, abs=1e-8)
        residuals = theirs.predict(X) - indicators(y)
        objective = np.sum(residuals**2) / (2 * len(X)) + l2 / 2 * np.sum(theirs.coef_**2)
        assert probe.evidence.objective == pytest.approx(objective)
        assert probe.evidence.gradient_norm < 1e-9


@pytest.mark.parametrize(("scaling", "scaled"), [("unit", unit), ("none", np.asarray)])
def test_ncm_is_the_nearest_centroid_of_sklearn(scaling, scaled):
    given, X_test = task(dtype=np.float64), images(50, seed=1)[0]
    X, scores = scaled(given.X), fit("ncm", given, scaling=scaling).scores(X_test)
    theirs = NearestCentroid().fit(X, given.y)
    assert np.array_equal(scores.argmax(axis=1), theirs.predict(scaled(X_test)))
    assert scores == pytest.approx(-(cdist(scaled(X_test), theirs.centroids_) ** 2), rel=1e-4, abs=1e-5)


@pytest.mark.parametrize("shape", [{}, WIDE], ids=["tall", "wide"])
def test_lda_is_sklearns_at_every_shrinkage(shape):
    given = task(metric="nll", dtype=np.float64, **shape)
    X_test, shrinkages = images(50, given.X.shape[1], seed=1)[0], (1e-3, 0.1, 0.5, 1.0)
    for trial in fit("lda", given, shrinkages=shrinkages).choice.trials:
        theirs = LinearDiscriminantAnalysis(solver="lsqr", shrinkage=trial.value).fit(*given.train)
        expected = log_loss(given.val[1], np.maximum(theirs.predict_proba(given.val[0]), metrics.PROBABILITY_FLOOR))
        assert trial.validation == pytest.approx(expected, rel=1e-6)
    for s in shrinkages:
        theirs = LinearDiscriminantAnalysis(solver="eigen", shrinkage=s).fit(given.X, given.y)
        ours = fit("lda", given, shrinkages=(s,)).scores(X_test)
        assert ours == pytest.approx(theirs.predict_proba(X_test), abs=1e-8)


def test_a_class_without_images_is_never_the_one():
    given = dataclasses.replace(task(), n_classes=4)
    assert not fit("lda", given).scores(given.X)[:, 3].any()
    assert np.isneginf(fit("ncm", given).scores(given.X)[:, 3]).all()
    for name in ("ridge", "svm", "knn"):
        assert (fit(name, given).scores(given.X).argmax(axis=1) < 3).all()


@pytest.mark.parametrize("name", ["lda", "svm", "hscore"])
def test_images_that_are_all_alike_are_refused(name):
    alike = task()
    alike.X[:] = 1
    with pytest.raises(ProbeError, match="Got"):
        fit(name, alike)


def squared_hinge(parameters, X, y, l2):
    """Objective of one class, its bias free, and its gradient."""
    w, b = parameters[:-1], parameters[-1]
    signs = np.where(y, 1, -1)
    slack = np.maximum(0, 1 - signs * (X @ w + b))
    slope = -2 / len(X) * signs * slack
    return np.mean(slack**2) + l2 / 2 * w @ w, np.append(slope @ X + l2 * w, slope.sum())


@pytest.mark.parametrize("multilabel", [False, True])
@pytest.mark.parametrize("shape", [{}, WIDE], ids=["tall", "wide"])
def test_svm_is_the_minimum_of_its_objective(shape, multilabel):
    given = task(multilabel=multilabel, dtype=np.float64, **shape)
    X_train, _ = given.train
    r = np.sqrt(np.sum((X_train - X_train.mean(axis=0)) ** 2, axis=1).mean())
    Z, Y = (given.X - X_train.mean(axis=0)) / r, indicators(given.y) > 0
    for l2 in (1e-3, 0.1):
        probe = fit("svm", given, l2s=(l2,), tolerance=1e-8)
        start = np.zeros(Z.shape[1] + 1)
        options = {"gtol": 1e-9, "ftol": 1e-15, "maxiter": 5000}
        theirs = [minimize(squared_hinge, start, (Z, y, l2), jac=True, method="L-BFGS-B", options=options) for y in Y.T]
        scores = np.stack([Z @ found.x[:-1] + found.x[-1] for found in theirs], axis=1)
        assert probe.scores(given.X) == pytest.approx(scores, rel=5e-3, abs=5e-3)  # liblinear's bias is not quite free
        assert probe.evidence.objective == pytest.approx(sum(found.fun for found in theirs), rel=1e-4)
        assert probe.evidence.gradient_norm < 0.1 * l2
        assert probe.evidence.converged


def test_svm_says_when_it_has_not_converged():
    probe = fit("svm", task(), max_iter=1)
    assert probe.evidence.converged is False
    assert not any(trial.evidence.converged for trial in probe.choice.trials[:3])
    assert all(trial.evidence.n_iter == 1 for trial in probe.choice.trials)


def test_mlp_is_reproducible_from_its_seed_and_moves_no_other_generator():
    given, before = task(), (torch.get_rng_state(), np.random.get_state()[1].copy())
    probes = [fit("mlp", given, seed=seed, width=16, max_epochs=5) for seed in (3, 3, 4)]
    first, again, other = [probe.scores(given.X) for probe in probes]
    assert np.array_equal(first, again)
    assert not np.allclose(first, other)
    assert probes[0].choice.trials[0].validation == probes[1].choice.trials[0].validation
    assert torch.equal(torch.get_rng_state(), before[0])
    assert np.array_equal(np.random.get_state()[1], before[1])


@pytest.mark.parametrize("metric", ["top1", "nll"])
def test_mlp_stops_when_patience_runs_out_and_chooses_the_best_epoch_and_of_several_that_with_the_smallest_loss(metric):
    choice = fit("mlp", task(metric=metric), width=64, patience=4, learning_rate=0.02).choice
    values = [trial.validation for trial in choice.trials]
    best_value = (max if metric == "top1" else min)(values)
    ties = [trial for trial in choice.trials if trial.validation == best_value]
    best = min(ties, key=lambda trial: trial.loss).value
    assert [trial.value for trial in choice.trials] == list(range(1, len(values) + 1))
    assert choice.value == best
    assert len(values) == best + 4 < 100


@pytest.mark.parametrize("multilabel", [False, True])
def test_mlp_is_the_network_of_torch_under_its_adamw(multilabel):
    given = task(multilabel=multilabel)
    options, (X, y) = Options(width=16, max_epochs=3, batch_size=50), given.final
    probe = mlp.fit(given, options, FitResources(seed=5, device="cpu"))

    start = _Network(X, y, 3, options, FitResources(seed=5, device="cpu"))
    layers = torch.nn.Linear(8, 16), torch.nn.Linear(16, 3)
    with torch.no_grad():
        for layer, (weights, biases) in zip(layers, (start.hidden, start.output), strict=True):
            layer.weight.copy_(weights.T)
            layer.bias.copy_(biases)
    network = torch.nn.Sequential(layers[0], torch.nn.ReLU(), layers[1])
    adamw = torch.optim.AdamW(network.parameters(), lr=1e-3, weight_decay=0.01)
    rows = torch.from_numpy((X - X.mean(axis=0)) / X.std(axis=0))
    labels = torch.from_numpy(y)
    for _ in range(int(probe.choice.value)):
        for batch in torch.randperm(len(X), generator=start.generator).split(50):
            logits = network(rows[batch])
            if multilabel:
                loss = 3 * torch.nn.functional.binary_cross_entropy_with_logits(logits, labels[batch].float())
            else:
                loss = torch.nn.functional.cross_entropy(logits, labels[batch])
            adamw.zero_grad()
            loss.backward()
            adamw.step()
    logits = network(rows).detach().numpy()
    assert probe.scores(X) == pytest.approx(expit(logits) if multilabel else softmax(logits, axis=1), abs=1e-4)


@pytest.mark.parametrize("name", ["knn", "logistic", "mlp", "ncm", "ridge", "svm"])
def test_one_image_of_each_class_is_enough(name):
    given = task(n=63, n_train=3)
    for one in (given, dataclasses.replace(given, refit_on_validation=False)):
        scores = fit(name, one).scores(given.X[:3])
        assert scores.argmax(axis=1).tolist() == [0, 1, 2]


def test_lda_of_one_image_of_each_class_is_refused_and_not_fitted_on_rounding():
    for seed in range(5):
        given = task(n=63, n_train=3)
        given.X[:] += seed / 7
        with pytest.raises(ProbeError, match="two different images of some class"):
            fit("lda", given)


@pytest.mark.parametrize("name", ["knn", "lda", "logistic", "ridge", "svm"])
def test_a_class_that_no_validation_image_has_is_predicted_nevertheless(name):
    given = task(n=120)
    rows = np.r_[:60, 60 + np.flatnonzero(given.y[60:] == 0)]
    one_class = dataclasses.replace(given, X=given.X[rows], y=given.y[rows])
    probe = fit(name, one_class)
    assert metrics.mean_per_class(probe.scores(given.X), given.y).value > 0.7
