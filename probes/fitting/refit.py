"""Look at a refit before it is kept: fitted on the validation images, too, a probe must not do worse on them.

A probe is chosen on the training images and fitted again on training and validation images together. If these have
other class counts, the same hyper-parameter may no longer be right: at strong regularisation the frequencies of the
classes decide, and the probe may give every image the commonest class. A probe that has seen the validation images and
still does worse on them than the one that had not is not what was chosen.
"""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Callable
from typing import Any, TypeAlias

from probes import metrics
from probes.fitting.fitted import FittedProbe
from probes.fitting.learning_task import LearningTask

Fit: TypeAlias = Callable[[LearningTask, Any, Any], FittedProbe]
"""The function `fit` of a method."""


def checked_refit(fit: Fit) -> Fit:
    """Decorate the `fit` of a method: a refit that fails on the validation images gives way to the fit that was chosen.

    It fails if its metric on the validation images is worse than the one that chose it, by more than one standard
    error. The probe is then fitted on the training images alone, and says so (`FittedProbe.refitted`).
    """

    @functools.wraps(fit)
    def checked(task: LearningTask, options: Any, resources: Any) -> FittedProbe:
        probe = fit(task, options, resources)
        if not task.refit_on_validation:
            return dataclasses.replace(probe, refitted=False)
        if not _is_worse(probe, task):
            return probe
        alone = dataclasses.replace(task, refit_on_validation=False)
        return dataclasses.replace(fit(alone, options, resources), refitted=False)

    return checked


def _is_worse(probe: FittedProbe, task: LearningTask) -> bool:
    """Return whether a refitted probe is worse on the validation images than the score that chose it."""
    if probe.choice is None or probe.scores is None:
        return False
    measure = metrics.by_name(task.metric)
    X_val, y_val = task.val
    again = measure(probe.scores(X_val), y_val)
    (before,) = (trial.validation for trial in probe.choice.trials if trial.value == probe.choice.value)
    loss = before - again.value if measure.higher_is_better else again.value - before
    return loss > (0.0 if math.isnan(again.standard_error) else again.standard_error)
