"""The 45-value sweep: the path solver against scikit-learn's L-BFGS, cold and warm, and cuML's, in one process.

    probestore run tests/benchmarks/features.toml --store bench-store      # 20,000 images of CIFAR-10, Caltech-101
    python tests/benchmarks/bench_sweep.py --store bench-store --dataset cifar10 --repeats 3
    python tests/benchmarks/bench_sweep.py --synthetic 50000 2048 100 --every 11

Features are the training and validation images of a feature set, or synthetic: 128 latent Gaussian dimensions with a
mean per class, mixed with decaying strength, plus noise, through a ReLU. Sides, all of them float32:

- `path`: the solver of probestore, to its certified gap;
- `sklearn-cold`: `LogisticRegression` from nothing at every value, tol 1e-4, max_iter 1000, as DINOv3 runs it;
- `sklearn-warm`: the same, each value from the stronger one before;
- `cuml-cold`: cuML's `LogisticRegression`, as DINOv2 runs it; needs a GPU.

Sides alternate: before each value of scikit-learn there is nothing but the values before it, and path runs whole before
the first, in the middle and after the last (`--repeats`). Cold fits are independent, so that with `--every 4` scikit-
learn fits every fourth value, and the 13 strongest all, and the seconds of the rest are interpolated over log l2; the
table says how many were timed. Objectives are recomputed in float64.
"""

# ruff: noqa: T201 - a script that prints a table

from __future__ import annotations

import argparse
import os
import resource
import time
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from statistics import median

import numpy as np
import torch
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from threadpoolctl import threadpool_info, threadpool_limits

from featurestore import FeatureStore
from featurestore.machine import available_cpus
from featurestore.store.layout import FeatureSet
from probes import GAP_TOLERANCE, L2_GRID, certificate
from probes.engine import problem
from probes.solvers import path

TOL, MAX_ITER = 1e-4, 1000
L2S = L2_GRID[::-1]


@dataclass(frozen=True)
class Fitted:
    """One value of a side."""

    l2: float
    coef: np.ndarray
    intercept: np.ndarray
    n_iter: int
    seconds: float


def synthetic(n: int, dim: int, classes: int) -> tuple[np.ndarray, np.ndarray]:
    """Features (n, dim), float32, and labels (n,)."""
    rng = np.random.default_rng(0)
    rank = 128
    y = np.arange(n) % classes
    latent = rng.standard_normal((classes, rank), np.float32)[y] + 1.6 * rng.standard_normal((n, rank), np.float32)
    mixing = rng.standard_normal((rank, dim)) * np.exp(-2 * np.arange(rank) / rank)[:, None] / np.sqrt(rank)
    X = latent.astype(np.float32) @ mixing.astype(np.float32)
    X += 0.3 * rng.standard_normal((n, dim), np.float32) - 0.2
    return np.maximum(X, 0, out=X), y


def stored(uri: str, dataset: str) -> tuple[np.ndarray, np.ndarray]:
    """Training and validation images of the first model that has features of a dataset, float32."""
    store = FeatureStore.open(uri)
    sets = [item for item in store.sets() if isinstance(item, FeatureSet) and item.dataset == dataset]
    model = min(item.model for item in sets)
    train, val = (
        next(item for item in sets if item.model == model and item.split == split) for split in ("train", "val")
    )
    features = store.read(train, val)
    return features.X.astype(np.float32), features.y


def run_path(X: np.ndarray, y: np.ndarray, device: str) -> tuple[list[Fitted], float, int]:
    """The path: its fits, its seconds, and its products with all features."""
    count = 0
    at = problem.Problem.at

    def counted(self: problem.Problem, *arguments: object) -> problem.Point:
        nonlocal count
        count += 2  # one forth, one back
        return at(self, *arguments)  # type: ignore[arg-type]

    problem.Problem.at = counted  # type: ignore[method-assign]
    start = time.perf_counter()
    fits = path.fit_path(X, y, l2s=L2S.tolist(), n_classes=int(y.max()) + 1, device=device)
    seconds = time.perf_counter() - start
    problem.Problem.at = at  # type: ignore[method-assign]
    return [Fitted(fit.l2, fit.coef, fit.intercept, fit.n_iter, fit.seconds) for fit in fits], seconds, count


def run_sklearn(X: np.ndarray, y: np.ndarray, l2s: np.ndarray, *, warm: bool) -> Iterator[Fitted]:
    """scikit-learn at the descending values."""
    model = LogisticRegression(tol=TOL, max_iter=MAX_ITER, warm_start=warm)
    for l2 in l2s:
        start = time.perf_counter()
        model.set_params(C=1 / (len(y) * l2)).fit(X, y)
        seconds = time.perf_counter() - start
        yield Fitted(float(l2), model.coef_.copy(), model.intercept_.copy(), int(model.n_iter_[0]), seconds)


