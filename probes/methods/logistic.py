"""L2-regularised multinomial logistic regression, its strength chosen on validation images.

The objective is that of `probes.objective`: for features (n, n_features) and labels (n,), the mean cross-entropy + l2/2
||W||², W (n_classes, n_features), biases free; for labels (n, n_classes), one binary regression per class, one l2 for
all. Each of the 45 values of `L2_GRID` is fitted on the training images. The value that is best on the validation
images is chosen (`probes.fitting.tuning`), and fitted again on training and validation images together.

Source: Kornblith, Shlens and Le, *Do Better ImageNet Models Transfer Better?*, CVPR 2019.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

from probes import solvers
from probes.fitting.fitted import Evidence, FittedProbe
from probes.fitting.learning_task import LearningTask
from probes.fitting.refit import checked_refit
from probes.fitting.tuning import choose_l2
from probes.methods import FitResources
from probes.objective import GAP_TOLERANCE, L2_GRID, probabilities
from probes.scaling import Scaling, scaler

HYPERPARAMETER = "l2"
SOLVERS = ("path", "sklearn", "cuml")
MULTILABEL = True


@dataclass(frozen=True)
class Options:
    """Settings that change the numbers.

    Attributes
    ----------
    l2s : tuple of float
        The values of l2 to choose from.
    gap_tolerance : float
        Relative duality gap to which every fit is certified.
    scaling : str
        One of `probes.scaling.Scaling`.
    """

    l2s: tuple[float, ...] = tuple(L2_GRID.tolist())
    gap_tolerance: float = GAP_TOLERANCE
    scaling: Scaling = "none"


@checked_refit
def fit(task: LearningTask, options: Options, resources: FitResources) -> FittedProbe:
    """Choose l2 and fit, as `probes.methods.Fit` describes."""
    fit_path = partial(
        solvers.load(resources.solver).fit_path,
        n_classes=task.n_classes,
        gap_tolerance=options.gap_tolerance,
        device=resources.device,
    )
    scale = scaler(options.scaling, task.train[0])
    X_train, X_val = scale(task.train[0]), scale(task.val[0])
    choice = choose_l2(fit_path, X_train, task.train[1], X_val, task.val[1], l2s=options.l2s, metric=task.metric)
    # This fit starts at zero weights, not from the path: for a single value that takes the path solver half the time.
    (final,) = fit_path(scale(task.final[0]), task.final[1], l2s=[choice.value])
    weigh = partial(probabilities, coef=final.coef, intercept=final.intercept, multilabel=task.multilabel)
    return FittedProbe(scores=lambda X: weigh(scale(X)), choice=choice, evidence=Evidence.of(final))
