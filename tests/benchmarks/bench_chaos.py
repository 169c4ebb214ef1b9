"""Seeded rounds of random kills over a small study: rows lost and rows surplus, both of which must be 0.

    python tests/benchmarks/bench_chaos.py --rounds 100

The cluster is a head and two nodes of one CPU on this machine. A round is a new store, filled by a driver (``probestore
run --address``) while workers, nodes (SIGKILL to the raylet; another one joins) and drivers are killed at random times,
one to `--kills` of them, until the study is done: 2 networks that take their time over 40 images in shards of 4, and a
probe. Beside it one process after the other packs the records of the store, and is killed. The store is then compared,
row by row and manifest by manifest, with that of a run in which nothing happened.

Work repeated is counted by the networks themselves, in images x models. At most one shard of every worker that is
killed is to be done again.
"""

# ruff: noqa: T201 - a script that prints a table

from __future__ import annotations

import argparse
import random
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "support"))

from chaos import N_MODELS, SHARD_IMAGES, compacting, disturb, finish, look, lost_and_surplus, write_study
from ray_cluster import RayCluster


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=100)
    parser.add_argument("--kills", type=int, default=2, help="at most so many in a round")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--seconds", type=float, default=0.03, help="of a network, for an image")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, RayCluster() as cluster:
        cluster.add()
        cluster.add()
        return play(options, cluster, Path(folder))


def play(options: argparse.Namespace, cluster: RayCluster, folder: Path) -> int:
    """All rounds; 1 if a row was lost or surplus, or too much was done again."""
    study = write_study(folder / "study", seconds=options.seconds)
    undisturbed = folder / "undisturbed"
    finish(cluster.driver(study, undisturbed))
    seen = look(study)
    begun, killed, lost, surplus, repeated, at_risk = time.monotonic(), Counter(), 0, 0, 0, 0
    compactions, failed = 0, 0
    for number in range(options.seed, options.seed + options.rounds):
        store = folder / f"store-{number}"
        n_kills = random.Random(f"kills {number}").randint(1, options.kills)
        with compacting(store, number) as ends:
            done = disturb(cluster, study, store, seed=number, n_kills=n_kills)
        failed += ends.pop("compactions failed", 0)
        now_lost, now_surplus = lost_and_surplus(store, undisturbed)
        lost, surplus = lost + now_lost, surplus + now_surplus
        repeated += look(study).repeated(seen)
        at_risk += done.shards_at_risk * SHARD_IMAGES * N_MODELS
        killed += done.killed
        compactions += ends.total()
        if number % 10 == 9 or now_lost or now_surplus:
            print(f"round {number}: {now_lost} rows lost, {now_surplus} surplus", flush=True)
    kills = max(killed.total(), 1)
    print(f"{options.rounds} rounds in {time.monotonic() - begun:.0f} s; killed: {dict(killed)}")
    print(f"rows lost: {lost}, rows surplus: {surplus}; compactions killed: {compactions}, failed: {failed}")
    print(
        f"done again: {repeated} images x models, {repeated / kills:.1f} per kill, where at most {at_risk / kills:.1f} "
        f"(a shard of every worker killed: {SHARD_IMAGES} images x {N_MODELS} models) were to be"
    )
    return int(bool(lost or surplus or failed or repeated > at_risk))


if __name__ == "__main__":
    sys.exit(main())
