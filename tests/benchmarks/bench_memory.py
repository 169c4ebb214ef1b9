"""The memory that the path solver needs beside the features, where it converts them block by block.

    python tests/benchmarks/bench_memory.py --n 200000 --dim 1024 --classes 200

Features are float16. Products, logits and residuals are never kept whole here (both limits are set to nothing), as they
are not for an ImageNet: 1.28 million x 2048 in float16 is 5.2 GB, in float32 more than `rows.WHOLE_BYTES`, its logits
for 1000 classes more than `problem.LOGITS_BYTES`. The process's peak is read from the kernel after X is made and after
the fit; the difference is what the solver needs.
"""

# ruff: noqa: T201 - a script that prints a table

from __future__ import annotations

import argparse
import resource
import time

import numpy as np
import torch

from featurestore.machine import available_cpus
from probes.engine import problem, rows
from probes.solvers import path


def peak() -> float:
    """Largest resident size of this process so far, GB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024**2


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--n", type=int, default=200_000)
    parser.add_argument("--dim", type=int, default=1024)
    parser.add_argument("--classes", type=int, default=200)
    parser.add_argument("--l2s", type=float, nargs="+", default=[1e-2, 1e-3])
    options = parser.parse_args()
    torch.set_num_threads(available_cpus())
    rows.WHOLE_BYTES["cpu"] = problem.LOGITS_BYTES["cpu"] = 0
    rng = np.random.default_rng(0)
    y = np.arange(options.n) % options.classes
    centres = rng.standard_normal((options.classes, options.dim), np.float32)
    X = np.empty((options.n, options.dim), np.float16)
    for start in range(0, options.n, 4096):
        part = slice(start, start + 4096)
        X[part] = np.maximum(centres[y[part]] + 3 * rng.standard_normal(X[part].shape, np.float32), 0)
    # What every process that computes needs, such as the buffers of BLAS, is not the solver's.
    path.fit_path(X[:3000], y[:3000], l2s=[1.0], n_classes=options.classes, device="cpu")
    before, start_at = peak(), time.perf_counter()
    fits = path.fit_path(X, y, l2s=options.l2s, n_classes=options.classes, device="cpu")
    seconds = time.perf_counter() - start_at
    print(f"{options.n} x {options.dim} float16, {options.classes} classes, l2 {options.l2s}")
    print(f"X {X.nbytes / 1024**3:.2f} GB, peak with X {before:.2f} GB, after the fit {peak():.2f} GB")
    print(
        f"beside X: {peak() - before:.2f} GB; logits alone would be {4 * options.n * options.classes / 1024**3:.2f} GB"
    )
    print(f"{seconds:.0f} s; gaps {', '.join(f'{fit.certificate.duality_gap:.1e}' for fit in fits)}")


if __name__ == "__main__":
    main()
