from __future__ import annotations

import numpy as np
import pytest
from tasks import images

from probes import moments


@pytest.fixture(autouse=True, params=[7, 4096])
def block(request, monkeypatch):
    """Blocks that do not divide the rows, and one block for all."""
    monkeypatch.setattr(moments, "BLOCK", request.param)


@pytest.mark.parametrize(("n", "d"), [(30, 8), (9, 20)])
def test_moments_by_blocks_are_those_of_the_whole(n, d):
    X, y = images(n, d, dtype=np.float16)
    Y, double = np.eye(3)[y], X.astype(np.float64)
    centre = double.mean(axis=0)
    centred = double - centre
    assert moments.mean(X) == pytest.approx(centre)
    assert moments.variances(X, centre) == pytest.approx(double.var(axis=0))
    assert moments.covariance(X, centre) == pytest.approx(centred.T @ centred / n)
    assert moments.gram(X, centre) == pytest.approx(centred @ centred.T / n)
    assert moments.cross(X, moments.indicators(y, 3), centre) == pytest.approx(centred.T @ Y / n)
    assert moments.affine(X, centred[:2], centre[:2]) == pytest.approx(double @ centred[:2].T + centre[:2])


def test_class_means_leave_zeros_for_a_class_without_images():
    X, y = images(30)
    means = moments.class_means(X, y, n_classes=4)
    assert means[:3] == pytest.approx(np.array([X[y == k].mean(axis=0) for k in range(3)]), abs=1e-5)
    assert not means[3].any()
    residuals = X - means[y]
    assert moments.covariance(X, means, y) == pytest.approx(residuals.T @ residuals / 30, abs=1e-5)


def test_no_rows_have_scores_of_the_right_shape():
    assert moments.affine(np.empty((0, 5), np.float16), np.ones((3, 5)), np.ones(3)).shape == (0, 3)


@pytest.mark.parametrize("value", [0.1, 0.7, 1234.5, 0.0])
def test_a_constant_feature_is_constant_whatever_the_rounding_of_its_mean(value):
    X = np.random.default_rng(0).standard_normal((41, 3)).astype(np.float32)
    X[:, 1] = value
    centre, deviation = moments.deviations(X)
    assert centre == pytest.approx(X.mean(axis=0, dtype=np.float64))
    assert deviation[1] == 1
    assert deviation[[0, 2]] == pytest.approx(X[:, [0, 2]].std(axis=0, dtype=np.float64))
    X[7, 1] = np.nextafter(np.float32(value), np.float32(np.inf))
    assert value == 0 or moments.deviations(X)[1][1] < 1e-3
