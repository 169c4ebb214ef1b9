"""L2-regularised multinomial logistic regression, its strength chosen on validation images.

The objective is that of `probes.objective`: for features (n, n_features) and labels (n,), the mean cross-entropy + l2/2
||W||², W (n_classes, n_features), biases free; for labels (n, n_classes), one binary regression per class, one l2 for
all. Each of the 45 values of `L2_GRID` is fitted on the training images; the best on the validation images, the
stronger one at a tie, is fitted again on both.

Source: Kornblith, Shlens and Le, *Do Better ImageNet Models Transfer Better?*, CVPR 2019.
"""

from __future__ import annotations

from functools import partial

import numpy as np

from probes import solvers
from probes.fitted import Evidence, FittedProbe
from probes.objective import GAP_TOLERANCE, L2_GRID, Features, Labels, probabilities
from probes.tuning import choose_l2

HYPERPARAMETER = "l2"
SOLVERS = ("path", "sklearn")
OPTIONS = {"l2s": L2_GRID.tolist(), "gap_tolerance": GAP_TOLERANCE}


def fit(
    X_train: Features,
    y_train: Labels,
    X_val: Features,
    y_val: Labels,
    *,
    n_classes: int,
    metric: str,
    solver: str,
    seed: int,  # of no effect: the optimum is unique
    device: str,
) -> FittedProbe:
    """Choose l2 and fit; see `probes.methods.Fit`."""
    fit_path = solvers.load(solver).fit_path
    choice = choose_l2(
        fit_path,
        X_train,
        y_train,
        X_val,
        y_val,
        l2s=L2_GRID.tolist(),
        n_classes=n_classes,
        metric=metric,
        device=device,
    )
    # From nothing, not down the path: for one value the path solver takes half the time so.
    (final,) = fit_path(
        np.concatenate([X_train, X_val]),
        np.concatenate([y_train, y_val]),
        l2s=[choice.value],
        n_classes=n_classes,
        device=device,
    )
    return FittedProbe(
        hyperparameter=HYPERPARAMETER,
        chosen=choice.value,
        at_grid_edge=choice.at_grid_edge,
        trials=choice.trials,
        evidence=Evidence.of(final),
        scores=partial(probabilities, coef=final.coef, intercept=final.intercept, multilabel=y_train.ndim == 2),
    )
