"""Images x models per second on photographs: probestore, the loop that users write, and the forward-only bound.

    python tests/benchmarks/bench_extract.py --images 2000 --repeats 1
    python tests/benchmarks/bench_extract.py --images 200 --loop-images 100 --repeats 3 --compute bf16

Five packaged networks over photographs of Caltech-101 (../shared/data). Sides, one after the other, `--repeats` times:

- `bound`: the same networks as probestore runs them, in the same precision, on ready tensors in memory, in as many
  processes of one thread as there are cores: no image is decoded and nothing is stored;
- `probestore`: decoding, all five networks, float16 Parquet in a new store, checksums and manifests, on Ray workers
  that have been started and have loaded the networks (a study of 40 images before the clock starts);
- `loop`: timm's transform, a DataLoader of 2 workers and batches of 32, fp32, torch's own number of threads, one pass
  over the images per model, features in a list; on the first `--loop-images`, since its rate does not change with them.

Peak memory is the proportional set size of this process and everything below it, twice a second.
"""

# ruff: noqa: T201 - a script that prints a table

from __future__ import annotations

import argparse
import multiprocessing
import os
import shutil
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import timm
import torch
from PIL import Image

from cluster.pool.ray_pool import RayPool
from cluster.pool.units import keep_freed_memory
from cluster.reporting.events import Reporters
from cluster.runs.study_run import begin
from cluster.study.study_file import Study, parse_study
from cluster.work.kinds.features import Features
from cluster.work.ledger import Ledger
from cluster.work.rounds import carry_out
from featurestore import FeatureStore
from featurestore.catalogue.models import find_model
from featurestore.machine import available_cpus
from featurestore.networks import backbones
from featurestore.networks.extractor import Extractor
from featurestore.networks.identity import identify

MODELS = ["mobilenet_v2", "mobilenet_v2_deepsort", "efficientnet_lite0", "efficientnet_lite1", "efficientnet_lite2"]
PHOTOGRAPHS = Path(__file__).resolve().parents[3] / "shared" / "data" / "caltech101" / "train"
N_PROCESSES = available_cpus()
BATCH = 4  # of one thread, as probestore's workers have it
LOOP_BATCH, LOOP_WORKERS = 32, 2


class Photographs(torch.utils.data.Dataset):
    """What users write."""

    def __init__(self, paths: list[Path], transform: Callable[[Image.Image], torch.Tensor]) -> None:
        self._paths, self._transform = paths, transform

    def __len__(self) -> int:
        return len(self._paths)

    def __getitem__(self, index: int) -> torch.Tensor:
        return self._transform(Image.open(self._paths[index]).convert("RGB"))


def loop(paths: list[Path]) -> float:
    """Images x models per second of the loop."""
    networks = [(spec, backbones.build(spec)) for spec in (backbones.resolve(find_model(name)) for name in MODELS)]
    begin = time.perf_counter()
    for spec, network in networks:
        transform = timm.data.create_transform(
            (3, spec.input_size, spec.input_size),
            interpolation=spec.interpolation,
            mean=spec.mean,
            std=spec.std,
            crop_pct=spec.crop_pct,
        )
        data = torch.utils.data.DataLoader(Photographs(paths, transform), LOOP_BATCH, num_workers=LOOP_WORKERS)
        with torch.inference_mode():
            features = [network(batch).numpy() for batch in data]
        assert len(np.concatenate(features)) == len(paths)
    return len(MODELS) * len(paths) / (time.perf_counter() - begin)


