"""The whole regularisation path by preconditioned L-BFGS with the biases eliminated (torch, CPU or CUDA).

What makes it fast, from strong to weak l2, in the order of what it saves:

- **Biases at their optimum.** Every evaluation solves for them on logits that it has anyway (`probes.engine.problem`).
- **Preconditioning** with the inverse of A ⊗ Σ + l2 I, A = Σ share (diag p − p pᵀ), Σ the covariance of the features,
  whose eigenbasis is computed once for the whole grid.
- **Curvature is carried along.** The pairs of L-BFGS are exact at the next l2 too, but for a known multiple of the step.
- **Extrapolation.** Optimal weights change smoothly with log l2: each value starts from the line through the last two.
- **Images that no longer matter rest.** Where regularisation is weak, most images hold next to no curvature. The
  problem is solved on the others, with the slope of those that rest held constant, and then checked on all.

Products are taken in float32, or in float64 where the features come so, are few, or the gap asked for is out of
float32's reach; sums over images are kept in float64. When the path is done every fit is certified in float64 on the
features as they came, and the few that float32 has left short of their gap are finished in float64. So the certificate
is that of `probes.objective`, whatever the arithmetic before it.

Memory, beside X as it came: a copy in the precision of the products where it is small (`Rows.prepare`), two matrices of
n n_classes values where they are (`LOGITS_BYTES`), and 512 MB at most of pairs (never fewer than ten).

Sources: Nocedal and Wright, *Numerical Optimization*, 2nd ed. (L-BFGS, algorithm 7.4); the Kronecker factor is Böhning's
(1992) bound with the curvature averaged instead of bounded; eliminating the biases is variable projection.
"""

from __future__ import annotations

import math
import time
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from probes.engine.certify import certify
from probes.engine.lbfgs import Memory
from probes.engine.losses import Loss, OneVsRest, Softmax
from probes.engine.problem import Basis, Point, Problem
from probes.engine.rows import Rows, moments
from probes.objective import (
    GAP_TOLERANCE,
    Certificate,
    Features,
    Labels,
    LogisticFit,
    Vector,
    among,
    chance_loss,
    check_data,
    class_frequencies,
    free_classes,
    shares,
    trivial_fit,
    with_limits,
)

LEAST_CURVATURE = 0.002  # share of the curvature that resting images may hold
INNER_GAP = 0.3  # of the gap allowed, to which the problem of the others is solved
STEEP = 0.9  # a step is too long when the slope at its end exceeds this part of the slope at its start
LINE_SEARCH_STEPS = 20
PATIENCE = 40  # iterations without a smaller gap after which the arithmetic has given all it can
ROTATE_BELOW = 300  # images per class: with fewer, rotating the features once is cheaper than weights every time
FLOAT32_GAP = 1e-6
FEW = 2**20  # values of X: float64 costs nothing that could be noticed


def fit_path(
    X: Features,
    y: Labels,
    *,
    l2s: Sequence[float],
    n_classes: int,
    sample_weight: Vector | None = None,
    fit_intercept: bool = True,
    gap_tolerance: float = GAP_TOLERANCE,
    max_iter: int = 1000,
    device: str = "auto",
) -> list[LogisticFit]:
    """Fit every l2 on one warm-started path; see `probes.solvers.FitPath`."""
    check_data(X, y, n_classes, sample_weight)
    free = free_classes(y, n_classes, fit_intercept)
    if free.size <= (y.ndim == 1):
        return [trivial_fit(X, y, l2, n_classes) for l2 in l2s]
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    data = _Data.of(X, among(y, free), free.size, sample_weight, fit_intercept, torch.device(device))
    exact = X.dtype == np.float64 or X.size <= FEW or gap_tolerance < FLOAT32_GAP
    strong_to_weak = sorted({float(l2) for l2 in l2s}, reverse=True)
    fits = {}
    for one in _solved(data, strong_to_weak, exact, gap_tolerance, max_iter):
        coef, intercept = with_limits(one.coef.cpu().numpy(), one.intercept.cpu().numpy(), y, n_classes, fit_intercept)
        converged = one.certificate.duality_gap <= gap_tolerance
        fits[one.l2] = LogisticFit(one.l2, coef, intercept, one.n_iter, converged, one.seconds, one.certificate)
    return [fits[float(l2)] for l2 in l2s]


