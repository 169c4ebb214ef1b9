"""The whole regularisation path by preconditioned L-BFGS with the biases eliminated (torch, CPU or CUDA).

What makes it fast, from strong to weak l2, in the order of what it saves:

- **Biases at their optimum.** Every evaluation solves for them on logits that it has anyway (`probes.engine.problem`).
- **Preconditioning** with the inverse of A ⊗ Σ + l2 I, A = Σ share (diag p − p pᵀ), Σ the covariance of the features,
  whose eigenbasis is computed once for the whole grid.
- **One memory.** The pairs of L-BFGS are exact at every l2, but for a known multiple of the step, so all values share
  them (`probes.engine.lbfgs`).
- **Extrapolation.** Optimal weights change smoothly with log l2: each value starts from the line through the last two.
- **Several values at once.** With few classes a product takes as long as reading the features does, so a few values
  are on their way together (`_Path`).

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
from collections import deque
from collections.abc import Generator, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

import numpy as np
import torch
from torch import Tensor

from probes.engine.certify import certify
from probes.engine.lbfgs import Memory
from probes.engine.losses import Loss, OneVsRest, Softmax
from probes.engine.problem import Basis, Point, Problem, Wish
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

OBJECTIVE_TOLERANCE = 1e-6  # relative: what is estimated to be left, beside what the gap bounds
CLOSE = 100  # times the gap allowed: near enough for the next value to set out
COLUMNS = 32  # classes times values on their way at once: what a product takes hardly longer for than for fewer
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


def _certified(data: _Data, problem: Problem, steps: Sequence[_Step]) -> list[_Fit]:
    """Certify fits together; each is charged an equal part of the time."""
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
    variances, vectors = variances.double().clamp(min=0), vectors.to(rows.dtype)
    rotated = n < ROTATE_BELOW * n_classes and rows.X.dtype == rows.dtype
    if rotated:
        rows = Rows(torch.cat([(x - mean.to(x.dtype)) @ vectors for _, x in rows.blocks(d)]), rows.dtype)
    return rows, Basis(vectors, variances, mean, rotated)


def _in_row_space(rows: Rows, share: Tensor, *, centred: bool) -> tuple[Rows, Basis]:
    """The same for fewer images than features: they span no more directions than they are."""
    X = rows.X.double()
    mean = share.double() @ X if centred else torch.zeros_like(X[0])
    row_space, triangle = torch.linalg.qr((X - mean).T)
    variances, vectors = torch.linalg.eigh(triangle @ (share.double()[:, None] * triangle.T))
    basis = Basis((row_space @ vectors).to(rows.dtype), variances.clamp(min=0), mean, rotated=True)
    return Rows((triangle.T @ vectors).to(rows.dtype), rows.dtype), basis


@dataclass(frozen=True)
class _Step:
    """Where the path has come to at one value."""

    l2: float
    point: Point
    n_iter: int
    seconds: float


Solving: TypeAlias = Generator[Wish, Point, tuple[Point, int]]
"""A minimisation that asks for evaluations, and ends with a point and the iterations taken."""


class _Path:
    """A walk from strong to weak l2.

    A few values are on their way at once: the next sets out as soon as the one before has come close, and the products
    of all with the features are taken together. What one learns of the curvature serves all.
    """

    def __init__(self, problem: Problem, gap_tolerance: float, max_iter: int) -> None:
        self._problem = problem
        self._gap_tolerance = gap_tolerance
        self._max_iter = max_iter
        weights, _ = problem.nothing()
        self._memory = Memory(weights, problem.n_classes if problem.loss.multilabel else 1)
        f = problem.frequency
        self._curvature = (f * (1 - f)).diag() if problem.loss.multilabel else f.diag() - torch.outer(f, f)
        self._reached: dict[float, tuple[Point, float]] = {}  # l2 -> where it is, and its gap over the one allowed

    def down(self, l2s: Sequence[float]) -> list[_Step]:
        """Solve for each of the descending `l2s`."""
        waiting = deque(l2s)
        window = max(1, COLUMNS // self._problem.n_classes)
        under_way: dict[float, tuple[Solving, Wish]] = {}
        steps: dict[float, _Step] = {}
        last = math.inf
        clock = time.perf_counter()
        while waiting or under_way:
            if waiting and len(under_way) < window and (last == math.inf or self._close(last)):
                last = waiting.popleft()
                solving = self._solve(last)
                under_way[last] = solving, next(solving)
                continue
            points = self._problem.at([wish for _, wish in under_way.values()])
            for (l2, (solving, _)), point in zip(list(under_way.items()), points, strict=True):
                try:
                    under_way[l2] = solving, solving.send(point)
                except StopIteration as end:
                    del under_way[l2]
                    stop = time.perf_counter()
                    steps[l2] = _Step(l2, replace(end.value[0], residuals=None), end.value[1], stop - clock)
                    clock = stop
        return [steps[l2] for l2 in l2s]

    def finish(self, fit: _Fit) -> _Step:
        """Go on from a fit, whose coordinates are those of the features."""
        begin = time.perf_counter()
        wish = Wish(*self._problem.own(fit.coef, fit.intercept), self._curvature, self._gap(fit.l2))
        solving = self._minimise(self._problem.at([wish])[0], fit.l2)
        point: Point | None = None
        while True:
            try:
                wish = next(solving) if point is None else solving.send(point)
                (point,) = self._problem.at([wish])
            except StopIteration as end:
                return _Step(fit.l2, replace(end.value[0], residuals=None), end.value[1], time.perf_counter() - begin)

    def _close(self, l2: float) -> bool:
        return l2 in self._reached and self._reached[l2][1] <= CLOSE

    def _gap(self, l2: float) -> float:
        return 2 * l2 * self._gap_tolerance

    def _solve(self, l2: float) -> Solving:
        point = yield from self._start(l2)
        return (yield from self._minimise(point, l2))

    def _start(self, l2: float) -> Generator[Wish, Point, Point]:
        """No weights; then the last point; then the line through the last two, where that is better."""
        loss, gap = self._problem.loss, self._gap(l2)
        if not self._reached:
            return (yield Wish(*self._problem.nothing(), self._curvature, gap))
        *_, last_l2 = self._reached
        last = self._reached[last_l2][0]
        if len(self._reached) == 1:
            return (yield Wish(last.weights, last.bias, self._curvature, gap))
        *_, before_l2, _ = self._reached
        before = self._reached[before_l2][0]
        step = math.log(l2 / last_l2) / math.log(last_l2 / before_l2)
        weights = last.weights + step * (last.weights - before.weights)
        guess = yield Wish(weights, last.bias + step * (last.bias - before.bias), self._curvature, gap)
        worse = guess.objective(l2, loss) > last.objective(l2, loss)
        if not worse.any():
            return guess
        bias = torch.where(worse[:, 0], last.bias, guess.bias)
        return (yield Wish(torch.where(worse, last.weights, weights), bias, self._curvature, gap))

    def _minimise(self, point: Point, l2: float) -> Solving:
        """L-BFGS from `point`."""
        problem = self._problem
        curvature = self._curvature = problem.curvature(point)
        precondition = problem.preconditioner(curvature, l2)
        best, waited = math.inf, 0
        for n_iter in range(self._max_iter):
            gradient = point.gradient(l2)
            direction = -self._memory.inverse_hessian_times(gradient, l2, precondition)
            excess = self._excess(point, direction, l2)
            worst = float(excess.max())
            self._reached[l2] = replace(point, residuals=None), worst
            best, waited = (worst, 0) if worst < best else (best, waited + 1)
            if worst <= 1 or waited == PATIENCE:
                return point, n_iter
            # Problems that are solved rest: another step would be rounding.
            new = yield from self._line_search(point, direction * (excess > 1), l2, curvature)
            self._memory.add(new.weights - point.weights, new.slope - point.slope)
            point = new
        return point, self._max_iter

    def _excess(self, point: Point, direction: Tensor, l2: float) -> Tensor:
        """How far a point is from being good enough, (B, 1); 1 is enough."""
        problem = self._problem
        gap = problem.gap(point, l2) / (self._gap_tolerance * problem.stake(point, l2))
        # Half of what Newton's step wins at first order is what there is to win, as long as it is little.
        left = -problem.loss.dot(point.gradient(l2), direction) / 2
        return torch.maximum(gap, left / (OBJECTIVE_TOLERANCE * point.objective(l2, problem.loss)))

    def _line_search(
        self, point: Point, direction: Tensor, l2: float, curvature: Tensor
    ) -> Generator[Wish, Point, Point]:
        """Go along `direction`, in each problem by 1, or to where the slope is no longer steep upwards."""
        dot = self._problem.loss.dot
        at_start = dot(point.gradient(l2), direction)
        step = torch.ones_like(at_start)
        for _ in range(LINE_SEARCH_STEPS):
            weights = point.weights + step.to(direction.dtype) * direction
            new = yield Wish(weights, point.bias, curvature, self._gap(l2))
            slope = dot(new.gradient(l2), direction)
            too_far = slope > STEEP * at_start.abs()
            if not too_far.any():
                break
            # Zero of the chord, but neither at the start nor at the end.
            step = torch.where(too_far, step * (at_start / (at_start - slope)).clamp(0.1, 0.9), step)
        return new
