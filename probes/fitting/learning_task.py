"""A learning task: the labelled images that a probe is fitted on. None of them is a test image."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from probes.objective import Features, Labels, Vector


@dataclass(frozen=True)
class LearningTask:
    """The training and validation images of a cell.

    One matrix holds both, the training images first, so that fitting on both copies nothing.

    Attributes
    ----------
    X : ndarray of shape (n_train + n_val, n_features)
        float16, float32 or float64.
    y : ndarray of shape (n_train + n_val,) or (n_train + n_val, n_classes)
        Class indices, or booleans when multi-label.
    n_train : int
    n_classes : int
    metric : str
        Name of the metric in `probes.metrics` by which a hyper-parameter is chosen.
    refit_on_validation : bool
        Whether the final fit also uses the validation images. False for a few-shot task, because its number of images
        per class is the number of images it may learn from.
    source_probabilities : callable, optional
        Features (n, n_features) -> probabilities (n, n_source_classes) that the network's own classifier gives them.
        None if the store has no classifier of the network.
    """

    X: Features
    y: Labels
    n_train: int
    n_classes: int
    metric: str
    refit_on_validation: bool = True
    source_probabilities: Callable[[Features], Vector] | None = None

    @property
    def train(self) -> tuple[Features, Labels]:
        """Return views of the training images: X (n_train, n_features) and y."""
        return self.X[: self.n_train], self.y[: self.n_train]

    @property
    def val(self) -> tuple[Features, Labels]:
        """Return views of the validation images: X (n_val, n_features) and y."""
        return self.X[self.n_train :], self.y[self.n_train :]

    @property
    def final(self) -> tuple[Features, Labels]:
        """Return the images of the final fit: all, or the training images alone if this is a few-shot task."""
        return (self.X, self.y) if self.refit_on_validation else self.train

    @property
    def multilabel(self) -> bool:
        """Whether an image can have several labels."""
        return self.y.ndim == 2
