"""The two losses of `probes.objective` in torch, class-major. A loss makes B separate problems: 1, or one per class."""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor


class Loss(Protocol):
    """A loss as a function of logits."""

    multilabel: bool

    def __call__(self, logits: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        """Return losses (B, n) and residuals p − e (n_classes, n), both to full relative precision.

        Parameters
        ----------
        logits : Tensor of shape (n_classes, n)
        y : Tensor of shape (n,) of class indices, or (n_classes, n) of booleans
        """

    def dot(self, a: Tensor, b: Tensor) -> Tensor:
        """Return the inner products (B, 1), in float64, of matrices (n_classes, r)."""

    def indicators(self, y: Tensor, n_classes: int, dtype: torch.dtype) -> Tensor:
        """Return the labels as numbers 0 and 1, (n_classes, n)."""

    def curvature(self, residuals: Tensor, y: Tensor, share: Tensor) -> Tensor:
        """Return A = Σ share (diag p − p pᵀ), (n_classes, n_classes), float64; it is diagonal when multi-label."""

    def divergence(self, logits: Tensor, epsilon: Tensor, t: Tensor) -> Tensor:
        """Return KL(q || p), (B, n), for q = (1 − ε) p + ε t, with ε (1,) or (n_classes,) and t (n_classes,)."""


class Softmax:
    """The cross-entropy of one label per image: a single problem."""

    multilabel = False

    def __call__(self, logits: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        # The torch form of objective.losses_and_residuals, in place.
        label = y[None]
        residuals = logits - logits.gather(0, label)
        shift = residuals.amax(dim=0, keepdim=True)  # never negative: the label's own margin is 0
        residuals.sub_(shift).exp_().scatter_(0, label, 0.0)
        odds = residuals.sum(dim=0, keepdim=True)
        normaliser = odds + (-shift).exp()
        residuals.div_(normaliser).scatter_(0, label, -odds / normaliser)
        return torch.where(shift > 0, shift + normaliser.log(), odds.log1p()), residuals

    def dot(self, a: Tensor, b: Tensor) -> Tensor:
        return torch.dot(a.reshape(-1), b.reshape(-1)).double().reshape(1, 1)

    def indicators(self, y: Tensor, n_classes: int, dtype: torch.dtype) -> Tensor:
        return torch.zeros(n_classes, len(y), dtype=dtype, device=y.device).scatter_(0, y[None], 1.0)

    def curvature(self, residuals: Tensor, y: Tensor, share: Tensor) -> Tensor:
        p = residuals + self.indicators(y, len(residuals), residuals.dtype)
        matrix = -((p * share) @ p.T).double()
        spread = residuals.abs() * (1 - residuals.abs())  # p (1 − p) without cancellation
        matrix.diagonal().copy_((spread * share).sum(dim=1, dtype=torch.float64))
        return matrix

    def divergence(self, logits: Tensor, epsilon: Tensor, t: Tensor) -> Tensor:
        return _kl(logits.log_softmax(dim=0), epsilon, t[:, None]).sum(dim=0, keepdim=True)


class OneVsRest:
    """One binary cross-entropy per class: as many problems as classes."""

    multilabel = True

    def __call__(self, logits: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        sign = torch.where(y, -1.0, 1.0).to(logits.dtype)  # a positive margin is a mistake
        margins = sign * logits
        return torch.logaddexp(margins.new_zeros(()), margins), sign * margins.sigmoid()

    def dot(self, a: Tensor, b: Tensor) -> Tensor:
        return (a * b).sum(dim=1, keepdim=True, dtype=torch.float64)

    def indicators(self, y: Tensor, n_classes: int, dtype: torch.dtype) -> Tensor:
        return y.to(dtype)

    def curvature(self, residuals: Tensor, y: Tensor, share: Tensor) -> Tensor:
        spread = residuals.abs() * (1 - residuals.abs())
        return (spread * share).sum(dim=1, dtype=torch.float64).diag()

    def divergence(self, logits: Tensor, epsilon: Tensor, t: Tensor) -> Tensor:
        epsilon, t = epsilon[:, None], t[:, None]
        log_sigmoid = torch.nn.functional.logsigmoid
        return _kl(log_sigmoid(logits), epsilon, t) + _kl(log_sigmoid(-logits), epsilon, 1 - t)


def _kl(log_p: Tensor, epsilon: Tensor, t: Tensor) -> Tensor:
    """Return q log(q/p) − q + p, elementwise, for q = (1 − ε) p + ε t: `probes.objective.mixed_divergence` in torch."""
    p = log_p.exp()
    shift = epsilon * (t - p)
    small = shift.abs() < p / 2
    change = torch.where(small, shift / p, 0.0)
    near = p * ((1 + change) * change.log1p() - change)
    q = p + shift
    return torch.where(small, near, torch.special.xlogy(q, q) - q * log_p.clamp(min=-1e300) - shift)
