"""The whole regularisation path by preconditioned L-BFGS in the eigenbasis of the features (torch, CPU or CUDA).

What makes it fast, beside warm starts from strong to weak l2:

- **Rotation.** Features are centred and rotated once to the eigenbasis of Σ = XᵀX/n, within the row space when n <
  n_features. The penalty does not notice. The bias becomes one more feature, constant and unpenalised, orthogonal to
  the rest.
- **Preconditioning.** There the Hessian is close to A ⊗ diag(σ) + l2 I with A = mean(diag p − p pᵀ), and its inverse
  costs two small products with the eigenvectors of A (multi-label: A is diagonal). It starts the L-BFGS recursion in
  place of a multiple of the identity.
- **Extrapolation.** Optimal weights change smoothly with log l2, so each value starts from the line through the last
  two solutions.
- **One product forth, one back per iteration.** The logits of a direction are computed once, and the line search, the
  loss and the next residuals are elementwise from there.

The duality gap of `probes.objective` says when to stop, for one more elementwise pass. Float64 throughout: at the
weak end the gap asks for gradients of 1e-12. Memory is one copy of X in float64, four while it is being rotated, and
about ten matrices of (n, n_classes).

Sources: Nocedal and Wright, *Numerical Optimization*, 2nd ed., algorithm 7.4 (L-BFGS); the Kronecker factor is
Böhning's (1992) bound with the curvature averaged instead of bounded.
"""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from probes.objective import (
    GAP_TOLERANCE,
    SMALLEST_STAKE,
    Certificate,
    Features,
    Labels,
    LogisticFit,
    Vector,
    among,
    check_data,
    free_classes,
    mixture,
    relative,
    with_limits,
)

MEMORY = 10  # pairs that L-BFGS keeps; more does not pay with this preconditioner
REFRESH = 5  # iterations between two estimates of A
LINE_SEARCH_STEPS = 20


def fit_path(
    X: Features,
    y: Labels,
    *,
    l2s: Sequence[float],
    n_classes: int,
    gap_tolerance: float = GAP_TOLERANCE,
    max_iter: int = 1000,
    device: str = "auto",
) -> list[LogisticFit]:
    """Fit every l2 on one warm-started path; see `probes.solvers.FitPath`."""
    check_data(X, y, n_classes)
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    free = free_classes(y, n_classes)
    data = _Data.prepare(X, among(y, free), free.size, torch.device(device))
    fits = {}
    start = time.perf_counter()
    strong_to_weak = sorted({float(l2) for l2 in l2s}, reverse=True)
    for l2, point, n_iter in _solutions(data, strong_to_weak, gap_tolerance, max_iter):
        coef, intercept = with_limits(*data.original(point.weights), y, n_classes)
        evidence = data.certificate(point, l2)
        stop = time.perf_counter()
        fits[l2] = LogisticFit(
            l2=l2,
            coef=coef,
            intercept=intercept,
            n_iter=n_iter,
            converged=evidence.duality_gap <= gap_tolerance,
            seconds=stop - start,
            certificate=evidence,
        )
        start = stop
    return [fits[float(l2)] for l2 in l2s]


class _Loss(Protocol):
    """A loss over (n, n_classes) logits: B separate problems that share the features, 1 or n_classes."""

    multilabel: bool
    labels: Tensor  # (n, n_classes) float64 indicators

    def __call__(self, logits: Tensor) -> tuple[Tensor, Tensor]:
        """Mean losses (B,) and residuals p − e (n, n_classes), to full relative precision."""

    def link(self, frequency: Tensor) -> Tensor:
        """Logits (n_classes,) that predict these class frequencies."""

    def chance(self, frequency: Tensor) -> Tensor:
        """Loss (B,) of predicting these class frequencies for every image."""

    def dot(self, a: Tensor, b: Tensor) -> Tensor:
        """Inner products (B,) of two matrices whose columns are classes."""

    def divergence(self, logits: Tensor, epsilon: Tensor, t: Tensor) -> Tensor:
        """Mean KL(q || p), (B,), for q = (1 − ε) p + ε t."""

    def curvature(self, residuals: Tensor) -> tuple[Tensor, Tensor]:
        """Eigenvalues (n_classes,) and eigenvectors (n_classes, n_classes) of A."""


