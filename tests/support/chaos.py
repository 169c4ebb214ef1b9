"""A small study that takes a while, what kills its processes, and what must be equal in two stores all the same."""

from __future__ import annotations

import random
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow.parquet as pq
from ray_cluster import RayCluster, kill, killed_at_the_end
from tiny import save_images

from featurestore import FeatureStore
from featurestore.care.compact import compact

N_MODELS, N_IMAGES, SHARD_IMAGES = 2, 40, 4
N_PARTS = N_MODELS * 11  # of features: train, val and test have whole shards of their own
TABLES = ("features", "samples", "results", "tuning", "predictions", "cells", "models", "datasets")
TIMES = ("seconds", "created_at", "wanted_at", "recorded_at")
BY_FILE = ("study_file",)  # studies of a test lie in files of several names

SLOW_NETWORK = '''
import time
from pathlib import Path

import ray
import torch


class Slow(torch.nn.Module):
    """Eight random filters, pooled to 2 x 2; it takes its time, and notes on which node it saw how many images."""

    def __init__(self):
        super().__init__()
        self.filters = torch.nn.Conv2d(3, 8, 5, stride=2)
        self.pool = torch.nn.AdaptiveAvgPool2d(2)
        note("loaded")

    def forward(self, images):
        note(len(images))
        time.sleep(SECONDS * len(images))
        return self.pool(self.filters(images).relu()).flatten(1)


def note(what):
    if ray.is_initialized():  # else it is a driver that looks at the network
        with (Path(__file__).parent / "seen" / ray.get_runtime_context().get_node_id()).open("a") as file:
            file.write(f"{what}\\n")


def build():
    return Slow()
'''


