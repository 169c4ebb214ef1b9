"""One hidden layer of ReLUs, stopped early: the number of epochs is chosen on validation images.

For standardised features x (n_features,), logits W₂ relu(W₁ x + b₁) + b₂ with W₁ (width, n_features) and W₂ (n_classes,
width); the loss of a mini-batch is the mean cross-entropy or, multi-label, the binary cross-entropy summed over classes
as in `probes.objective`. AdamW has a constant learning rate, so that an epoch does not depend on how many follow it.
The search ends when `patience` epochs were no better on the validation images than the best one, by the metric and,
where that is the same, by the loss (`probes.fitting.tuning`). The network is then trained again on `task.final`, from
the same seed and for the chosen number of epochs. The recorded objective is the mean loss over the last epoch, measured
while the weights change.

All random numbers come from the seed alone: every run on the CPU of one machine gives the same numbers, and no other
random generator is used.

Sources: Kingma and Ba, *Adam*, ICLR 2015; Loshchilov and Hutter, *Decoupled Weight Decay Regularization*, ICLR 2019;
the start, He et al., *Delving Deep into Rectifiers*, ICCV 2015.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from probes.fitting.fitted import Choice, Evidence, FittedProbe, Trial
from probes.fitting.learning_task import LearningTask
from probes.fitting.refit import checked_refit
from probes.fitting.tuning import CROSS_ENTROPY, check_grid, choose, measure_of
from probes.methods import FitResources
from probes.moments import deviations
from probes.objective import Features, Labels, Vector, check_data

if TYPE_CHECKING:
    from torch import Tensor

HYPERPARAMETER = "epochs"
SOLVERS = ()
MULTILABEL = True

SCORING_ROWS = 4096
BETAS, EPSILON = (0.9, 0.999), 1e-8  # of Adam


@dataclass(frozen=True)
class Options:
    """Settings that change the numbers.

    Attributes
    ----------
    width : int
        Number of hidden units.
    max_epochs : int
        Most epochs.
    patience : int
        The search ends after so many epochs without a better one.
    batch_size : int
        Images per mini-batch.
    learning_rate, weight_decay : float
        Settings of AdamW; the biases decay too.
    """

    width: int = 512
    max_epochs: int = 100
    patience: int = 10
    batch_size: int = 128
    learning_rate: float = 1e-3
    weight_decay: float = 0.01

    def __post_init__(self) -> None:
        positive = (self.width, self.max_epochs, self.patience, self.batch_size, self.learning_rate)
        check_grid("width, max_epochs, patience, batch_size and learning_rate", positive)


@checked_refit
def fit(task: LearningTask, options: Options, resources: FitResources) -> FittedProbe:
    """Choose the number of epochs and fit, as `probes.methods.Fit` describes."""
    check_data(task.X, task.y, task.n_classes)
    choice = _choose_epochs(task, options, resources)
    start = time.perf_counter()
    network = _Network(*task.final, task.n_classes, options, resources)
    for _ in range(int(choice.value)):
        loss = network.train_epoch()
    evidence = Evidence(objective=loss, n_iter=int(choice.value), seconds=time.perf_counter() - start)
    return FittedProbe(scores=network.probabilities, choice=choice, evidence=evidence)


def _choose_epochs(task: LearningTask, options: Options, resources: FitResources) -> Choice:
    X_val, y_val = task.val
    measure = measure_of(task.metric, y_val, probabilistic=True)
    choice_of = partial(choose, higher_is_better=measure.higher_is_better, stronger_last=False)
    network = _Network(*task.train, task.n_classes, options, resources)
    trials: list[Trial] = []
    last = options.patience
    while len(trials) < min(options.max_epochs, last):
        start, epoch = time.perf_counter(), len(trials) + 1
        objective, scores = network.train_epoch(), network.probabilities(X_val)
        validation, loss = measure(scores, y_val).value, CROSS_ENTROPY(scores, y_val)
        evidence = Evidence(objective=objective, n_iter=epoch, seconds=time.perf_counter() - start)
        trials.append(Trial(epoch, validation, evidence, loss))
        last = int(choice_of(trials).value) + options.patience
    return choice_of(trials, loss_kind=CROSS_ENTROPY.kind)


class _Network:
    """The network, its optimiser, and the images that it learns from.

    Parameters
    ----------
    X : ndarray of shape (n, n_features)
    y : ndarray of shape (n,) or (n, n_classes)
    """

    def __init__(self, X: Features, y: Labels, n_classes: int, options: Options, resources: FitResources) -> None:
        import torch

        self.X, self.y, self.batch_size = X, y, options.batch_size
        self.device = resources.torch_device()
        centre, deviation = deviations(X)
        self.mean, self.deviation = self._to_device(centre), self._to_device(deviation)
        # Random numbers are drawn on the CPU, whatever the device, from a generator of this network alone.
        self.generator = torch.Generator().manual_seed(resources.seed)
        self.hidden = self._layer(X.shape[1], options.width)
        self.output = self._layer(options.width, n_classes)
        self.optimizer = _AdamW([*self.hidden, *self.output], options.learning_rate, options.weight_decay)

    def train_epoch(self) -> float:
        """Train on every image once, in a new order; return the mean loss of the mini-batches, in nats."""
        import torch

        total = 0.0
        order = torch.randperm(len(self.X), generator=self.generator).numpy()
        for start in range(0, len(order), self.batch_size):
            batch = order[start : start + self.batch_size]
            loss = self._loss(self._logits(self.X[batch]), self.y[batch])
            self.optimizer.step(torch.autograd.grad(loss, self.optimizer.parameters))
            total += float(loss.detach()) * len(batch)
        return total / len(self.X)

    def probabilities(self, X: Features) -> Vector:
        """Return the probabilities (n, n_classes) of X (n, n_features)."""
        import torch

        blocks = []
        with torch.no_grad():
            for start in range(0, max(len(X), 1), SCORING_ROWS):
                logits = self._logits(X[start : start + SCORING_ROWS]).double()
                blocks.append((logits.sigmoid() if self.y.ndim == 2 else logits.softmax(dim=1)).cpu().numpy())
        return np.concatenate(blocks)

    def _logits(self, X: Features) -> Tensor:
        rows = (self._to_device(X) - self.mean) / self.deviation
        (W1, b1), (W2, b2) = self.hidden, self.output
        return (rows @ W1 + b1).relu() @ W2 + b2

    def _loss(self, logits: Tensor, y: Labels) -> Tensor:
        import torch
        from torch.nn import functional

        labels = torch.from_numpy(y).to(self.device)
        if y.ndim == 1:
            return functional.cross_entropy(logits, labels)
        return functional.binary_cross_entropy_with_logits(logits, labels.float(), reduction="sum") / len(y)

    def _layer(self, n_in: int, n_out: int) -> tuple[Tensor, Tensor]:
        """Make weights (n_in, n_out) of variance 2 / n_in, and biases of 0."""
        import torch

        weights = torch.randn(n_in, n_out, generator=self.generator) * (2 / n_in) ** 0.5
        biases = torch.zeros(n_out, device=self.device)
        return weights.to(self.device).requires_grad_(), biases.requires_grad_()

    def _to_device(self, values: NDArray[np.floating[Any]]) -> Tensor:
        """Copy values to the device, in float32."""
        import torch

        return torch.from_numpy(values.astype(np.float32)).to(self.device)


class _AdamW:
    """The same as `torch.optim.AdamW` at its defaults, whose first step takes eight seconds to load a compiler.

    Parameters
    ----------
    parameters : list of Tensor
    learning_rate, weight_decay : float
    """

    def __init__(self, parameters: list[Tensor], learning_rate: float, weight_decay: float) -> None:
        self.parameters, self.learning_rate, self.weight_decay = parameters, learning_rate, weight_decay
        self.moments = [(parameter.detach() * 0, parameter.detach() * 0) for parameter in parameters]
        self.n_steps = 0

    def step(self, gradients: Sequence[Tensor]) -> None:
        """Update the parameters with their gradients."""
        self.n_steps += 1
        first_bias, second_bias = 1 - BETAS[0] ** self.n_steps, 1 - BETAS[1] ** self.n_steps
        for parameter, gradient, (first, second) in zip(self.parameters, gradients, self.moments, strict=True):
            first.lerp_(gradient, 1 - BETAS[0])
            second.lerp_(gradient.square(), 1 - BETAS[1])
            values = parameter.detach()  # the same memory
            values.mul_(1 - self.learning_rate * self.weight_decay)
            values.addcdiv_(first, (second / second_bias).sqrt_().add_(EPSILON), value=-self.learning_rate / first_bias)