class _Softmax:
    """Cross-entropy of one label per image: a single problem."""

    multilabel = False

    def __init__(self, y: Tensor, n_classes: int) -> None:
        self.index = y[:, None]
        self.labels = torch.zeros(len(y), n_classes, dtype=torch.float64, device=y.device).scatter_(1, self.index, 1.0)

    def __call__(self, logits: Tensor) -> tuple[Tensor, Tensor]:
        # The torch form of objective.losses_and_residuals, in place.
        residuals = logits - logits.gather(1, self.index)
        shift = residuals.amax(dim=1, keepdim=True)
        residuals.sub_(shift).exp_().scatter_(1, self.index, 0.0)
        odds = residuals.sum(dim=1, keepdim=True)
        normaliser = odds + (-shift).exp()
        residuals.div_(normaliser).scatter_(1, self.index, -odds / normaliser)
        losses = torch.where(shift > 0, shift + normaliser.log(), odds.log1p())
        return losses.mean(dim=0), residuals

    def link(self, frequency: Tensor) -> Tensor:
        logits = frequency.log()
        return logits - logits.mean()

    def chance(self, frequency: Tensor) -> Tensor:
        loss: Tensor = torch.special.entr(frequency).sum()[None]
        return loss

    def dot(self, a: Tensor, b: Tensor) -> Tensor:
        return torch.dot(a.reshape(-1), b.reshape(-1))[None]

    def divergence(self, logits: Tensor, epsilon: Tensor, t: Tensor) -> Tensor:
        return _divergence(logits.log_softmax(dim=1), epsilon, t).sum(dim=1, keepdim=True).mean(dim=0)

    def curvature(self, residuals: Tensor) -> tuple[Tensor, Tensor]:
        p = residuals + self.labels
        coupling = (p.T @ p / len(p)).fill_diagonal_(0.0)
        # Rows of A add up to nothing. So computed, confident classes keep their digits, which p − p² would not.
        eigenvalues, eigenvectors = torch.linalg.eigh(coupling.sum(dim=1).diag() - coupling)
        return eigenvalues, eigenvectors


class _OneVsRest:
    """Binary cross-entropies: a separate problem per class."""

    multilabel = True

    def __init__(self, y: Tensor) -> None:
        self.labels = y.double()
        self.sign = 1 - 2 * self.labels

    def __call__(self, logits: Tensor) -> tuple[Tensor, Tensor]:
        margins = self.sign * logits
        return torch.logaddexp(margins, torch.zeros_like(margins)).mean(dim=0), self.sign * margins.sigmoid()

    def link(self, frequency: Tensor) -> Tensor:
        return frequency.logit()

    def chance(self, frequency: Tensor) -> Tensor:
        losses: Tensor = torch.special.entr(frequency) + torch.special.entr(1 - frequency)
        return losses

    def dot(self, a: Tensor, b: Tensor) -> Tensor:
        return (a * b).sum(dim=0)

    def divergence(self, logits: Tensor, epsilon: Tensor, t: Tensor) -> Tensor:
        yes = _divergence(torch.nn.functional.logsigmoid(logits), epsilon, t)
        no = _divergence(torch.nn.functional.logsigmoid(-logits), epsilon, 1 - t)
        return (yes + no).mean(dim=0)

    def curvature(self, residuals: Tensor) -> tuple[Tensor, Tensor]:
        mistake = residuals.abs()
        eigenvalues = (mistake * (1 - mistake)).mean(dim=0)
        return eigenvalues, torch.eye(len(eigenvalues), dtype=eigenvalues.dtype, device=eigenvalues.device)


def _divergence(log_p: Tensor, epsilon: Tensor, t: Tensor) -> Tensor:
    """The share of each outcome in KL(q || p), q = (1 − ε) p + ε t, written so that no share is negative."""
    p = log_p.exp()
    change = epsilon * (t - p)
    q = p + change
    shares: Tensor = torch.special.xlogy(q, q) - q * log_p - change
    return shares