@dataclass(frozen=True)
class _Fit:
    """A fit in coordinates of the features as they came, on the device."""

    l2: float
    coef: Tensor
    intercept: Tensor
    n_iter: int
    seconds: float
    certificate: Certificate


def _solved(data: _Data, l2s: Sequence[float], exact: bool, gap_tolerance: float, max_iter: int) -> list[_Fit]:
    """Go down the path, certify, and finish in float64 what float32 could not."""
    problem = data.problem(torch.float64 if exact else torch.float32)
    fits = _certified(data, problem, _Path(problem, gap_tolerance, max_iter).down(l2s))
    short = [i for i, fit in enumerate(fits) if fit.certificate.duality_gap > gap_tolerance and fit.n_iter < max_iter]
    if exact or not short:
        return fits
    problem = data.problem(torch.float64)
    path = _Path(problem, gap_tolerance, max_iter)
    finished = _certified(data, problem, [path.finish(fits[i]) for i in short])
    for i, fit in zip(short, finished, strict=True):
        fits[i] = replace(fit, n_iter=fit.n_iter + fits[i].n_iter, seconds=fit.seconds + fits[i].seconds)
    return fits


def _certified(data: _Data, problem: Problem, steps: Iterable[_Step]) -> list[_Fit]:
    """Certify fits together; each is charged an equal part of the time."""
    steps = list(steps)
    parameters = [problem.original(step.point) for step in steps]
    start = time.perf_counter()
    coefs, intercepts = [coef for coef, _ in parameters], [intercept for _, intercept in parameters]
    found = certify(problem, data.X, coefs, intercepts, [step.l2 for step in steps])
    each = (time.perf_counter() - start) / len(steps)
    return [
        _Fit(step.l2, coef, intercept, step.n_iter, step.seconds + each, certificate)
        for step, coef, intercept, certificate in zip(steps, coefs, intercepts, found, strict=True)
    ]


@dataclass(frozen=True)
class _Data:
    """Images on a device, and the problem that they pose in either precision."""

    X: Tensor
    y: Tensor
    share: Tensor
    n_classes: int
    loss: Loss
    frequency: Tensor
    chance: Tensor
    fit_intercept: bool

    @classmethod
    def of(
        cls,
        X: Features,
        y: Labels,
        n_classes: int,
        sample_weight: Vector | None,
        fit_intercept: bool,
        device: torch.device,
    ) -> _Data:
        """Put images on a device, without those that weigh nothing."""
        if sample_weight is not None and not sample_weight.all():
            kept = sample_weight.any(axis=1) if sample_weight.ndim == 2 else sample_weight > 0
            X, y, sample_weight = X[kept], y[kept], sample_weight[kept]
        loss: Loss = OneVsRest() if y.ndim == 2 else Softmax()
        frequency = class_frequencies(y, n_classes, sample_weight)
        chances = (
            [chance_loss(one, True, fit_intercept) for one in frequency[:, None]]
            if y.ndim == 2
            else [chance_loss(frequency, False, fit_intercept)]
        )
        return cls(
            X=_tensor(X).to(device),
            y=_tensor(y.T).to(device),
            share=_tensor(shares(sample_weight, y).T).to(device),
            n_classes=n_classes,
            loss=loss,
            frequency=_tensor(frequency).to(device),
            chance=torch.tensor(chances, dtype=torch.float64, device=device)[:, None],
            fit_intercept=fit_intercept,
        )

    def problem(self, dtype: torch.dtype) -> Problem:
        """The problem with products in `dtype`."""
        rows, basis = _with_basis(
            Rows.prepare(self.X, dtype), self.share.mean(dim=0), self.n_classes, centred=self.fit_intercept
        )
        return Problem(
            rows=rows,
            y=self.y,
            share=self.share.to(dtype),
            loss=self.loss,
            n_classes=self.n_classes,
            basis=basis,
            fit_intercept=self.fit_intercept,
            chance=self.chance,
            frequency=self.frequency,
        )