def run_cuml(X: np.ndarray, y: np.ndarray, l2s: np.ndarray) -> Iterator[Fitted]:
    """cuML from nothing at every value."""
    from cuml.linear_model import LogisticRegression as CumlRegression

    for l2 in l2s:
        start = time.perf_counter()
        model = CumlRegression(C=1 / (len(y) * l2), tol=TOL, max_iter=MAX_ITER, output_type="numpy").fit(X, y)
        yield Fitted(float(l2), model.coef_, model.intercept_, 0, time.perf_counter() - start)


def whole_sweep(fits: list[Fitted]) -> float:
    """Seconds of all 45 values, those that were not timed interpolated over log l2."""
    timed = sorted((np.log10(fit.l2), fit.seconds) for fit in fits)
    return float(np.interp(np.log10(L2S), *zip(*timed, strict=True)).sum())


def judged(X: np.ndarray, y: np.ndarray, fits: list[Fitted]) -> dict[float, tuple[float, float]]:
    """Objective and relative duality gap of each fit, in float64."""
    found = {}
    for fit in fits:
        one = certificate(X, y, fit.coef.astype(float), fit.intercept.astype(float), l2=fit.l2, n_classes=len(fit.coef))
        found[fit.l2] = one.objective, one.duality_gap
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--store", default="bench-store")
    parser.add_argument("--dataset", default="cifar10")
    parser.add_argument("--synthetic", nargs=3, type=int, metavar=("N", "DIM", "CLASSES"))
    parser.add_argument("--every", type=int, default=4, help="fit every so many values with the other sides")
    parser.add_argument("--strongest", type=int, default=13, help="and this many of the strongest")
    parser.add_argument("--repeats", type=int, default=3, help="of path")
    parser.add_argument("--threads", type=int, default=available_cpus())
    parser.add_argument("--sides", nargs="*", choices=["sklearn-cold", "sklearn-warm", "cuml-cold"], default=None)
    parser.add_argument("--device", default="auto", help="of path")
    options = parser.parse_args()
    sides = ["sklearn-cold", "sklearn-warm"] if options.sides is None else options.sides
    warnings.simplefilter("ignore", ConvergenceWarning)  # the gaps printed say it better
    torch.set_num_threads(options.threads)
    X, y = synthetic(*options.synthetic) if options.synthetic else stored(options.store, options.dataset)
    chosen = np.array([l2 for i, l2 in enumerate(L2S) if i % options.every == 0 or i < options.strongest])
    with threadpool_limits(options.threads):
        runs = [run_path(X, y, options.device)]
        others: dict[str, list[Fitted]] = {}
        for side in sides:
            values = L2S if side == "sklearn-warm" else chosen
            fits = run_cuml(X, y, values) if side == "cuml-cold" else run_sklearn(X, y, values, warm="warm" in side)
            others[side] = list(fits)
            if len(runs) < options.repeats:
                runs.append(run_path(X, y, options.device))
        while len(runs) < options.repeats:
            runs.append(run_path(X, y, options.device))
    print_table(options, X, y, runs, others)


def print_table(
    options: argparse.Namespace,
    X: np.ndarray,
    y: np.ndarray,
    runs: list[tuple[list[Fitted], float, int]],
    others: dict[str, list[Fitted]],
) -> None:
    """Seconds, ratios, gaps, and where the objective of path is above another's."""
    source = "synthetic" if options.synthetic else f"{options.dataset} of {options.store}"
    blas = {pool["internal_api"]: pool["num_threads"] for pool in threadpool_info()}
    print(f"{source}: {X.shape[0]} x {X.shape[1]}, {y.max() + 1} classes, {len(L2S)} values of l2, float32")
    print(f"{options.threads} threads ({blas}), load {os.getloadavg()[0]:.1f}, torch {torch.__version__}")
    fits, _, products = runs[-1]
    seconds = median(taken for _, taken, _ in runs)
    ours = judged(X, y, fits)
    print(f"path: {seconds:.1f} s, median of {len(runs)} ({', '.join(f'{taken:.1f}' for _, taken, _ in runs)})")
    print(f"      {products} products with the features, {sum(fit.n_iter for fit in fits)} iterations; gap asked for")
    print(
        f"      {GAP_TOLERANCE:g}, worst certified {max(gap for _, gap in ours.values()):.2e}, peak memory of all sides"
    )
    print(
        f"      {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024**2:.1f} GB; X is {X.nbytes / 1024**3:.2f} GB"
    )
    for side, found in others.items():
        theirs = judged(X, y, found)
        total = whole_sweep(found)
        above = {l2: ours[l2][0] / theirs[l2][0] - 1 for l2 in theirs}
        worst = max(above, key=lambda l2: above[l2])
        iterations = sum(fit.n_iter for fit in found)
        print(f"{side}: {total:.1f} s for 45 values ({len(found)} timed: {sum(fit.seconds for fit in found):.1f} s,")
        print(f"      {iterations} iterations), tol {TOL:g}, max_iter {MAX_ITER}; {total / seconds:.1f} times path")
        print(
            f"      gaps {min(gap for _, gap in theirs.values()):.1e} to {max(gap for _, gap in theirs.values()):.1e};"
        )
        print(f"      path's objective is above by at most {above[worst]:+.1e} relative (at l2 = {worst:.2g})")


if __name__ == "__main__":
    main()
