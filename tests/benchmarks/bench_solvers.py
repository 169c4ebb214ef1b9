"""Seconds for the 45-value sweep: the path solver against scikit-learn's L-BFGS, in one process, alternating.

    python tests/benchmarks/bench_solvers.py --n 1000 --dim 1280 --classes 10 --repeats 3

The features are synthetic: 128 latent Gaussian dimensions with a mean per class, mixed with decaying strength, plus
noise, through a ReLU; float32. Sides:

- `path` and `sklearn`: the two solvers of probestore, both to the same certified gap;
- `sklearn-cold` (every value from nothing) and `sklearn-warm` (each from the stronger one before): scikit-learn alone
  with tol 1e-4 and max_iter 1000, as linear-probe evaluations commonly run it.

Seconds mean little without the gaps beside them: where classes separate, scikit-learn's tolerance is met before it has
begun.
"""

# ruff: noqa: T201 - a script that prints a table

from __future__ import annotations

import argparse
import time
import warnings
from collections.abc import Callable, Iterator
from functools import partial
from statistics import median

import numpy as np
import torch
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from threadpoolctl import threadpool_limits

from probes import GAP_TOLERANCE, L2_GRID, certificate, solvers

TOL, MAX_ITER = 1e-4, 1000
Parameters = tuple[float, np.ndarray, np.ndarray]


def synthetic(n: int, dim: int, classes: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Features (n, dim) and labels (n,)."""
    rng = np.random.default_rng(seed)
    rank = 128
    y = np.arange(n) % classes
    latent = rng.standard_normal((classes, rank))[y] + 1.6 * rng.standard_normal((n, rank))
    mixing = rng.standard_normal((rank, dim)) * np.exp(-2 * np.arange(rank) / rank)[:, None] / np.sqrt(rank)
    noise = 0.3 * rng.standard_normal((n, dim))
    return np.maximum(latent @ mixing + noise - 0.2, 0).astype(np.float32), y


def certified(solver: str, X: np.ndarray, y: np.ndarray) -> Iterator[Parameters]:
    """A solver of probestore."""
    for fit in solvers.load(solver).fit_path(X, y, l2s=L2_GRID.tolist(), n_classes=int(y.max()) + 1, device="cpu"):
        yield fit.l2, fit.coef, fit.intercept


def sklearn_cold(X: np.ndarray, y: np.ndarray) -> Iterator[Parameters]:
    """Every value from nothing."""
    for l2 in L2_GRID[::-1]:
        model = LogisticRegression(C=1 / (len(y) * l2), tol=TOL, max_iter=MAX_ITER).fit(X, y)
        yield float(l2), model.coef_, model.intercept_


def sklearn_warm(X: np.ndarray, y: np.ndarray) -> Iterator[Parameters]:
    """Every value from the stronger one before."""
    model = LogisticRegression(tol=TOL, max_iter=MAX_ITER, warm_start=True)
    for l2 in L2_GRID[::-1]:
        model.set_params(C=1 / (len(y) * l2)).fit(X, y)
        yield float(l2), model.coef_.copy(), model.intercept_.copy()


SIDES: dict[str, tuple[Callable[[np.ndarray, np.ndarray], Iterator[Parameters]], str]] = {
    "path": (partial(certified, "path"), f"gap {GAP_TOLERANCE:g}, max_iter {MAX_ITER}, float64"),
    "sklearn": (partial(certified, "sklearn"), f"lbfgs, warm, gap {GAP_TOLERANCE:g}, max_iter {MAX_ITER}, float64"),
    "sklearn-cold": (sklearn_cold, f"lbfgs, tol {TOL:g}, max_iter {MAX_ITER}, float32"),
    "sklearn-warm": (sklearn_warm, f"lbfgs, tol {TOL:g}, max_iter {MAX_ITER}, float32, warm_start"),
}


def worst_gap(X: np.ndarray, y: np.ndarray, fits: list[Parameters]) -> float:
    """Largest relative duality gap of a sweep, recomputed in float64."""
    found = [
        certificate(X, y, coef.astype(float), intercept.astype(float), l2=l2, n_classes=len(intercept))
        for l2, coef, intercept in fits
    ]
    return max(one.duality_gap for one in found)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--n", type=int, default=1000, help="images")
    parser.add_argument("--dim", type=int, default=1280, help="features")
    parser.add_argument("--classes", type=int, default=10, help="at least 3")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--sides", nargs="+", choices=SIDES, default=list(SIDES))
    options = parser.parse_args()
    warnings.simplefilter("ignore", ConvergenceWarning)  # the gaps printed say it better
    torch.set_num_threads(options.threads)
    X, y = synthetic(options.n, options.dim, options.classes)
    seconds: dict[str, list[float]] = {side: [] for side in options.sides}
    gaps = {}
    with threadpool_limits(options.threads):
        for repeat in range(options.repeats):
            for side in options.sides:
                start = time.perf_counter()
                fits = list(SIDES[side][0](X, y))
                seconds[side].append(time.perf_counter() - start)
                if not repeat:
                    gaps[side] = worst_gap(X, y, fits)
    print_table(options, seconds, gaps)


def print_table(options: argparse.Namespace, seconds: dict[str, list[float]], gaps: dict[str, float]) -> None:
    """Medians and their ratio to the first side's."""
    print(f"{options.n} x {options.dim}, {options.classes} classes, {len(L2_GRID)} values of l2")
    print(f"{options.threads} thread(s), median of {options.repeats}")
    print(f"{'side':<14}{'seconds':>9}{'ratio':>8}{'worst gap':>11}  settings")
    first = median(next(iter(seconds.values())))
    for side, taken in seconds.items():
        print(f"{side:<14}{median(taken):>9.2f}{median(taken) / first:>8.1f}{gaps[side]:>11.1e}  {SIDES[side][1]}")


if __name__ == "__main__":
    main()
