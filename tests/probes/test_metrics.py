from __future__ import annotations

from functools import partial

import numpy as np
import pytest
from sklearn.metrics import balanced_accuracy_score, log_loss, recall_score, top_k_accuracy_score

from featurestore.errors import UnknownNameError
from probes import metrics


def task(n=400, k=4, seed=0, signal=0.5):
    """Probabilities and labels that agree more often than not; class k - 1 is rare."""
    rng = np.random.default_rng(seed)
    y = rng.choice(k, n, p=[0.95 / (k - 1)] * (k - 1) + [0.05])
    scores = rng.dirichlet(np.ones(k), n) + signal * np.eye(k)[y]
    return scores / scores.sum(axis=1, keepdims=True), y


def multilabel_task(n=300, k=5, seed=0):
    rng = np.random.default_rng(seed)
    y = rng.random((n, k)) < [0.02, 0.1, 0.3, 0.5, 0.9]
    return np.clip(rng.random((n, k)) * 0.7 + 0.3 * y, 0, 1), y


def one_hot(predicted, k=3):
    return np.eye(k)[predicted]


def voc_average_precision(scores, positive):
    """The VOC 2007 development kit, line by line; for scores without ties."""
    hits = positive[np.argsort(-scores)]
    recall = np.cumsum(hits) / positive.sum()
    precision = np.cumsum(hits) / np.arange(1, len(hits) + 1)
    at = [precision[recall >= t - 1e-12] for t in np.arange(0, 1.1, 0.1)]
    return sum(p.max() if p.size else 0 for p in at) / 11


def test_top1_by_hand_with_wilsons_error():
    found = metrics.top1(one_hot([0, 1, 2, 2]), np.array([0, 1, 2, 0]))
    assert found.value == 0.75
    assert found.standard_error == pytest.approx(np.sqrt(0.75 * 0.25 / 4 + 1 / 64) / 1.25)


def test_a_perfect_score_is_not_certain():
    assert metrics.top1(one_hot([0, 1]), np.array([0, 1])).standard_error > 0


def test_top5_is_sklearns():
    scores, y = task(k=7, signal=0.1)
    expected = top_k_accuracy_score(y, scores, k=5)
    assert metrics.top5(scores, y).value == pytest.approx(expected)
    assert metrics.top1(scores, y).value < expected < 1


def test_top5_of_equal_scores_takes_the_earlier_classes():
    assert metrics.top5(np.full((7, 7), 1 / 7), np.arange(7)).value == pytest.approx(5 / 7)


def test_mean_per_class_leaves_out_classes_without_test_images():
    found = metrics.mean_per_class(one_hot([0, 0, 0, 2], k=5), np.array([0, 0, 1, 2]))
    assert found.value == pytest.approx((1 + 0 + 1) / 3)


def test_mean_per_class_is_sklearns_macro_recall():
    scores, y = task()
    assert metrics.mean_per_class(scores, y).value == pytest.approx(recall_score(y, scores.argmax(1), average="macro"))


def test_balanced_accuracy_is_sklearns():
    scores, y = task()
    assert metrics.balanced_accuracy(scores, y).value == pytest.approx(balanced_accuracy_score(y, scores.argmax(1)))
    scores, y = multilabel_task()
    per_class = [balanced_accuracy_score(y[:, k], scores[:, k] >= 0.5) for k in range(5)]
    assert metrics.balanced_accuracy(scores, y).value == pytest.approx(np.mean(per_class))


def test_multilabel_balanced_accuracy_leaves_out_classes_without_contrast():
    y = np.array([[True, True, False], [False, True, False]])
    assert metrics.balanced_accuracy(np.array([[0.9, 0.1, 0.9], [0.8, 0.1, 0.9]]), y).value == 0.5


def test_map_is_the_voc_development_kits():
    scores, y = multilabel_task()
    expected = np.mean([voc_average_precision(scores[:, k], y[:, k]) for k in range(5)])
    assert metrics.map_11point(scores, y).value == pytest.approx(expected, rel=1e-12)


