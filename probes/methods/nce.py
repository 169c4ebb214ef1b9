"""NCE, negative conditional entropy of the labels given the network's own classes; nothing is trained.

Let z_i be the source class that the network's own classifier finds most probable for image i, and P(c, z) the share of
the n images with label c and source class z:

    NCE = −H(Y | Z) = Σ_{c, z} P(c, z) log (P(c, z) / P(z)),

in nats. NCE is at most 0, its value when z determines the label; larger is better.

Source: Tran, Nguyen and Hassner, *Transferability and Hardness of Supervised Classification Tasks*, ICCV 2019.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.special import rel_entr

from probes.fitting.fitted import FittedProbe
from probes.fitting.learning_task import LearningTask
from probes.methods import FitResources
from probes.methods.leep import source_blocks

HYPERPARAMETER = None
SOLVERS = ()
MULTILABEL = False
PREDICTS = False
NEEDS_CLASSIFIER = True


@dataclass(frozen=True)
class Options:
    """The probe has no options."""


def fit(task: LearningTask, options: Options, resources: FitResources) -> FittedProbe:
    """Measure the network, as `probes.methods.Fit` describes."""
    source = np.concatenate([block.argmax(axis=1) for _, block in source_blocks(task, "NCE")])
    joint = np.zeros((task.n_classes, source.max() + 1))
    np.add.at(joint, (task.final[1], source), 1 / len(source))
    return FittedProbe(scores=None, measures={"nce": float(rel_entr(joint, joint.sum(axis=0)).sum())})
