"""How the path solver's time grows: seconds against images, features, classes and values of l2, with the exponents.

    python tests/benchmarks/bench_scaling.py

Synthetic features (those of `bench_sweep.py`), float32, CPU. One size at a time goes from its base up by factors of
two; an exponent is the slope of log seconds over log size, by least squares. Median of several, the sizes taking turns.
"""

# ruff: noqa: T201 - a script that prints a table

from __future__ import annotations

import argparse
import os
import time
from statistics import median

import numpy as np
import torch
from bench_sweep import synthetic

from featurestore.machine import available_cpus
from probes.solvers import path

BASE = {"images": 4000, "features": 512, "classes": 10, "values": 12}
GROWTH = {"images": (1, 2, 4, 8), "features": (1, 2, 4), "classes": (1, 2, 4, 8), "values": (1, 2, 4)}


def seconds(sizes: dict[str, int]) -> float:
    """One sweep from l2 = 1 to 1e-6."""
    X, y = synthetic(sizes["images"], sizes["features"], sizes["classes"])
    l2s = np.logspace(0, -6, sizes["values"]).tolist()
    start = time.perf_counter()
    path.fit_path(X, y, l2s=l2s, n_classes=sizes["classes"], device="cpu")
    return time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=available_cpus())
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    print(f"base {BASE}, {options.threads} threads, median of {options.repeats}, load {os.getloadavg()[0]:.1f}")
    print(f"{'size':<10}{'exponent':>9}  seconds")
    for name, factors in GROWTH.items():
        taken: dict[int, list[float]] = {factor: [] for factor in factors}
        for _ in range(options.repeats):
            for factor in factors:
                taken[factor].append(seconds({**BASE, name: BASE[name] * factor}))
        medians = [median(taken[factor]) for factor in factors]
        exponent = np.polyfit(np.log(factors), np.log(medians), 1)[0]
        listed = ", ".join(
            f"{BASE[name] * factor}: {value:.2f}" for factor, value in zip(factors, medians, strict=True)
        )
        print(f"{name:<10}{exponent:>9.2f}  {listed}")


if __name__ == "__main__":
    main()
