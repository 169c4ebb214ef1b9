"""What a probe is fitted on: labelled images, none of them a test image."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from probes.objective import Features, Labels, Vector


@dataclass(frozen=True)
class Task:
    """The training and validation images of a cell.

    They lie in one matrix, the training images first, so that fitting on both copies nothing.

    Attributes
    ----------
    X : ndarray of shape (n_train + n_val, n_features)
        float16, float32 or float64.
    y : ndarray of shape (n_train + n_val,) or (n_train + n_val, n_classes)
        Class indices, or booleans when multi-label.
    n_train : int
    n_classes : int
    metric : str
        Name in `probes.metrics` by which to choose.
    refit_on_validation : bool
        Whether the validation images, once the choice is made, may be learned from: not so in a few-shot task, whose
        number of images per class is what is asked about.
    source_probabilities : callable, optional
        Features (n, n_features) to what the network's own classifier says of them: probabilities (n, n_source_classes).
        None where the network has none.
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
        """Views of the training images: X (n_train, n_features) and y."""
        return self.X[: self.n_train], self.y[: self.n_train]

    @property
    def val(self) -> tuple[Features, Labels]:
        """Views of the validation images: X (n_val, n_features) and y."""
        return self.X[self.n_train :], self.y[self.n_train :]

    @property
    def final(self) -> tuple[Features, Labels]:
        """What to fit on once nothing is left to choose: both, or the training images of a few-shot task."""
        return (self.X, self.y) if self.refit_on_validation else self.train

    @property
    def multilabel(self) -> bool:
        """Whether an image can have several labels."""
        return self.y.ndim == 2
