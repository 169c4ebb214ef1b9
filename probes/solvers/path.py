"""The whole regularisation path by preconditioned L-BFGS with the biases eliminated (torch, CPU or CUDA).

The path goes from strong to weak l2. Four things make it fast; the first saves most:

- **Biases at their optimum.** Every evaluation computes the best biases from logits that it needs anyway
  (`probes.engine.problem`).
- **Preconditioning** with the inverse of A ⊗ Σ + l2 I, A = Σ share (diag p − p pᵀ), Σ the covariance of the features,
  whose eigenbasis is computed once for the whole grid.
- **One memory.** The pairs of L-BFGS are exact at every l2, but for a known multiple of the step, so that all values
  share them (`probes.engine.lbfgs`).
- **Extrapolation.** Optimal weights change smoothly with log l2: each value starts on the line through the last two.

Products are computed in float32; or in float64 if the features are float64, are few, or the requested gap is beyond
float32. Sums over images are kept in float64. At the end of the path every fit is certified in float64 on the original
features, and the few fits that float32 left short of their gap are finished in float64. The certificate is therefore
that of `probes.objective`, whatever the arithmetic before it.

Beside X, the solver needs memory for a copy of X in the precision of the products, if it is small (`Rows.prepare`); two
matrices of n n_classes values, if they are small (`LOGITS_BYTES`); and 32 MB of pairs (at least ten pairs).

Sources: Nocedal and Wright, *Numerical Optimization*, 2nd ed. (algorithm 7.4); the Kronecker factor is Böhning's (1992)
bound with the curvature averaged instead of bounded; eliminating the biases is variable projection.
"""

from __future__ import annotations

import math
import time
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from probes.engine.certify import certify
from probes.engine.lbfgs import Memory
from probes.engine.losses import Loss, OneVsRest, Softmax
from probes.engine.problem import Aim, Basis, Point, Problem
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
    weighing,
    with_limits,
)

OBJECTIVE_TOLERANCE = 2e-7  # relative distance from the minimum that is estimated, beside the gap that bounds it
ON_THE_WAY = 100.0  # times the tolerance: enough for a value between two of the grid
LOOSE = 4  # the error of the biases may be the excess of the point, divided by this
STEEP = 0.9  # a step is too long when the slope at its end exceeds this part of the slope at its start
LINE_SEARCH_STEPS = 20
PATIENCE = 40  # iterations without a smaller gap after which float32 can do no better
ROTATE_BELOW = 300  # images per class: with fewer, rotating the features once costs less than rotating all weights
FLOAT32_GAP = 1e-6  # float32 does not reach smaller gaps
FEW = 2**20  # values of X: with fewer, float64 takes no noticeable time


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
    """Fit every l2 on one warm-started path, as `probes.solvers.FitPath` describes."""
    check_data(X, y, n_classes, sample_weight)
    X, y, sample_weight = weighing(X, y, sample_weight)
    free = free_classes(y, n_classes, fit_intercept, sample_weight)
    if free.size <= (y.ndim == 1):
        return [trivial_fit(X, y, l2, n_classes, fit_intercept, sample_weight) for l2 in l2s]
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    weight = sample_weight[:, free] if sample_weight is not None and sample_weight.ndim == 2 else sample_weight
    data = _Data.of(X, among(y, free), free.size, weight, fit_intercept, torch.device(device))
    exact = X.dtype == np.float64 or X.size <= FEW or gap_tolerance < FLOAT32_GAP
    strong_to_weak = sorted({float(l2) for l2 in l2s}, reverse=True)
    fits = {}
    for one in _solved(data, strong_to_weak, exact, gap_tolerance, max_iter):
        parameters = one.coef.cpu().numpy(), one.intercept.cpu().numpy()
        coef, intercept = with_limits(*parameters, y, n_classes, fit_intercept, sample_weight)
        converged = one.certificate.duality_gap <= gap_tolerance
        fits[one.l2] = LogisticFit(one.l2, coef, intercept, one.n_iter, converged, one.seconds, one.certificate)
    return [fits[float(l2)] for l2 in l2s]


@dataclass(frozen=True)
class _Fit:
    """A fit in the coordinates of the original features, on the device."""

    l2: float
    coef: Tensor
    intercept: Tensor
    n_iter: int
    seconds: float
    certificate: Certificate


