"""What it costs to open a folder of many images: the first time, and in a worker from the listing that its node keeps.

    python tests/benchmarks/bench_datasets.py --images 50000 200000

The script makes folders of hard links to a few tiny files, in classes of 1,000 images, and opens them in processes of
their own: `first` looks at every file; `listed` keeps the listing, too, as the driver of a run does; `worker` opens the
dataset as a worker does whose node has looked, and reads a shard. Microseconds are CPU time of the opening, without
imports; bytes are the growth of what the process holds, and `of its own` is what of it no other process shares. The law
before, measured with a million images, was 41 microseconds and 600 bytes an image in every worker; the last two columns
are that over what it is now.
"""

# ruff: noqa: T201 - a script that prints a table

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

FORMER_MICROSECONDS, FORMER_BYTES = 41, 600  # an image, in each worker
_PER_CLASS = 1000
_LINKS = 30_000  # of one file; file systems have a limit
_STEPS = ("first", "listed", "worker")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, nargs="+", default=[50_000, 200_000], metavar="N")
    parser.add_argument("--step", choices=_STEPS, help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.step:
        print(json.dumps(measured(options.step, options.folder)))
        return
    print("| images | step | seconds | us of CPU an image | bytes an image | of its own | former / now: time | bytes |")
    print("|---|---|---|---|---|---|---|---|")
    for n_images in options.images:
        with tempfile.TemporaryDirectory() as folder:
            make_images(Path(folder) / "images", n_images)
            for step in _STEPS:
                print(row(n_images, step, in_process(step, Path(folder))))


def make_images(root: Path, n_images: int) -> None:
    """Make a folder ``<split>/<class>/<image>`` of hard links."""
    original = root.parent / "tiny.png"
    for number in range(n_images):
        name = f"n{number // _PER_CLASS:08d}"
        folder = root / ("val" if number % 20 == 0 else "train") / name
        folder.mkdir(parents=True, exist_ok=True)
        if number % _LINKS == 0:
            original.unlink(missing_ok=True)
            original.write_bytes(b"tiny")
        os.link(original, folder / f"{name}_{number}.png")
    original.unlink()


def in_process(step: str, folder: Path) -> dict[str, float]:
    """Measure a step in a process of its own."""
    environment = {**os.environ, "PROBESTORE_CACHE": str(folder / "cache"), "PYTHONPATH": os.pathsep.join(sys.path)}
    line = [sys.executable, __file__, "--step", step, "--folder", str(folder)]
    done = subprocess.run(line, capture_output=True, text=True, check=True, env=environment)
    found: dict[str, float] = json.loads(done.stdout)
    return found


def measured(step: str, folder: Path) -> dict[str, float]:
    """Return seconds, and the growth of the bytes that this process holds: all, and what only it has."""
    from featurestore.catalogue.datasets import DatasetSpec
    from featurestore.images.dataset_cache import DatasetCache
    from featurestore.images.splits import Dataset

    spec, told, cache = DatasetSpec(name="many", source=f"image_folder:{folder / 'images'}"), folder / "told", None
    Dataset(DatasetSpec(name="digits", source="packaged:digits"))  # what is loaded at the first use
    if step == "worker":
        cache, fingerprint = DatasetCache.default(), told.read_text()
    before, begin, busy = _memory(), time.perf_counter(), time.process_time()
    dataset: Any = cache.open(spec, fingerprint, "bench") if cache else Dataset(spec)
    if step == "listed":
        DatasetCache.default().keep(dataset, "bench")
    told.write_text(dataset.fingerprint)
    seconds, busy = time.perf_counter() - begin, time.process_time() - busy
    if step == "worker":
        start, stop = dataset.shard_range("train", dataset.n_shards("train") // 2)
        assert len(dataset.labels("train")[start:stop]) == len(list(dataset.read("train", start, stop)))
    after = _memory()
    return {"seconds": seconds, "busy": busy, "bytes": after[0] - before[0], "own": after[1] - before[1]}


def _memory() -> tuple[int, int]:
    """Return the bytes that this process holds: all, and those without mapped files."""
    sizes = {
        words[0]: int(words[1]) * 1024
        for line in Path("/proc/self/status").read_text().splitlines()
        if len(words := line.split()) == 3 and words[2] == "kB"
    }
    return sizes["VmRSS:"], sizes["RssAnon:"]


def row(n_images: int, step: str, found: dict[str, float]) -> str:
    """Return a row of the table."""
    microseconds, held = found["busy"] / n_images * 1e6, found["bytes"] / n_images
    own = found["own"] / n_images
    ratios = (f"{FORMER_MICROSECONDS / microseconds:,.0f}", f"{FORMER_BYTES / held:.1f}" if held > 0 else "")
    values = (
        f"{n_images:,}",
        step,
        f"{found['seconds']:.2f}",
        f"{microseconds:.2f}",
        f"{held:.0f}",
        f"{own:.0f}",
        *ratios,
    )
    return f"| {' | '.join(values)} |"


if __name__ == "__main__":
    main()
