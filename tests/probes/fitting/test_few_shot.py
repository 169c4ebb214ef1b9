from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from tasks import task

from featurestore.errors import ProbeError
from probes.fitting.few_shot import few_shot


def numbered():
    """Images that carry their row number; validation images come in the same three classes, 20 of each."""
    given = task(n=150, n_train=90)
    given.X[:, 0] = np.arange(150)
    return given


def drawn(n_per_class, seed=0):
    found = few_shot(numbered(), n_per_class, seed)
    return found, found.train[0][:, 0], found.val[0][:, 0]


def test_exactly_n_training_images_of_every_class_are_drawn_with_their_labels():
    found, train, val = drawn(7)
    assert np.bincount(found.train[1]).tolist() == [7, 7, 7]
    assert len(np.unique(train)) == 21
    assert train.max() < 90 <= val.min()
    rows = found.X[:, 0].astype(int)
    assert np.array_equal(found.y, numbered().y[rows])
    assert np.array_equal(found.X, numbered().X[rows])


def test_validation_images_are_at_most_as_many():
    assert np.bincount(drawn(7)[0].val[1]).tolist() == [7, 7, 7]
    assert np.bincount(drawn(25)[0].val[1]).tolist() == [20, 20, 20]


@pytest.mark.parametrize(("fewer", "more"), [(1, 2), (5, 10), (10, 30)])
def test_draws_are_nested(fewer, more):
    (_, train, val), (_, more_train, more_val) = drawn(fewer), drawn(more)
    assert set(train) < set(more_train)
    assert set(val) < set(more_val)


def test_draws_depend_on_the_seed_alone():
    assert np.array_equal(drawn(5)[0].X, drawn(5)[0].X)
    assert set(drawn(5, seed=0)[1]) != set(drawn(5, seed=1)[1])


def test_nothing_is_learned_from_the_validation_images():
    found = drawn(4)[0]
    assert not found.refit_on_validation
    assert np.array_equal(found.final[0], found.train[0])
    assert np.array_equal(found.final[1], found.train[1])


def test_a_class_with_fewer_images_gives_all_of_them():
    rare = numbered()
    rare.y[np.flatnonzero(rare.y[:90] == 2)[4:]] = 0
    found = few_shot(rare, 5, 0)
    assert np.bincount(found.train[1]).tolist() == [5, 5, 4]
    assert np.bincount(found.val[1]).tolist() == [5, 5, 5]


def test_more_images_than_any_class_has_are_all_images():
    found = few_shot(numbered(), 31, 0)
    assert np.bincount(found.train[1]).tolist() == [30, 30, 30]
    assert set(found.train[0][:, 0]) == set(range(90))
    assert not found.refit_on_validation


def test_several_labels_per_image_are_refused():
    with pytest.raises(ProbeError, match="one label per image"):
        few_shot(task(multilabel=True), 2, 0)


def test_a_task_that_may_refit_learns_from_both():
    given = task()
    assert given.final[0] is given.X
    assert len(dataclasses.replace(given, refit_on_validation=False).final[0]) == given.n_train
