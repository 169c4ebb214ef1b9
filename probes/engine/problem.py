"""A logistic problem at any l2: evaluations with the biases at their optimum, preconditioning, and certificates.

Weights are kept in the eigenbasis of the features' covariance (r ≤ n_features directions, `Basis`), where the Hessian is
nearly A ⊗ diag(σ) + l2 I. Features are rotated into it once where that costs less than rotating weights and gradients at
every evaluation.

The biases are eliminated: an evaluation at weights W moves them to where Σ share (p − e) = 0 before it takes the
gradient. The dual point of `probes.objective` is then feasible as it is, L-BFGS works on a better conditioned function,
and several times fewer evaluations are needed than with the biases among the unknowns. The price is an elementwise pass
over logits that are kept where they fit and recomputed where they do not.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from probes.engine.losses import Loss
from probes.engine.rows import Rows
from probes.objective import SMALLEST_STAKE

LOGITS_BYTES = {"cpu": 8 * 1024**3, "cuda": 1024**3}
"""Logits and residuals of up to this size are kept during an evaluation."""

BIAS_STEPS = 20
STALE_STEPS = 2  # of them with the curvature that is given, which costs nothing; then it is computed where they are
BIAS_TOLERANCE = 1e-6
"""Of Σ share (p − e), relative to the class frequency and to what is at stake: the gap then hardly notices."""


@dataclass(frozen=True)
class Basis:
    """Directions that span the rows of X, and what turns weights along them into weights of the features.

    Attributes
    ----------
    to_features : Tensor of shape (n_features, r)
        Orthonormal columns, in the type of the products.
    variances : Tensor of shape (r,)
        Of the features along them.
    mean : Tensor of shape (n_features,)
        What features are centred by, float64.
    rotated : bool
        Whether the rows are given in this basis already, centred.
    """

    to_features: Tensor
    variances: Tensor
    mean: Tensor
    rotated: bool


@dataclass(frozen=True)
class Point:
    """What is known at some weights, the biases being optimal.

    Attributes
    ----------
    weights : Tensor of shape (n_classes, r)
    bias : Tensor of shape (n_classes,)
        Float64; of centred features.
    loss : Tensor of shape (B, 1)
        Float64, without the penalty.
    slope : Tensor of shape (n_classes, r)
        Gradient of the loss.
    residuals : list of Tensor or None
        Blocks (n_classes, n_block) of p − e; None where there was no room for them.
    """

    weights: Tensor
    bias: Tensor
    loss: Tensor
    slope: Tensor
    residuals: list[Tensor] | None

    def objective(self, l2: float, loss: Loss) -> Tensor:
        """Objective (B, 1) of each separate problem."""
        return self.loss + l2 / 2 * loss.dot(self.weights, self.weights)

    def gradient(self, l2: float) -> Tensor:
        """Gradient (n_classes, r) of the objective in the weights."""
        return self.slope + l2 * self.weights


@dataclass(frozen=True)
class Wish:
    """A point to evaluate.

    Attributes
    ----------
    weights : Tensor of shape (n_classes, r)
    bias : Tensor of shape (n_classes,)
        Where to start looking for the best one.
    curvature : Tensor of shape (n_classes, n_classes)
        A, or near it, for Newton's method on the biases.
    gap : float
        2 l2 times the relative gap that is aimed at: biases are solved for so well that the gap hardly notices.
    """

    weights: Tensor
    bias: Tensor
    curvature: Tensor
    gap: float


@dataclass(frozen=True)
class _Balanced:
    """Biases (n_classes,), the loss (B,) and Σ share (p − e) (n_classes,) there, and residuals if they were kept."""

    bias: Tensor
    loss: Tensor
    balance: Tensor
    residuals: list[Tensor] | None


@dataclass(frozen=True)
class Problem:
    """Images, labels and a loss; l2 comes with each question.

    Attributes
    ----------
    rows : Rows
    y : Tensor of shape (n,) of class indices, or (n_classes, n) of booleans
    share : Tensor of shape (1, n) or (n_classes, n)
        What each image counts for.
    loss : Loss
    n_classes : int
    basis : Basis
    fit_intercept : bool
    chance : Tensor of shape (B, 1)
        Objective of no weights and the best biases.
    frequency : Tensor of shape (n_classes,)
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

    def at(self, wishes: Sequence[Wish]) -> list[Point]:
        """Evaluate at several points, whose products with the features are taken together.

        Where there are few classes a product with the features of all images takes as long as reading them.
        """
        in_features = self._in_features(torch.cat([wish.weights for wish in wishes]))
        n_columns = len(in_features)
        keep = 2 * n_columns * len(self.rows) * self.rows.dtype.itemsize <= LOGITS_BYTES[in_features.device.type]
        kept = list(self._logits(in_features)) if keep else None
        k = self.n_classes
        parts = [slice(i * k, (i + 1) * k) for i in range(len(wishes))]
        balanced = [
            self._balance(in_features[part], [(block, z[part]) for block, z in kept] if kept else None, wish)
            for part, wish in zip(parts, wishes, strict=True)
        ]
        slope = torch.zeros(in_features.shape, dtype=torch.float64, device=in_features.device)
        for block, residuals in self._together(in_features, balanced):
            slope += (residuals @ self.rows[block]).double()
        return [
            Point(wish.weights, one.bias, one.loss[:, None], self._in_basis(slope[part], one.balance), one.residuals)
            for part, wish, one in zip(parts, wishes, balanced, strict=True)
        ]

    def curvature(self, point: Point) -> Tensor:
        """A of `probes.engine.losses.Loss.curvature` at a point."""
        return self._curvature(self._blocks_of(point))

    def _curvature(self, blocks: Iterable[tuple[slice, Tensor]]) -> Tensor:
        total = torch.zeros(self.n_classes, self.n_classes, dtype=torch.float64, device=self.rows.X.device)
        for block, residual in blocks:
            # Residuals come multiplied by their share.
            share = self.share[:, block]
            total += self.loss.curvature(residual / share, self.y[..., block], share)
        return total

    def gap(self, point: Point, l2: float) -> Tensor:
        """Duality gap (B, 1) of each separate problem, in nats, the biases being optimal."""
        gradient = point.gradient(l2)
        return self.loss.dot(gradient, gradient) / (2 * l2)

    def stake(self, point: Point, l2: float) -> Tensor:
        """What the gap of each separate problem is measured by, (B, 1); `probes.objective.stake`."""
        objective = point.objective(l2, self.loss)
        return torch.maximum(torch.minimum(objective, self.chance - objective), SMALLEST_STAKE * self.chance)

    def preconditioner(self, curvature: Tensor, l2: float) -> Callable[[Tensor], Tensor]:
        """Inverse of A ⊗ diag(σ) + l2 I as a function of (n_classes, r)."""
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
        """Coefficients (n_classes, n_features) and intercepts (n_classes,) of features as they came, float64."""
        coef = self._in_features(point.weights).double()
        if self.basis.rotated:
            coef = coef @ self.basis.to_features.T.double()
        return coef, point.bias - coef @ self.basis.mean

    def own(self, coef: Tensor, intercept: Tensor) -> tuple[Tensor, Tensor]:
        """The inverse of `original`: weights (n_classes, r) and biases (n_classes,)."""
        return (coef @ self.basis.to_features.double()).to(self.rows.dtype), intercept + coef @ self.basis.mean

    def nothing(self) -> tuple[Tensor, Tensor]:
        """No weights, and the biases that then are best: the solution at infinite l2."""
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
        """A slope that was summed over rows as they are, centred and in the basis."""
        if self.basis.rotated:
            return slope.to(self.rows.dtype)
        return (slope - torch.outer(balance, self.basis.mean)).to(self.rows.dtype) @ self.basis.to_features

    def _together(self, in_features: Tensor, balanced: list[_Balanced]) -> Iterator[tuple[slice, Tensor]]:
        """Residuals of all points (columns, n_block), computed again where there was no room to keep them."""
        if balanced[0].residuals is not None:
            blocks = [one.residuals or [] for one in balanced]
            for block, *several in zip(self.rows.slices(self.n_classes), *blocks, strict=True):
                yield block, several[0] if len(several) == 1 else torch.cat(several)
            return
        bias = torch.cat([one.bias for one in balanced])
        k = self.n_classes
        for block, logits in self._logits(in_features):
            logits += bias[:, None].to(logits.dtype)
            for start in range(0, len(logits), k):
                _, residuals = self.loss(logits[start : start + k], self.y[..., block])
                logits[start : start + k] = residuals * self.share[:, block]
            yield block, logits

    def _logits(self, in_features: Tensor) -> Iterator[tuple[slice, Tensor]]:
        """Logits (n_classes, n_block) without biases, of centred features."""
        shift = 0.0 if self.basis.rotated else (in_features.double() @ self.basis.mean)[:, None].to(in_features.dtype)
        for block, x in self.rows.blocks(self.n_classes):
            yield block, in_features @ x.T - shift

    def _residuals(self, in_features: Tensor, bias: Tensor) -> Iterator[tuple[slice, Tensor]]:
        for block, residual, _ in self._passed(in_features, bias, None):
            yield block, residual

    def _passed(
        self, in_features: Tensor, bias: Tensor, kept: list[tuple[slice, Tensor]] | None
    ) -> Iterator[tuple[slice, Tensor, Tensor]]:
        """Residuals, multiplied by their share, and losses (B,) of each block."""
        column = bias[:, None].to(in_features.dtype)
        for block, logits in kept if kept is not None else self._logits(in_features):
            losses, residuals = self.loss(logits + column, self.y[..., block])
            share = self.share[:, block]
            yield block, residuals.mul_(share), (losses * share).sum(dim=1, dtype=torch.float64)

    def _balance(self, in_features: Tensor, kept: list[tuple[slice, Tensor]] | None, wish: Wish) -> _Balanced:
        """Newton's method on the biases."""
        bias, curvature, worst = wish.bias, wish.curvature, math.inf
        for step in range(BIAS_STEPS + 1):
            residuals = []
            loss, balance = torch.zeros_like(self.chance[:, 0]), torch.zeros_like(bias)
            for block, residual, losses in self._passed(in_features, bias, kept):
                loss += losses
                balance += residual.sum(dim=1, dtype=torch.float64)
                if kept is not None:
                    residuals.append((block, residual))
            before, worst = worst, float((balance.abs() / self._imbalance(loss, wish.gap)).max())
            # Newton's method halves it at least, but for the first steps and for rounding.
            if worst <= 1 or step == BIAS_STEPS or (step > STALE_STEPS + 1 and worst > before / 2):
                break
            if step >= STALE_STEPS:
                curvature = self._curvature(residuals or self._residuals(in_features, bias))
            bias = bias - self._bias_step(balance, curvature)
        return _Balanced(bias, loss, balance, [one for _, one in residuals] if kept is not None else None)

    def _imbalance(self, loss: Tensor, gap: float) -> Tensor:
        """The balance (n_classes,) that may be left; without biases any."""
        if not self.fit_intercept:
            return torch.full_like(self.frequency, torch.inf)
        stake = torch.minimum(loss, self.chance[:, 0]).clamp(min=SMALLEST_STAKE)
        # ε of the module `probes.objective` is the balance over the frequency. It enters the gap by a divergence of
        # about ε, and by the square of ε times the spread of the features over 2 l2.
        spread = self.basis.variances.sum().sqrt()
        return torch.minimum(BIAS_TOLERANCE * stake, 0.03 * (gap * stake).sqrt() / spread) * self.frequency

    def _bias_step(self, balance: Tensor, curvature: Tensor) -> Tensor:
        """Newton's step, at most 2 in any class."""
        if self.loss.multilabel:
            step = balance / curvature.diagonal().clamp(min=1e-300)
        else:
            # One number added to all biases changes nothing; the rank-one term picks the step that adds none.
            ones = curvature.diagonal().mean().expand_as(curvature)
            step = torch.linalg.solve(curvature + ones, balance)
        return step.clamp(-2, 2)

    def _blocks_of(self, point: Point) -> Iterator[tuple[slice, Tensor]]:
        if point.residuals is None:
            yield from self._residuals(self._in_features(point.weights), point.bias)
        else:
            yield from zip(self.rows.slices(self.n_classes), point.residuals, strict=True)
