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

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from probes.engine.losses import Loss
from probes.engine.rows import Rows
from probes.objective import SMALLEST_STAKE

LOGITS_BYTES = {"cpu": 8 * 1024**3, "cuda": 1024**3}
"""Logits and residuals of up to this size are kept during an evaluation."""

BIAS_STEPS = 20
BIAS_TOLERANCE = 1e-6
"""Of Σ share (p − e), relative to the class frequency and to what is at stake: the gap then hardly notices."""


@dataclass(frozen=True)
class Basis:
    """Directions that span the rows of X, and what turns weights along them into weights of the features.

    Attributes
    ----------
    to_features : Tensor of shape (n_features, r)
        Orthonormal columns, float64.
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
    balance : Tensor of shape (n_classes,)
        Σ share (p − e), what is left of the biases' gradient; float64.
    residuals : list of Tensor or None
        Blocks (n_classes, n_block) of p − e; None where there was no room for them.
    """

    weights: Tensor
    bias: Tensor
    loss: Tensor
    slope: Tensor
    balance: Tensor
    residuals: list[Tensor] | None

    def objective(self, l2: float, loss: Loss) -> Tensor:
        """Objective (B, 1) of each separate problem."""
        return self.loss + l2 / 2 * loss.dot(self.weights, self.weights)

    def gradient(self, l2: float) -> Tensor:
        """Gradient (n_classes, r) of the objective in the weights."""
        return self.slope + l2 * self.weights


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
    omitted_slope, omitted_balance : Tensor, optional
        Of images that are left out: constants added to `Point.slope` and `Point.balance`.
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
    omitted_slope: Tensor | None = None
    omitted_balance: Tensor | None = None

    def at(self, weights: Tensor, bias: Tensor, curvature: Tensor, *, balanced: bool = True) -> Point:
        """Evaluate at `weights`, with the biases moved from `bias` to their optimum.

        Parameters
        ----------
        weights : Tensor of shape (n_classes, r)
        bias : Tensor of shape (n_classes,)
        curvature : Tensor of shape (n_classes, n_classes)
            A, or near it, for Newton's method on the biases.
        balanced : bool
            False leaves the biases where they are.
        """
        in_features = self._in_features(weights)
        keep = 2 * self.n_classes * len(self.rows) * self.rows.dtype.itemsize <= LOGITS_BYTES[weights.device.type]
        kept = list(self._logits(in_features)) if keep else None
        bias, loss, balance, residuals = self._balance(in_features, kept, bias, curvature, balanced)
        slope = torch.zeros(in_features.shape, dtype=torch.float64, device=weights.device)
        for block, residual in residuals or self._residuals(in_features, bias):
            slope += (residual @ self.rows[block]).double()
        return Point(
            weights,
            bias,
            loss,
            self._in_basis(slope, balance),
            balance if self.omitted_balance is None else balance + self.omitted_balance,
            [residual for _, residual in residuals] if residuals else None,
        )

    def curvature(self, point: Point) -> Tensor:
        """A of `probes.engine.losses.Loss.curvature` at a point."""
        total = torch.zeros(self.n_classes, self.n_classes, dtype=torch.float64, device=self.rows.X.device)
        for block, residual in self._blocks_of(point):
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

    def restricted(self, point: Point, least: float) -> Problem | None:
        """The problem on the images that hold all but `least` of the curvature, the others' slope held constant.

        At weak regularisation most images are far on the right side: their loss is linear, and next to nothing, for as
        far as a step goes. None where that leaves out less than 40 % of them, or where there is no room for a copy.
        """
        if self.loss.multilabel or point.residuals is None:
            return None
        spread = torch.cat([self._spread(residual, block) for block, residual in self._blocks_of(point)])
        ascending, order = spread.sort()
        first = int(torch.searchsorted(ascending.cumsum(0), least * float(ascending.sum())))
        active = order[first:].sort().values
        if len(active) > 0.6 * len(self.rows) or not self.rows.X.dtype == self.rows.dtype:
            return None
        free = replace(
            self,
            rows=Rows(self.rows.X[active], self.rows.dtype),
            y=self.y[active],
            share=self.share[:, active],
            omitted_slope=None,
            omitted_balance=None,
        )
        inside = free.at(point.weights, point.bias, torch.empty(0), balanced=False)
        return replace(free, omitted_slope=point.slope - inside.slope, omitted_balance=point.balance - inside.balance)

    def original(self, point: Point) -> tuple[Tensor, Tensor]:
        """Coefficients (n_classes, n_features) and intercepts (n_classes,) of features as they came, float64."""
        coef = self._in_features(point.weights).double()
        if self.basis.rotated:
            coef = coef @ self.basis.to_features.T
        return coef, point.bias - coef @ self.basis.mean

    def own(self, coef: Tensor, intercept: Tensor) -> tuple[Tensor, Tensor]:
        """The inverse of `original`: weights (n_classes, r) and biases (n_classes,)."""
        return (coef @ self.basis.to_features).to(self.rows.dtype), intercept + coef @ self.basis.mean

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
        return weights if self.basis.rotated else weights @ self.basis.to_features.T.to(weights.dtype)

    def _in_basis(self, slope: Tensor, balance: Tensor) -> Tensor:
        """A slope that was summed over rows as they are, centred, in the basis, and with that of omitted images."""
        if not self.basis.rotated:
            slope = slope - torch.outer(balance, self.basis.mean)
            slope = slope.to(self.rows.dtype) @ self.basis.to_features.to(self.rows.dtype)
        slope = slope.to(self.rows.dtype)
        return slope if self.omitted_slope is None else slope + self.omitted_slope

    def _logits(self, in_features: Tensor) -> Iterator[tuple[slice, Tensor]]:
        """Logits (n_classes, n_block) without biases, of centred features."""
        shift = 0.0 if self.basis.rotated else (in_features.double() @ self.basis.mean)[:, None].to(in_features.dtype)
        for block, x in self.rows.blocks(self.n_classes):
            yield block, in_features @ x.T - shift

    def _residuals(
        self, in_features: Tensor, bias: Tensor, kept: list[tuple[slice, Tensor]] | None = None
    ) -> Iterator[tuple[slice, Tensor]]:
        for block, residual, _ in self._passed(in_features, bias, kept):
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

    def _balance(
        self,
        in_features: Tensor,
        kept: list[tuple[slice, Tensor]] | None,
        bias: Tensor,
        curvature: Tensor,
        balanced: bool,
    ) -> tuple[Tensor, Tensor, Tensor, list[tuple[slice, Tensor]] | None]:
        """Newton's method on the biases: them, the loss (B, 1), the balance, and the residuals if there is room."""
        for step in range(BIAS_STEPS + 1):
            residuals = []
            loss, balance = self.chance.new_zeros(len(self.chance)), torch.zeros_like(bias)
            for block, residual, losses in self._passed(in_features, bias, kept):
                loss += losses
                balance += residual.sum(dim=1, dtype=torch.float64)
                if kept is not None:
                    residuals.append((block, residual))
            left = balance if self.omitted_balance is None else balance + self.omitted_balance
            stake = torch.minimum(loss, self.chance[:, 0]).clamp(min=SMALLEST_STAKE)
            done = (left.abs() <= BIAS_TOLERANCE * stake * self.frequency).all()
            if step == BIAS_STEPS or not (balanced and self.fit_intercept) or done:
                break
            bias = bias - self._bias_step(left, curvature)
        return bias, loss[:, None], balance, residuals if kept is not None else None

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

    def _spread(self, residual: Tensor, block: slice) -> Tensor:
        """Σ_k share p_k (1 − p_k) of each image, (n_block,)."""
        share = self.share[:, block]
        p = residual.abs()
        return (p * (1 - p / share)).sum(dim=0, dtype=torch.float64)
