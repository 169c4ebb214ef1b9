"""Limited-memory BFGS whose pairs outlive a problem: they are carried along the regularisation path.

A pair is a step s and the change of the gradient along it, y = (H + l2 I) s with H the mean curvature of the loss. Going
to another l2' adds (l2' − l2) s to y and nothing else, exactly, so that curvature learned at one value serves the next.

Source: Nocedal and Wright, *Numerical Optimization*, 2nd ed., algorithm 7.4.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from probes.engine.losses import Loss

PAIRS = 60
PAIRS_BYTES = 512 * 1024**2


@dataclass(frozen=True)
class Pair:
    """A step and the change of the gradient along it, (n_classes, r), with 1 / (s · y) of each separate problem."""

    step: Tensor
    change: Tensor
    rho: Tensor  # (B, 1); 0 drops the pair where rounding has eaten the curvature


class Memory:
    """The pairs of the last steps, oldest first."""

    def __init__(self, loss: Loss) -> None:
        self._loss = loss
        self._pairs: deque[Pair] = deque(maxlen=PAIRS)

    def add(self, step: Tensor, change: Tensor) -> None:
        """Learn from a step taken."""
        if not self._pairs:
            fits = PAIRS_BYTES // (2 * step.numel() * step.element_size())
            self._pairs = deque(maxlen=max(10, min(PAIRS, fits)))
        self._pairs.append(self._pair(step, change))

    def move(self, change_of_l2: float) -> None:
        """Carry the pairs to another l2."""
        moved = (self._pair(pair.step, pair.change + change_of_l2 * pair.step) for pair in self._pairs)
        self._pairs = deque(moved, maxlen=self._pairs.maxlen)

    def inverse_hessian_times(self, gradient: Tensor, precondition: Callable[[Tensor], Tensor]) -> Tensor:
        """The two-loop recursion around `precondition`, rescaled to the curvature of the last step."""
        product = gradient.clone()
        weights = []
        for pair in reversed(self._pairs):
            weights.append((pair.rho * self._loss.dot(pair.step, product)).to(product.dtype))
            product.addcmul_(weights[-1], pair.change, value=-1)
        product = precondition(product) * self._scale(precondition)
        for pair, weight in zip(self._pairs, reversed(weights), strict=True):
            back = (pair.rho * self._loss.dot(pair.change, product)).to(product.dtype)
            product.addcmul_(weight - back, pair.step)
        return product

    def _scale(self, precondition: Callable[[Tensor], Tensor]) -> Tensor | float:
        if not self._pairs:
            return 1.0
        last = self._pairs[-1]
        dot = self._loss.dot
        scale = dot(last.step, last.change) / dot(last.change, precondition(last.change))
        return torch.where((last.rho > 0) & scale.isfinite(), scale, 1.0).to(last.step.dtype)

    def _pair(self, step: Tensor, change: Tensor) -> Pair:
        curvature = self._loss.dot(step, change)
        return Pair(step, change, torch.where(curvature > 0, 1 / curvature, 0.0))
