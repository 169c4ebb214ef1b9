"""How alike the features of images are: of which matrices it is 0, and that neither unit nor order matters."""

from __future__ import annotations

import numpy as np
import pytest

from probes.cells.likeness import Likeness


def measured(X: np.ndarray) -> tuple[float, float]:
    found = Likeness.of(X)
    assert found is not None
    return found.spread, found.equal


@pytest.mark.parametrize("dtype", [np.float16, np.float32])
@pytest.mark.parametrize("row", [[0.0, 0.0, 0.0], [1.0, -2.0, 3.0]])
def test_equal_rows_have_no_spread_and_are_all_the_same(row: list[float], dtype: type) -> None:
    assert measured(np.tile(np.array(row, dtype), (2000, 1))) == (0, 1)


def test_most_rows_being_equal_is_no_spread_and_their_share_is_told() -> None:
    X = np.random.default_rng(0).normal(size=(100, 8)).astype(np.float16)
    X[:60] = X[0]
    assert measured(X) == (0, 0.6)


@pytest.mark.parametrize("factor", [1e-3, 1e3])
def test_the_spread_of_rows_that_differ_depends_on_no_unit_and_no_order(factor: float) -> None:
    rng = np.random.default_rng(1)
    X = (5 + rng.normal(size=(50, 8))).astype(np.float32)
    spread, equal = measured(X)
    assert 0.1 < spread < 0.3
    assert equal == 0
    assert measured(factor * X)[0] == pytest.approx(spread, rel=1e-5)
    assert measured(rng.permutation(X))[0] == pytest.approx(spread)


def test_of_many_rows_some_that_lie_evenly_are_looked_at() -> None:
    X = np.random.default_rng(2).normal(size=(5000, 4)).astype(np.float32)
    X[2500:] = 0
    assert measured(X)[1] == pytest.approx(0.5, abs=0.01)
    assert measured(np.zeros((200, 100_000), np.float16)) == (0, 1)


@pytest.mark.parametrize("n", [0, 1])
def test_fewer_than_two_rows_are_not_measured(n: int) -> None:
    assert Likeness.of(np.zeros((n, 3), np.float16)) is None