def _solved(data: _Data, l2s: Sequence[float], exact: bool, gap_tolerance: float, max_iter: int) -> list[_Fit]:
    """Fit the path, certify the fits, and finish in float64 those that float32 could not."""
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


def _certified(data: _Data, problem: Problem, steps: Sequence[_Step]) -> list[_Fit]:
    """Certify fits together. The seconds of each fit include an equal part of the time that this takes."""
    parameters = [problem.original(step.point) for step in steps]
    start = time.perf_counter()
    coefs, intercepts = [coef for coef, _ in parameters], [intercept for _, intercept in parameters]
    found = certify(problem, data.X, data.share, coefs, intercepts, [step.l2 for step in steps])
    each = (time.perf_counter() - start) / len(steps)
    return [
        _Fit(step.l2, coef, intercept, step.n_iter, step.seconds + each, certificate)
        for step, coef, intercept, certificate in zip(steps, coefs, intercepts, found, strict=True)
    ]


@dataclass(frozen=True)
class _Data:
    """Images on a device. They make one problem for each precision."""

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
        """Copy the images to a device."""
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
        """Return the problem whose products are computed in `dtype`."""
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
    """Return the array as a tensor without a copy. It may be mapped read-only, because nothing here writes to it."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "The given NumPy array is not writable", UserWarning)
        return torch.from_numpy(np.ascontiguousarray(array))


def _with_basis(rows: Rows, share: Tensor, n_classes: int, *, centred: bool) -> tuple[Rows, Basis]:
    """Return the eigenbasis of the features' covariance, and the rows, rotated into it where that saves time."""
    n, d = rows.X.shape
    if n < d:
        return _in_row_space(rows, share, centred=centred)
    mean, moment = moments(rows, share, centred=centred)
    variances, vectors = torch.linalg.eigh(moment if rows.dtype == torch.float64 else moment.float())
    variances, vectors = variances.double().clamp(min=0), vectors.to(rows.dtype)
    rotated = n < ROTATE_BELOW * n_classes and rows.X.dtype == rows.dtype
    if rotated:
        rows = Rows(torch.cat([(x - mean.to(x.dtype)) @ vectors for _, x in rows.blocks(d)]), rows.dtype)
    return rows, Basis(vectors, variances, mean, rotated)


def _in_row_space(rows: Rows, share: Tensor, *, centred: bool) -> tuple[Rows, Basis]:
    """Do the same for fewer images than features: n images span at most n directions."""
    X = rows.X.double()
    mean = share.double() @ X if centred else torch.zeros_like(X[0])
    row_space, triangle = torch.linalg.qr((X - mean).T)
    variances, vectors = torch.linalg.eigh(triangle @ (share.double()[:, None] * triangle.T))
    basis = Basis((row_space @ vectors).to(rows.dtype), variances.clamp(min=0), mean, rotated=True)
    return Rows((triangle.T @ vectors).to(rows.dtype), rows.dtype), basis


@dataclass(frozen=True)
class _Step:
    """The solution of the path at one value of l2."""

    l2: float
    point: Point
    n_iter: int
    seconds: float


def _kept(point: Point) -> Point:
    """Drop the arrays of a point that only its own iteration needs, because a point is kept for every value of l2."""
    return replace(point, residuals=None, slope=point.slope[:0])