@dataclass(frozen=True)
class _Point:
    """Parameters with what one pass over the images says of them."""

    weights: Tensor  # (r + 1, n_classes), the bias last
    logits: Tensor  # (n, n_classes)
    loss: Tensor  # (B,)
    residuals: Tensor  # (n, n_classes)
    slope: Tensor  # (r + 1, n_classes), gradient of the loss


@dataclass(frozen=True)
class _Data:
    """Images in the basis that the solver works in, with the bias as last feature; r = min(n, n_features)."""

    X: Tensor  # (n, r + 1)
    eigenvalues: Tensor  # (r + 1, 1) of XᵀX/n
    penalised: Tensor  # (r + 1, 1), 1 but for the bias
    loss: _Loss
    class_sums: Tensor  # (r + 1, n_classes), mean of x eᵀ; the class frequencies last
    chance: Tensor  # (B,), objective of no weights and the best biases
    basis: Tensor  # (n_features, r)
    centre: Tensor  # (n_features,)

    @classmethod
    def prepare(cls, X: Features, y: Labels, n_classes: int, device: torch.device) -> _Data:
        """Centre, rotate, and put the bias beside."""
        features = torch.from_numpy(np.ascontiguousarray(X)).to(device).double()
        labels = torch.from_numpy(y).to(device)
        loss: _Loss = _OneVsRest(labels) if labels.ndim == 2 else _Softmax(labels, n_classes)
        centre = features.mean(dim=0)
        basis, eigenvalues, rotated = _eigenbasis(features - centre)
        with_bias = torch.cat([rotated, rotated.new_ones(len(rotated), 1)], dim=1)
        return cls(
            X=with_bias,
            eigenvalues=torch.cat([eigenvalues, eigenvalues.new_ones(1)])[:, None],
            penalised=torch.cat([torch.ones_like(eigenvalues), eigenvalues.new_zeros(1)])[:, None],
            loss=loss,
            class_sums=with_bias.T @ loss.labels / len(labels),
            chance=loss.chance(loss.labels.mean(dim=0)),
            basis=basis,
            centre=centre,
        )

    def original(self, weights: Tensor) -> tuple[Vector, Vector]:
        """Coefficients (n_classes, n_features) and intercepts (n_classes,) on the features as they came."""
        coef = (self.basis @ weights[:-1]).T
        return coef.cpu().numpy(), (weights[-1] - coef @ self.centre).cpu().numpy()

    def start(self) -> _Point:
        """The solution at infinite l2: no weights, and biases that predict the class frequencies."""
        weights = torch.zeros_like(self.class_sums)
        weights[-1] = self.loss.link(self.class_sums[-1])
        return self.at(weights, weights[-1].expand(len(self.X), -1))

    def at(self, weights: Tensor, logits: Tensor) -> _Point:
        """Evaluate at `weights`, whose logits are known."""
        loss, residuals = self.loss(logits)
        return _Point(weights, logits, loss, residuals, self.X.T @ residuals / len(residuals))

    def gradient(self, point: _Point, l2: float) -> Tensor:
        """Gradient (r + 1, n_classes) of the objective."""
        return point.slope + l2 * self.penalised * point.weights

    def objective(self, weights: Tensor, loss: Tensor, l2: float) -> Tensor:
        """Objective (B,) of each separate problem."""
        return loss + l2 / 2 * self.loss.dot(self.penalised * weights, weights)

    def gap(self, point: _Point, l2: float) -> Tensor:
        """Duality gap (B,) of each separate problem, in nats; see `probes.objective`."""
        residual, frequency = point.slope[-1], self.class_sums[-1]  # the bias has the constant feature 1
        epsilon, t = (
            torch.from_numpy(array).to(self.X.device)
            for array in mixture(residual.cpu().numpy(), frequency.cpu().numpy(), multilabel=self.loss.multilabel)
        )
        dual_residual = l2 * point.weights + (1 - epsilon) * point.slope - epsilon * self.class_sums
        squared = self.loss.dot(self.penalised * dual_residual, dual_residual)
        return self.loss.divergence(point.logits, epsilon, t) + squared / (2 * l2)

    def stake(self, point: _Point, l2: float) -> Tensor:
        """What the gap of each separate problem is measured by, (B,); `probes.objective.stake`."""
        objective = self.objective(point.weights, point.loss, l2)
        return torch.maximum(torch.minimum(objective, self.chance - objective), SMALLEST_STAKE * self.chance)

    def certificate(self, point: _Point, l2: float) -> Certificate:
        """What `probes.objective.certificate` says of `point`, from what is known already."""
        objective = float(self.objective(point.weights, point.loss, l2).sum())
        gradient = self.gradient(point, l2)
        # Back to features that are not centred, where a residual that is left moves the weights' gradient too.
        norm = torch.hypot(
            (self.basis @ gradient[:-1] + self.centre[:, None] * gradient[-1]).norm(), gradient[-1].norm()
        )
        gap = float(self.gap(point, l2).sum())
        return Certificate(objective, float(norm), relative(gap, objective, float(self.chance.sum())))