def _tensor(array: np.ndarray[Any, Any]) -> Tensor:
    """The array as a tensor, not copied: nothing here writes to it, though it may be mapped read-only."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "The given NumPy array is not writable", UserWarning)
        return torch.from_numpy(np.ascontiguousarray(array))


def _with_basis(rows: Rows, share: Tensor, n_classes: int, *, centred: bool) -> tuple[Rows, Basis]:
    """The eigenbasis of the features' covariance, and the rows, rotated into it where that pays."""
    n, d = rows.X.shape
    if n < d:
        return _in_row_space(rows, share, centred=centred)
    mean, moment = moments(rows, share, centred=centred)
    variances, vectors = torch.linalg.eigh(moment if rows.dtype == torch.float64 else moment.float())
    variances, vectors = variances.double().clamp(min=0), vectors.double()
    rotated = n < ROTATE_BELOW * n_classes and rows.X.dtype == rows.dtype
    if rotated:
        rotation = vectors.to(rows.dtype)
        rows = Rows(torch.cat([(x - mean.to(x.dtype)) @ rotation for _, x in rows.blocks(d)]), rows.dtype)
    return rows, Basis(vectors, variances, mean, rotated)


def _in_row_space(rows: Rows, share: Tensor, *, centred: bool) -> tuple[Rows, Basis]:
    """The same for fewer images than features: they span no more directions than they are."""
    X = rows.X.double()
    mean = share.double() @ X if centred else torch.zeros_like(X[0])
    row_space, triangle = torch.linalg.qr((X - mean).T)
    variances, vectors = torch.linalg.eigh(triangle @ (share.double()[:, None] * triangle.T))
    basis = Basis(row_space @ vectors, variances.clamp(min=0), mean, rotated=True)
    return Rows((triangle.T @ vectors).to(rows.dtype), rows.dtype), basis


def _always(allowed: Tensor, _: Point) -> Tensor:
    """A gap that does not depend on where one is: images that rest add nothing to what is at stake."""
    return allowed


@dataclass(frozen=True)
class _Step:
    """Where the path has come to at one value."""

    l2: float
    point: Point
    n_iter: int
    seconds: float