class _Path:
    """The path from strong to weak l2. It keeps the last two solutions and the pairs of L-BFGS."""

    def __init__(self, problem: Problem, gap_tolerance: float, max_iter: int) -> None:
        self._problem = problem
        self._gap_tolerance = gap_tolerance
        self._max_iter = max_iter
        weights, _ = problem.nothing()
        self._memory = Memory(weights, problem.n_classes if problem.loss.multilabel else 1)
        self._last: list[tuple[float, Point]] = []
        f = problem.frequency
        self._curvature = (f * (1 - f)).diag() if problem.loss.multilabel else f.diag() - torch.outer(f, f)

    def down(self, l2s: Sequence[float]) -> list[_Step]:
        """Solve for each of the descending `l2s`. Steps from one value to the next are at most a decade long."""
        steps: list[_Step] = []
        begin, previous = time.perf_counter(), max(1.0, l2s[0])
        for l2 in l2s:
            strides = max(1, math.ceil(math.log10(previous / l2) - 1e-9))
            for stride in range(1, strides + 1):
                here = l2 if stride == strides else previous * (l2 / previous) ** (stride / strides)
                point, n_iter = self._minimise(self._start(here), here, 1 if stride == strides else ON_THE_WAY)
                self._last = [*self._last[-1:], (here, _kept(point))]
            stop = time.perf_counter()
            steps.append(_Step(l2, self._last[-1][1], n_iter, stop - begin))
            begin, previous = stop, l2
        return steps

    def finish(self, fit: _Fit) -> _Step:
        """Continue a fit, whose coordinates are those of the features, until it reaches the tolerances."""
        begin = time.perf_counter()
        point, n_iter = self._minimise(self._at(*self._problem.own(fit.coef, fit.intercept), fit.l2), fit.l2)
        return _Step(fit.l2, _kept(point), n_iter, time.perf_counter() - begin)

    def _at(self, weights: Tensor, bias: Tensor, l2: float, excess: float = 1.0) -> Point:
        """Evaluate the problem; less exactly while the excess is large."""
        aim = Aim(l2, self._gap_tolerance * max(1.0, excess / LOOSE))
        return self._problem.at(weights, bias, self._curvature, aim)

    def _start(self, l2: float) -> Point:
        """Return the start at l2: zero weights, then the last point, then the line through the last two if better."""
        if not self._last:
            return self._at(*self._problem.nothing(), l2)
        last_l2, last = self._last[-1]
        if len(self._last) == 1:
            return self._at(last.weights, last.bias, l2)
        before_l2, before = self._last[0]
        step = math.log(l2 / last_l2) / math.log(last_l2 / before_l2)
        weights = last.weights + step * (last.weights - before.weights)
        guess = self._at(weights, last.bias + step * (last.bias - before.bias), l2)
        loss = self._problem.loss
        worse = guess.objective(l2, loss) > last.objective(l2, loss)
        if not worse.any():
            return guess
        bias = torch.where(worse[:, 0], last.bias, guess.bias)
        return self._at(torch.where(worse, last.weights, weights), bias, l2)

    def _minimise(self, point: Point, l2: float, slack: float = 1.0) -> tuple[Point, int]:
        """Run L-BFGS from `point` until the excess is at most `slack`; return the last point and the iterations."""
        patience = PATIENCE if point.weights.dtype == torch.float32 else self._max_iter
        self._curvature = self._problem.curvature(point)
        precondition = self._problem.preconditioner(self._curvature, l2)
        best, waited = math.inf, 0
        for n_iter in range(self._max_iter):
            direction = -self._memory.inverse_hessian_times(point.gradient(l2), l2, precondition)
            excess = self._excess(point, direction, l2) / slack
            worst = float(excess.max())
            best, waited = (worst, 0) if worst < best else (best, waited + 1)
            if worst <= 1 or waited == patience:
                return point, n_iter
            # A problem that is solved makes no more steps: they would be rounding errors.
            new = self._line_search(point, direction * (excess > 1), l2, worst)
            self._memory.add(new.weights - point.weights, new.slope - point.slope)
            point = new
        return point, self._max_iter

    def _excess(self, point: Point, direction: Tensor, l2: float) -> Tensor:
        """Return the distance of a point from the optimum over the tolerance, (B, 1); at 1 a problem is solved."""
        problem = self._problem
        gap = problem.gap(point, l2) / (self._gap_tolerance * problem.stake(point, l2))
        # Near the optimum, the objective can still fall by half of the first-order gain of Newton's step.
        left = -problem.loss.dot(point.gradient(l2), direction) / 2
        return torch.maximum(gap, left / (OBJECTIVE_TOLERANCE * point.objective(l2, problem.loss)))

    def _line_search(self, point: Point, direction: Tensor, l2: float, excess: float) -> Point:
        """Step along `direction`, in each problem by 1, or less if the slope at the end is steep upwards."""
        dot = self._problem.loss.dot
        at_start = dot(point.gradient(l2), direction)
        step = torch.ones_like(at_start)
        for _ in range(LINE_SEARCH_STEPS):
            new = self._at(point.weights + step.to(direction.dtype) * direction, point.bias, l2, excess)
            slope = dot(new.gradient(l2), direction)
            too_far = slope > STEEP * at_start.abs()
            if not too_far.any():
                break
            # Zero of the chord, but neither at the start nor at the end.
            step = torch.where(too_far, step * (at_start / (at_start - slope)).clamp(0.1, 0.9), step)
        return new
