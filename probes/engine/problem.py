"""A logistic problem at any l2: evaluations with the biases at their optimum, preconditioning, and the duality gap.

Weights are kept in the eigenbasis of the features' covariance (r ≤ n_features directions, `Basis`), where the Hessian
is nearly A ⊗ diag(σ) + l2 I. Features are rotated into it once, where that costs less than rotating weights and
gradients at every evaluation.

The biases are eliminated: an evaluation at weights W first moves them to where Σ share (p − e) = 0, then computes the
gradient. The dual point of `probes.objective` is then feasible, L-BFGS works on a better conditioned function, and
needs several times fewer evaluations than with the biases as unknowns. The price is an elementwise pass over logits,
which are kept if memory allows and recomputed if not.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import TypeAlias

import torch
from torch import Tensor

from probes.engine.losses import Loss
from probes.engine.rows import Rows
from probes.objective import SMALLEST_STAKE

LOGITS_BYTES = {"cpu": 8 * 1024**3, "cuda": 1024**3}
"""Logits and residuals of up to this size are kept during an evaluation."""

ELEMENTWISE = 2**19  # values in a block for elementwise passes

BIAS_STEPS = 20
STALE_STEPS = 2  # the first of these steps use the given curvature, which costs nothing; later steps compute it anew


_Blocks: TypeAlias = list[tuple[slice, Tensor]]
"""Ranges of images with a matrix (n_classes, n_block) of each."""


@dataclass(frozen=True)
class Basis:
    """Directions that span the rows of X, and the matrix that turns weights along them into weights of the features.

    Attributes
    ----------
    to_features : Tensor of shape (n_features, r)
        The directions as orthonormal columns, in the type of the products.
    variances : Tensor of shape (r,)
        Variances of the features along the directions.
    mean : Tensor of shape (n_features,)
        Mean that is subtracted from the features, float64.
    rotated : bool
        Whether the rows are already centred and in this basis.
    """

    to_features: Tensor
    variances: Tensor
    mean: Tensor
    rotated: bool


@dataclass(frozen=True)
class Point:
    """The loss and its gradient at some weights, with the biases at their optimum.

    Attributes
    ----------
    weights : Tensor of shape (n_classes, r)
    bias : Tensor of shape (n_classes,)
        Biases for centred features, float64.
    loss : Tensor of shape (B, 1)
        Float64, without the penalty.
    slope : Tensor of shape (n_classes, r)
        Gradient of the loss.
    residuals : list of (slice, Tensor) or None
        Ranges of images with their residuals, share times (p − e), (n_classes, n_block); None if they were not kept.
    """

    weights: Tensor
    bias: Tensor
    loss: Tensor
    slope: Tensor
    residuals: _Blocks | None

    def objective(self, l2: float, loss: Loss) -> Tensor:
        """Return the objective (B, 1) of each separate problem."""
        return self.loss + l2 / 2 * loss.dot(self.weights, self.weights)

    def gradient(self, l2: float) -> Tensor:
        """Return the gradient (n_classes, r) of the objective in the weights."""
        return self.slope + l2 * self.weights


@dataclass(frozen=True)
class Aim:
    """The precision that an evaluation needs: enough to measure this relative gap at this l2."""

    l2: float
    gap: float


@dataclass(frozen=True)
class Problem:
    """Images, labels and a loss. Methods take l2 as an argument.

    Attributes
    ----------
    rows : Rows
    y : Tensor of shape (n,) of class indices, or (n_classes, n) of booleans
    share : Tensor of shape (1, n) or (n_classes, n)
        Share of each image, as in `probes.objective.shares`.
    loss : Loss
    n_classes : int
    basis : Basis
    fit_intercept : bool
    chance : Tensor of shape (B, 1)
        Objective of zero weights and the best biases.
    frequency : Tensor of shape (n_classes,)
        Share of the images that have each class.
    """

    rows: Rows
    y: Tensor
    share: Tensor
    loss: Loss
    n_classes: int
    basis: Basis
    fit_intercept: bool
    chance: Tensor
    frequency: Tensor

    def at(self, weights: Tensor, bias: Tensor, curvature: Tensor, aim: Aim) -> Point:
        """Evaluate at `weights`, with the biases moved from `bias` to their optimum.

        Parameters
        ----------
        weights : Tensor of shape (n_classes, r)
        bias : Tensor of shape (n_classes,)
        curvature : Tensor of shape (n_classes, n_classes)
            A or an approximation of it, for Newton's method on the biases.
        aim : Aim
            The biases become so exact that their error is small against this gap.
        """
        in_features = self._in_features(weights)
        keep = 2 * self.n_classes * len(self.rows) * self.rows.dtype.itemsize <= LOGITS_BYTES[weights.device.type]
        kept = list(_joined(self._logits(in_features))) if keep else None
        bias, loss, balance, residuals = self._balance(in_features, kept, bias, curvature, aim)
        slope = torch.zeros(in_features.shape, dtype=torch.float64, device=weights.device)
        for block, residual in residuals or self._residuals(in_features, bias):
            for part in self.rows.slices(self.n_classes, block):
                slope += (residual[:, part.start - block.start : part.stop - block.start] @ self.rows[part]).double()
        return Point(weights, bias, loss[:, None], self._in_basis(slope, balance), residuals)

    def curvature(self, point: Point) -> Tensor:
        """Return A at a point, as `probes.engine.losses.Loss.curvature` defines it."""
        return self._curvature(self._blocks_of(point))

    def _curvature(self, blocks: Iterable[tuple[slice, Tensor]]) -> Tensor:
        total = torch.zeros(self.n_classes, self.n_classes, dtype=torch.float64, device=self.rows.X.device)
        for block, residual in blocks:
            share = self.share[:, block]
            bare = (residual / share).nan_to_num(0.0)  # an image of share 0 has no residual
            total += self.loss.curvature(bare, self.y[..., block], share)
        return total

    def gap(self, point: Point, l2: float) -> Tensor:
        """Return the duality gap (B, 1) of each separate problem, in nats, for optimal biases."""
        gradient = point.gradient(l2)
        return self.loss.dot(gradient, gradient) / (2 * l2)

    def stake(self, point: Point, l2: float) -> Tensor:
        """Return the stake (B, 1) of each separate problem, as in `probes.objective.stake`."""
        objective = point.objective(l2, self.loss)
        return torch.maximum(torch.minimum(objective, self.chance - objective), SMALLEST_STAKE * self.chance)

    def preconditioner(self, curvature: Tensor, l2: float) -> Callable[[Tensor], Tensor]:
        """Return a function that multiplies (n_classes, r) by the inverse of A ⊗ diag(σ) + l2 I."""
        dtype = self.rows.dtype
        if self.loss.multilabel:
            diagonal = (curvature.diagonal()[:, None] * self.basis.variances + l2).to(dtype)
            return lambda gradient: gradient / diagonal
        values, vectors = torch.linalg.eigh(curvature)
        # Adding one vector to the weights of all classes changes no probability: A has an eigenvalue of 0.
        scale = (1 / (values.clamp(min=0)[:, None] * self.basis.variances + l2)).to(dtype)
        vectors = vectors.to(dtype)
        return lambda gradient: vectors @ ((vectors.T @ gradient) * scale)

    def original(self, point: Point) -> tuple[Tensor, Tensor]:
        """Return weights (n_classes, n_features) and biases (n_classes,) for the original features, float64."""
        coef = self._in_features(point.weights).double()
        if self.basis.rotated:
            coef = coef @ self.basis.to_features.T.double()
        return coef, point.bias - coef @ self.basis.mean

    def own(self, coef: Tensor, intercept: Tensor) -> tuple[Tensor, Tensor]:
        """Invert `original`: return weights (n_classes, r) and biases (n_classes,)."""
        return (coef @ self.basis.to_features.double()).to(self.rows.dtype), intercept + coef @ self.basis.mean

    def nothing(self) -> tuple[Tensor, Tensor]:
        """Return zero weights and the best biases for them: the solution at infinite l2."""
        weights = torch.zeros(
            self.n_classes, self.basis.variances.numel(), dtype=self.rows.dtype, device=self.frequency.device
        )
        if not self.fit_intercept:
            return weights, torch.zeros_like(self.frequency)
        if self.loss.multilabel:
            return weights, self.frequency.logit()
        return weights, self.frequency.log() - self.frequency.log().mean()

    # ---- pieces of an evaluation -------------------------------------------------------------------------------

    def _in_features(self, weights: Tensor) -> Tensor:
        return weights if self.basis.rotated else weights @ self.basis.to_features.T

    def _in_basis(self, slope: Tensor, balance: Tensor) -> Tensor:
        """Centre a slope that was summed over the original rows, and turn it into the basis."""
        if self.basis.rotated:
            return slope.to(self.rows.dtype)
        return (slope - torch.outer(balance, self.basis.mean)).to(self.rows.dtype) @ self.basis.to_features

    def _logits(self, in_features: Tensor) -> Iterator[tuple[slice, Tensor]]:
        """Yield blocks of rows with their logits (n_classes, n_block), without biases, for centred features."""
        shift = 0.0 if self.basis.rotated else (in_features.double() @ self.basis.mean)[:, None].to(in_features.dtype)
        for block, x in self.rows.blocks(self.n_classes):
            yield block, in_features @ x.T - shift

    def _residuals(self, in_features: Tensor, bias: Tensor) -> Iterator[tuple[slice, Tensor]]:
        for block, residual, _ in self._passed(in_features, bias, None):
            yield block, residual

    def _passed(
        self, in_features: Tensor, bias: Tensor, kept: _Blocks | None
    ) -> Iterator[tuple[slice, Tensor, Tensor]]:
        """Yield blocks of rows with their residuals, multiplied by the share, and their losses (B,)."""
        column = bias[:, None].to(in_features.dtype)
        for block, logits in kept if kept is not None else self._logits(in_features):
            losses, residuals = self.loss(logits + column, self.y[..., block])
            share = self.share[:, block]
            yield block, residuals.mul_(share), (losses * share).sum(dim=1, dtype=torch.float64)

    def _balance(
        self, in_features: Tensor, kept: _Blocks | None, bias: Tensor, curvature: Tensor, aim: Aim
    ) -> tuple[Tensor, Tensor, Tensor, _Blocks | None]:
        """Find the best biases by Newton's method.

        Returns the biases, the loss (B,), the balance that is left (n_classes,), and the residuals if they are kept.
        """
        worst = math.inf
        for step in range(BIAS_STEPS + 1):
            residuals = []
            loss, balance = torch.zeros_like(self.chance[:, 0]), torch.zeros_like(bias)
            for block, residual, losses in self._passed(in_features, bias, kept):
                loss += losses
                balance += residual.sum(dim=1, dtype=torch.float64)
                if kept is not None:
                    residuals.append((block, residual))
            before, worst = worst, float((balance.abs() / self._imbalance(loss, aim)).max())
            # Newton's method at least halves the balance, except in the first steps and at the limit of rounding.
            if worst <= 1 or step == BIAS_STEPS or (step > STALE_STEPS + 1 and worst > before / 2):
                break
            if step >= STALE_STEPS:
                curvature = self._curvature(residuals or self._residuals(in_features, bias))
            bias = bias - self._bias_step(balance, curvature)
        return bias, loss, balance, residuals if kept is not None else None

    def _imbalance(self, loss: Tensor, aim: Aim) -> Tensor:
        """Return how much of the balance (n_classes,) may be left; infinite without biases."""
        if not self.fit_intercept:
            return torch.full_like(self.frequency, torch.inf)
        stake = torch.minimum(loss, self.chance[:, 0]).clamp(min=SMALLEST_STAKE)
        # ε of the module `probes.objective` is the balance over the frequency. It enters the gap by a divergence of
        # some hundreds of ε at most, and by the square of ε times the spread of the features, over 2 l2.
        spread = self.basis.variances.sum().sqrt()
        by_square = 0.1 * (2 * aim.l2 * aim.gap * stake).sqrt() / spread
        return torch.minimum(1e-3 * aim.gap * stake, by_square) * self.frequency

    def _bias_step(self, balance: Tensor, curvature: Tensor) -> Tensor:
        """Return Newton's step, at most 2 in any class."""
        if self.loss.multilabel:
            step = balance / curvature.diagonal().clamp(min=1e-300)
        else:
            # Adding one number to all biases changes nothing; the rank-one term picks the step whose sum is 0. Where
            # all images are certain the curvature vanishes, and the step has its greatest length.
            diagonal = curvature.diagonal()
            least = torch.full_like(diagonal, 1e-13 * float(diagonal.max()) + 1e-290).diag()
            step = torch.linalg.solve(curvature + diagonal.mean() + least, balance)
        return step.clamp(-2, 2)

    def _blocks_of(self, point: Point) -> Iterator[tuple[slice, Tensor]]:
        if point.residuals is None:
            yield from self._residuals(self._in_features(point.weights), point.bias)
        else:
            yield from point.residuals


def _joined(blocks: Iterable[tuple[slice, Tensor]]) -> Iterator[tuple[slice, Tensor]]:
    """Join neighbouring blocks until they have `ELEMENTWISE` values: then an elementwise pass is fastest."""
    pending: _Blocks = []
    for block in blocks:
        pending.append(block)
        if sum(values.numel() for _, values in pending) >= ELEMENTWISE:
            yield _join(pending)
            pending = []
    if pending:
        yield _join(pending)


def _join(blocks: _Blocks) -> tuple[slice, Tensor]:
    return slice(blocks[0][0].start, blocks[-1][0].stop), torch.cat([values for _, values in blocks], dim=1)