class _Path:
    """A walk from strong to weak l2 that remembers where it was and what it has learned of the curvature."""

    def __init__(self, problem: Problem, gap_tolerance: float, max_iter: int) -> None:
        self._problem = problem
        self._gap_tolerance = gap_tolerance
        self._max_iter = max_iter
        self._memory = Memory(problem.loss)

    def down(self, l2s: Sequence[float]) -> Iterator[_Step]:
        """Solve for each of the descending `l2s`."""
        before: _Step | None = None
        last: _Step | None = None
        for l2 in l2s:
            begin = time.perf_counter()
            if last:
                self._memory.move(l2 - last.l2)
            point, n_iter = self._solve(self._start(before, last, l2), l2)
            before, last = last, _Step(l2, replace(point, residuals=None), n_iter, time.perf_counter() - begin)
            yield last

    def finish(self, fit: _Fit) -> _Step:
        """Go on from a fit, whose coordinates are those of the features."""
        begin = time.perf_counter()
        problem = self._problem
        self._memory = Memory(problem.loss)
        start = problem.at(*problem.own(fit.coef, fit.intercept), self._chance_curvature())
        point, n_iter = self._solve(start, fit.l2)
        return _Step(fit.l2, replace(point, residuals=None), n_iter, time.perf_counter() - begin)

    def _start(self, before: _Step | None, last: _Step | None, l2: float) -> Point:
        """No weights; then the last solution; then the line through the last two, where that is better."""
        problem = self._problem
        if last is None:
            return problem.at(*problem.nothing(), self._chance_curvature())
        a = last.point
        if before is None:
            return problem.at(a.weights, a.bias, self._curvature)
        step = math.log(l2 / last.l2) / math.log(last.l2 / before.l2)
        guess = problem.at(
            a.weights + step * (a.weights - before.point.weights),
            a.bias + step * (a.bias - before.point.bias),
            self._curvature,
        )
        worse = guess.objective(l2, problem.loss) > a.objective(l2, problem.loss)
        if not worse.any():
            return guess
        weights = torch.where(worse, a.weights, guess.weights)
        return problem.at(weights, torch.where(worse[:, 0], a.bias, guess.bias), self._curvature)

    def _solve(self, point: Point, l2: float) -> tuple[Point, int]:
        """Minimise at one l2, on fewer images as long as that gets on, then on all."""
        problem, n_iter = self._problem, 0
        self._curvature = problem.curvature(point)
        while not self._done(point, l2) and n_iter < self._max_iter:
            fewer = problem.restricted(point, LEAST_CURVATURE)
            if fewer is None:
                break
            inner, used = self._minimise(
                fewer, point, l2, partial(_always, INNER_GAP * self._allowed(point, l2)), self._max_iter - n_iter
            )
            n_iter += used
            new = problem.at(inner.weights, inner.bias, self._curvature)
            if not used or (new.objective(l2, problem.loss) > point.objective(l2, problem.loss)).any():
                break
            point = new
        point, used = self._minimise(problem, point, l2, lambda at: self._allowed(at, l2), self._max_iter - n_iter)
        return point, n_iter + used

    def _allowed(self, point: Point, l2: float) -> Tensor:
        return self._gap_tolerance * self._problem.stake(point, l2)

    def _done(self, point: Point, l2: float) -> bool:
        return bool((self._problem.gap(point, l2) <= self._allowed(point, l2)).all())

    def _minimise(
        self, problem: Problem, point: Point, l2: float, allowed: Callable[[Point], Tensor], max_iter: int
    ) -> tuple[Point, int]:
        """L-BFGS from `point`; return where it ends and the iterations taken."""
        if problem is not self._problem:
            point = problem.at(point.weights, point.bias, self._curvature)
        precondition = problem.preconditioner(self._curvature, l2)
        best, waited = math.inf, 0
        for n_iter in range(max_iter):
            excess = problem.gap(point, l2) / allowed(point)
            worst = float(excess.max())
            best, waited = (worst, 0) if worst < best else (best, waited + 1)
            if worst <= 1 or waited == PATIENCE:
                return point, n_iter
            gradient = point.gradient(l2)
            # Problems that are solved rest: another step would be rounding.
            direction = -self._memory.inverse_hessian_times(gradient, precondition) * (excess > 1)
            new = self._line_search(problem, point, direction, l2)
            self._memory.add(new.weights - point.weights, new.gradient(l2) - gradient)
            point = new
        return point, max_iter

    def _line_search(self, problem: Problem, point: Point, direction: Tensor, l2: float) -> Point:
        """Go along `direction`, in each problem by 1, or to where the slope is no longer steep upwards."""
        dot = problem.loss.dot
        at_start = dot(point.gradient(l2), direction)
        step = torch.ones_like(at_start)
        weights, bias = point.weights, point.bias
        for _ in range(LINE_SEARCH_STEPS):
            point = problem.at(weights + step.to(weights.dtype) * direction, bias, self._curvature)
            slope = dot(point.gradient(l2), direction)
            too_far = slope > STEEP * at_start.abs()
            if not too_far.any():
                break
            # Zero of the chord, but not next to the start.
            step = torch.where(too_far, step * (at_start / (at_start - slope)).clamp(0.1, 0.9), step)
        return point

    def _chance_curvature(self) -> Tensor:
        f = self._problem.frequency
        return (f * (1 - f)).diag() if self._problem.loss.multilabel else f.diag() - torch.outer(f, f)