def _eigenbasis(X: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Eigenvectors (n_features, r) of XᵀX/n that span the rows of X, its eigenvalues (r,), and X in that basis."""
    n, n_features = X.shape
    if n < n_features:
        row_space, triangle = torch.linalg.qr(X.T)
        rotation, eigenvalues, rotated = _eigenbasis(triangle.T)
        return row_space @ rotation, eigenvalues, rotated
    eigenvalues, rotation = torch.linalg.eigh(X.T @ X / n)
    return rotation, eigenvalues.clamp(min=0), X @ rotation


def _solutions(
    data: _Data, l2s: Sequence[float], gap_tolerance: float, max_iter: int
) -> Iterator[tuple[float, _Point, int]]:
    """Solve for each of the descending `l2s`: the value, its solution and the iterations it took."""
    before: tuple[float, _Point] | None = None
    last: tuple[float, _Point] | None = None
    for l2 in l2s:
        start = last[1] if last else data.start()
        if before and last:
            start = _extrapolated(data, before, last, l2)
        point, n_iter = _minimise(data, start, l2, gap_tolerance, max_iter)
        before, last = last, (l2, point)
        yield l2, point, n_iter


def _extrapolated(data: _Data, before: tuple[float, _Point], last: tuple[float, _Point], l2: float) -> _Point:
    """The point at `l2` on the line through two solutions, for each problem where it beats the last of them."""
    step = math.log(l2 / last[0]) / math.log(last[0] / before[0])
    a, b = before[1], last[1]
    weights = b.weights + step * (b.weights - a.weights)
    logits = b.logits + step * (b.logits - a.logits)
    loss, _ = data.loss(logits)
    better = data.objective(weights, loss, l2) < data.objective(b.weights, b.loss, l2)
    return data.at(torch.where(better, weights, b.weights), torch.where(better, logits, b.logits))


@dataclass(frozen=True)
class _Pair:
    """A step and the change of the gradient along it, as L-BFGS remembers them."""

    step: Tensor  # (r + 1, n_classes)
    change: Tensor  # (r + 1, n_classes)
    rho: Tensor  # (B,), 1 / (step · change); 0 drops the pair where rounding has eaten the curvature


def _minimise(data: _Data, point: _Point, l2: float, gap_tolerance: float, max_iter: int) -> tuple[_Point, int]:
    """L-BFGS from `point`; return where it ends and the iterations taken."""
    pairs: deque[_Pair] = deque(maxlen=MEMORY)
    for n_iter in range(max_iter):
        gap, allowed = data.gap(point, l2), gap_tolerance * data.stake(point, l2)
        if bool((gap <= allowed).all()):
            return point, n_iter
        if n_iter % REFRESH == 0:
            precondition = _preconditioner(data, point, l2)
        gradient = data.gradient(point, l2)
        # Problems that are solved rest: another step would be rounding.
        direction = -_inverse_hessian_times(gradient, pairs, precondition, data.loss.dot) * (gap > allowed)
        new = _line_search(data, point, direction, l2)
        pairs.append(_pair(new.weights - point.weights, data.gradient(new, l2) - gradient, data.loss.dot))
        point = new
    return point, max_iter


def _preconditioner(data: _Data, point: _Point, l2: float) -> Callable[[Tensor], Tensor]:
    """Inverse of A ⊗ Σ + l2 I at `point`, as a function of (r + 1, n_classes)."""
    eigenvalues, eigenvectors = data.loss.curvature(point.residuals)
    # Adding one number to all biases changes nothing: A has an eigenvalue of 0, and no penalty lifts it there.
    eigenvalues = eigenvalues.clamp(min=1e-7 * eigenvalues.max())
    scale = 1 / (data.eigenvalues * eigenvalues + l2 * data.penalised)
    return lambda gradient: ((gradient @ eigenvectors) * scale) @ eigenvectors.T


def _inverse_hessian_times(
    gradient: Tensor,
    pairs: deque[_Pair],
    precondition: Callable[[Tensor], Tensor],
    dot: Callable[[Tensor, Tensor], Tensor],
) -> Tensor:
    """The two-loop recursion."""
    product = gradient.clone()
    weights = []
    for pair in reversed(pairs):
        weights.append(pair.rho * dot(pair.step, product))
        product -= weights[-1] * pair.change
    product = precondition(product)
    for pair, weight in zip(pairs, reversed(weights), strict=True):
        product += (weight - pair.rho * dot(pair.change, product)) * pair.step
    return product


def _pair(step: Tensor, change: Tensor, dot: Callable[[Tensor, Tensor], Tensor]) -> _Pair:
    curvature = dot(step, change)
    return _Pair(step, change, torch.where(curvature > 0, 1 / curvature, 0.0))


def _line_search(data: _Data, point: _Point, direction: Tensor, l2: float) -> _Point:
    """Go along `direction`, in each problem to where the slope has halved; all steps tried share one product."""
    forward = data.X @ direction
    dot, penalty = data.loss.dot, l2 * data.penalised * direction
    at_start = dot(data.gradient(point, l2), direction)
    linear, quadratic = dot(penalty, point.weights), dot(penalty, direction)
    step = torch.ones_like(at_start)
    bracket = _Bracket.above(at_start)
    for _ in range(LINE_SEARCH_STEPS):
        logits = point.logits + step * forward
        _, residuals = data.loss(logits)
        slope = dot(residuals, forward) / len(forward) + linear + step * quadratic
        settled = slope.abs() <= 0.5 * at_start.abs()
        if settled.all():
            break
        bracket = bracket.narrowed(step, slope)
        step = torch.where(settled, step, bracket.guess())
    return data.at(point.weights + step * direction, point.logits + step * forward)


@dataclass(frozen=True)
class _Bracket:
    """Steps (B,) between which a slope changes its sign, as far as is known."""

    low: Tensor
    high: Tensor
    slope_low: Tensor
    slope_high: Tensor

    @classmethod
    def above(cls, slope: Tensor) -> _Bracket:
        """Anything from 0, where the slope is `slope`."""
        unknown = torch.full_like(slope, torch.inf)
        return cls(torch.zeros_like(slope), unknown, slope, unknown)

    def narrowed(self, step: Tensor, slope: Tensor) -> _Bracket:
        """Take in what the slope is at `step`."""
        too_far = slope > 0
        return _Bracket(
            low=torch.where(too_far, self.low, step),
            high=torch.where(too_far, step, self.high),
            slope_low=torch.where(too_far, self.slope_low, slope),
            slope_high=torch.where(too_far, slope, self.slope_high),
        )

    def guess(self) -> Tensor:
        """Zero of the chord, at least a tenth away from either end; four times as far while there is no upper end."""
        width = self.high - self.low
        chord = self.low - self.slope_low * width / (self.slope_high - self.slope_low)
        inside = chord.clamp(self.low + 0.1 * width, self.high - 0.1 * width)
        return torch.where(self.high.isfinite(), inside, 4 * self.low)