def write_study(folder: Path, *, seconds: float = 0.1, more: str = "") -> Path:
    """Two networks that take so many seconds for an image, and forty images in shards of four."""
    (folder / "seen").mkdir(parents=True)
    (folder / "slow_network.py").write_text(SLOW_NETWORK.replace("SECONDS", str(seconds)))
    save_images(folder / "images", {"cats": N_IMAGES // 2, "dogs": N_IMAGES // 2})
    models = "".join(
        f'[[model]]\nname = "slow_{seed}"\nbackbone = "python:slow_network:build"\nweights = "none"\n'
        f"input_size = 16\nseed = {seed}\n"
        for seed in range(N_MODELS)
    )
    data = f'[[dataset]]\nname = "pets"\nsource = "image_folder:images"\nshard_images = {SHARD_IMAGES}\n'
    path = folder / "study.toml"
    path.write_text(f'{models}{data}[probe]\nprobes = ["ncm"]\n{more}')
    return path


def add_to_study(study: Path, more: str) -> Path:
    """The same study with more in it, beside it and under its name: the features are the same."""
    other = study.with_name(f"study-{len(list(study.parent.glob('*.toml')))}.toml")
    other.write_text(f'name = "study"\n{study.read_text()}{more}')
    return other


def n_parts(store: Path) -> int:
    """Published shards of features."""
    return len(list(store.glob("features/**/part-*.parquet")))


@dataclass
class Seen:
    """What networks saw: images x models, whether of the study or on trial when they were loaded."""

    nodes: int
    images: int
    loads: int

    def repeated(self, undisturbed: Seen) -> int:
        """Images x models that were seen again; every load has the same number of them on trial."""
        trials = (undisturbed.images - N_MODELS * N_IMAGES) / undisturbed.loads
        return round(self.images - self.loads * trials) - N_MODELS * N_IMAGES


def look(study: Path) -> Seen:
    """What networks saw since this was last asked."""
    paths = list((study.parent / "seen").iterdir())
    notes = [line for path in paths for line in path.read_text().split()]
    for path in paths:
        path.unlink()
    images = [int(line) for line in notes if line != "loaded"]
    return Seen(len(paths), sum(images), len(notes) - len(images))


_COMPACTING = """
import sys
from featurestore import FeatureStore
from featurestore.care.compact import compact
while True:
    compact(FeatureStore.open(sys.argv[1]))
"""


@contextmanager
def compacting(store: Path, seed: int) -> Iterator[Counter[str]]:
    """Pack the records of a store again and again in the block, by processes that are killed; then once to the end.

    It gives the numbers of processes that were killed, and of those that ended by themselves, which none should.
    """
    over, ends = threading.Event(), Counter[str]()

    def pack() -> None:
        rng = random.Random(f"compact {seed}")
        while not over.wait(0.1):
            if (store / "store.json").exists():
                process = subprocess.Popen([sys.executable, "-c", _COMPACTING, str(store)])
                over.wait(rng.uniform(1, 5))
                ends["compactions killed" if process.poll() is None else "compactions failed"] += 1
                process.kill()
                process.wait()

    thread = threading.Thread(target=pack)
    thread.start()
    try:
        yield ends
    finally:
        over.set()
        thread.join()
    compact(FeatureStore.open(str(store)))


def contents(store: Path) -> Counter[tuple[str, str]]:
    """Rows of all files, complete or not, by place, without what time or a file's name decides; and manifests.

    Rows of packs are in the place of the files that were packed.
    """
    found: Counter[tuple[str, str]] = Counter()
    for table in TABLES:
        for path in (store / table).rglob("*.parquet"):
            place = str(path.parent.relative_to(store)).removesuffix("/packed")
            for row in pq.ParquetFile(path).read().to_pylist():
                found[place, repr({name: value for name, value in row.items() if name not in (*TIMES, *BY_FILE)})] += 1
        for path in (store / table).rglob("manifest.json"):
            found[str(path.parent.relative_to(store)), "manifest"] += 1
    return found


def lost_and_surplus(store: Path, undisturbed: Path) -> tuple[int, int]:
    """Rows that an undisturbed store has and this one lacks, and rows that it has beyond them."""
    wanted, found = contents(undisturbed), contents(store)
    assert wanted, "there is nothing to compare with"
    return (wanted - found).total(), (found - wanted).total()


def finish(driver: subprocess.Popen[str], code: int = 0) -> str:
    """What a driver said until its end."""
    with killed_at_the_end(driver):
        _, said = driver.communicate(timeout=280)
    assert driver.returncode == code, said
    return said


def wait_until(condition: Callable[[], bool], driver: subprocess.Popen[str]) -> bool:
    """Wait for something to happen while a driver runs; False if it has ended."""
    while driver.poll() is None:
        if condition():
            return True
        time.sleep(0.02)
    return False


@dataclass
class Disturbance:
    """What was killed in a run: workers, nodes and drivers.

    Attributes
    ----------
    shards_at_risk : int
        In the hands of what was killed, at most: one per worker.
    """

    killed: Counter[str] = field(default_factory=Counter)
    shards_at_risk: int = 0


def disturb(cluster: RayCluster, study: Path, store: Path, *, seed: int, n_kills: int) -> Disturbance:
    """Run a study to its end, and kill at random, at random times, on the way."""
    rng = random.Random(seed)
    done = Disturbance()
    driver = cluster.driver(study, store)
    for _ in range(n_kills):
        kind, at, later = rng.choice(("worker", "node", "driver")), rng.randrange(N_PARTS), rng.uniform(0, 0.5)
        if not wait_until(lambda at=at: n_parts(store) >= at, driver):
            break
        time.sleep(later)
        node = rng.choice(cluster.nodes)
        if kind == "driver":
            with killed_at_the_end(driver):
                done.shards_at_risk += len(cluster.nodes)
            driver = cluster.driver(study, store)
        elif kind == "node":
            cluster.remove(node)
            cluster.add()
            done.shards_at_risk += 1
        else:
            kill(*node.workers())
            done.shards_at_risk += 1
        done.killed[kind] += 1
    finish(driver)
    return done