def test_map_by_hand():
    scores, y = np.array([[0.9], [0.8], [0.7], [0.6]]), np.array([[True], [False], [True], [False]])
    # Precision 1 up to recall 1/2 (r = 0 to 0.5), 2/3 beyond.
    assert metrics.map_11point(scores, y).value == pytest.approx((6 * 1 + 5 * 2 / 3) / 11)


def test_map_of_equal_scores_does_not_depend_on_their_order():
    y = np.array([[True], [False], [False], [True]])
    scores = np.full((4, 1), 0.5)
    assert metrics.map_11point(scores, y).value == metrics.map_11point(scores, y[::-1]).value == 0.5


def test_map_leaves_out_classes_without_test_images():
    scores, y = multilabel_task()
    without = np.delete(y, 2, axis=1), np.delete(scores, 2, axis=1)
    y[:, 2] = False
    assert metrics.map_11point(scores, y).value == metrics.map_11point(without[1], without[0]).value


def test_metrics_over_classes_are_undefined_when_none_is_shown():
    scores, nothing = np.full((3, 2), 0.5), np.zeros((3, 2), dtype=np.bool_)
    assert np.isnan(metrics.map_11point(scores, nothing)).all()
    assert np.isnan(metrics.balanced_accuracy(scores, nothing)).all()


def test_nll_is_sklearns_log_loss():
    scores, y = task()
    assert metrics.nll(scores, y).value == pytest.approx(log_loss(y, scores))
    scores, y = multilabel_task()
    scores = np.clip(scores, 0.01, 0.99)
    expected = sum(log_loss(y[:, k], scores[:, k]) for k in range(5))
    assert metrics.nll(scores, y).value == pytest.approx(expected)


def test_nll_of_an_impossible_class_is_large_but_finite():
    assert metrics.nll(one_hot([0, 0]), np.array([1, 1])).value == pytest.approx(-np.log(np.finfo(float).eps))


def test_ece_by_hand():
    scores = np.array([[0.9, 0.1], [0.9, 0.1], [0.6, 0.4], [0.55, 0.45]])
    y = np.array([0, 1, 0, 0])
    # Bins of 1/15: {0.9, 0.9} is right half the time; {0.6}, on the edge, and {0.55} share (8/15, 9/15].
    expected = 0.5 * abs(0.5 - 0.9) + 0.5 * abs(1 - (0.6 + 0.55) / 2)
    assert metrics.ece(scores, y).value == pytest.approx(expected)


@pytest.mark.parametrize("metric", metrics.METRICS, ids=lambda metric: metric.name)
@pytest.mark.slow
def test_standard_errors_are_those_of_drawing_test_images_again(metric):
    make = multilabel_task if metric.multilabel else partial(task, k=7, signal=0.1)
    found = [metric(*make(seed=seed)) for seed in range(60)]
    spread = np.std([score.value for score in found], ddof=1)
    assert np.mean([score.standard_error for score in found]) == pytest.approx(spread, rel=0.3)


def test_bootstrap_errors_are_reproducible():
    assert metrics.ece(*task()) == metrics.ece(*task())


def test_names_are_those_defined_for_the_task():
    single = ["top1", "top5", "mean_per_class", "balanced_accuracy", "nll", "ece"]
    assert metrics.names(multilabel=True) == ["map_11point", "balanced_accuracy", "nll"]
    assert metrics.names(multilabel=False) == single
    assert metrics.names(multilabel=True, probabilistic=False) == ["map_11point"]
    assert metrics.names(multilabel=False, probabilistic=False) == single[:-2]
    assert not metrics.by_name("nll").higher_is_better


def test_unknown_metric_is_an_error_that_suggests():
    with pytest.raises(UnknownNameError, match="Did you mean 'top1'"):
        metrics.by_name("top_1")


def test_accuracy_is_not_taken_for_the_metric_that_is_written_like_it():
    with pytest.raises(UnknownNameError, match=r"Unknown metric 'Accuracy'\. Accuracy is top1, or mean_per_class"):
        metrics.by_name("Accuracy")