def forward_only(compute: str, n_images: int, barrier: Any, answers: Any) -> None:
    """One process of the bound: every network on every batch, as a worker does it."""
    torch.set_num_threads(1)
    keep_freed_memory()
    extractors = [Extractor(identify(find_model(name), resize="squash", compute=compute), "cpu") for name in MODELS]
    sizes = {extractor.model.spec.input_size for extractor in extractors}
    ready = {
        size: [torch.randn(BATCH, 3, size, size).contiguous(memory_format=torch.channels_last) for _ in range(8)]
        for size in sizes
    }

    def run(n_batches: int) -> None:
        for number in range(n_batches):
            for extractor in extractors:
                with extractor._computing():
                    extractor._tapped(ready[extractor.model.spec.input_size][number % 8])

    run(4)
    barrier.wait()
    begin = time.perf_counter()
    run(n_images // BATCH)
    answers.put((begin, time.perf_counter()))


def bound(compute: str, n_images: int) -> float:
    """Images x models per second of the networks alone."""
    context = multiprocessing.get_context("spawn")
    barrier, answers = context.Barrier(N_PROCESSES), context.Queue()
    share = n_images // N_PROCESSES
    arguments = (compute, share, barrier, answers)
    processes = [context.Process(target=forward_only, args=arguments) for _ in range(N_PROCESSES)]
    for process in processes:
        process.start()
    times = [answers.get() for _ in processes]
    for process in processes:
        process.join()
    seconds = max(end for _, end in times) - min(begin for begin, _ in times)
    return len(MODELS) * N_PROCESSES * (share // BATCH) * BATCH / seconds


def study_of(folder: Path, compute: str, shard_images: int) -> Study:
    """Five networks on one folder of images."""
    text = f"""
models = {MODELS}
[extract]
compute = "{compute}"
max_relative_error = 1.0
[[dataset]]
name = "photographs"
source = "image_folder:{folder}"
shard_images = {shard_images}
"""
    return parse_study(text, folder / "study.toml")


def probestore(folder: Path, few: Path, compute: str, work: Path) -> float:
    """Images x models per second of a study's extraction."""
    with RayPool() as pool:
        _extract(study_of(few, compute, 4), work / "warm", pool)
        return _extract(study_of(folder, compute, 64), work / "timed", pool)


def _extract(study: Study, place: Path, pool: RayPool) -> float:
    shutil.rmtree(place, ignore_errors=True)
    store, reporter = FeatureStore.create(str(place)), Reporters()
    ledger = Ledger(study.name, store, reporter)
    work = Features(begin(study, store, ledger, reporter), study)
    begun = time.perf_counter()
    carry_out([work], pool, ledger, reporter)
    seconds = time.perf_counter() - begun
    assert not ledger.summary.failures, ledger.summary.failures
    return ledger.summary.counts["passes"] / seconds


# ---- memory ---------------------------------------------------------------------------------------------------


@contextmanager
def peak_memory() -> Iterator[list[float]]:
    """Gigabytes at the peak, as the list's only element once the block is over."""
    peak, over = [0.0], threading.Event()

    def watch() -> None:
        while not over.wait(0.5):
            peak[0] = max(peak[0], sum(map(_proportional_set_size, _descendants(os.getpid()))) / 1e9)

    thread = threading.Thread(target=watch)
    thread.start()
    yield peak
    over.set()
    thread.join()


def _descendants(pid: int) -> list[int]:
    """The process and everything below it; Ray's own processes are below the driver that started it."""
    parents: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                parent = int((entry / "stat").read_text().rsplit(")", 1)[1].split()[1])
            except OSError:  # it has just ended
                continue
            parents.setdefault(parent, []).append(int(entry.name))
    found = [pid]
    for known in found:
        found.extend(parents.get(known, []))
    return found


def _proportional_set_size(pid: int) -> int:
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:  # it has just ended
        return 0
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("Pss:")), 0)


# ---- photographs ----------------------------------------------------------------------------------------------


def copy_photographs(n_images: int, folder: Path) -> list[Path]:
    """Copy photographs, as many of each class as of the others, into one folder per class."""
    classes = sorted(path for path in PHOTOGRAPHS.iterdir() if path.is_dir())[: max(2, n_images // 20)]
    by_turns = sorted((number, path) for chosen in classes for number, path in enumerate(sorted(chosen.iterdir())))[
        :n_images
    ]
    for _, path in by_turns:
        target = folder / path.parent.name / path.name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, target)
    return [folder / path.parent.name / path.name for _, path in by_turns]


def main() -> None:
    """Print a table of the sides and their ratios."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=2000)
    parser.add_argument("--loop-images", type=int)
    parser.add_argument("--repeats", type=int, default=1)
    parser.add_argument("--compute", choices=["fp32", "bf16"], default="fp32")
    given = parser.parse_args()
    if not PHOTOGRAPHS.is_dir():
        raise SystemExit(f"This benchmark needs the photographs of {PHOTOGRAPHS}.")
    print(f"{given.images} photographs, {len(MODELS)} networks, {given.compute}, {N_PROCESSES} cores")
    print(f"loop: fp32, {torch.get_num_threads()} threads, batches of {LOOP_BATCH}, {LOOP_WORKERS} DataLoader workers")
    print(f"bound: {N_PROCESSES} processes of 1 thread, batches of {BATCH}; torch {torch.__version__}")
    rates: dict[str, list[float]] = {}
    memory: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as name:
        work = Path(name)
        paths = copy_photographs(given.images, work / "images")
        copy_photographs(40, work / "few")
        sides: dict[str, Callable[[], float]] = {
            "bound": lambda: bound(given.compute, given.images),
            "probestore": lambda: probestore(work / "images", work / "few", given.compute, work),
            "loop": lambda: loop(paths[: given.loop_images or len(paths)]),
        }
        for repeat in range(given.repeats):
            for side, run in sides.items():
                with peak_memory() as peak:
                    rates.setdefault(side, []).append(run())
                memory[side] = max(memory.get(side, 0.0), peak[0])
                rate, load = rates[side][-1], os.getloadavg()[0]
                print(f"  {repeat + 1}: {side} {rate:.1f} images x models per second, load {load:.1f}", flush=True)
    print("\n| side | images x models per second | peak memory, GB |\n|---|---|---|")
    for side, found in rates.items():
        print(f"| {side} | {median(found):.1f} | {memory[side]:.2f} |")
    ours = median(rates["probestore"])
    print(f"\nprobestore / loop: {ours / median(rates['loop']):.2f}")
    print(f"probestore / bound: {ours / median(rates['bound']):.3f}")


if __name__ == "__main__":
    main()
