"""Makes tests/data/study_v1/: studies with their images and weights, and the finished store of both.

    python tests/data/make_study_v1.py FOLDER

makes all of it in FOLDER with the `probestore` of this environment. The one in the repository was made once, by the
commit before keys became promises, and is never made again: whatever probestore computes nothing on it today has to
compute nothing on it in every later version (see tests/featurestore/store/test_promises.py).

Its keys depend on nothing but its files: their names, their bytes and their times of change, which a copy gets back
from times.json (`restore_times`). The weights lie in files, because the key of random ones names the version of torch.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

NETWORKS = '''"""Small networks of study_v1. Their bytes are part of its keys: nobody may change or format this file."""

import torch


def build():
    """Four filters, pooled to 2 x 2: 16 features."""
    return torch.nn.Sequential(
        torch.nn.Conv2d(3, 4, 3, stride=2), torch.nn.ReLU(), torch.nn.AdaptiveAvgPool2d(2), torch.nn.Flatten()
    )


def loud():
    """Features beyond what float16 can hold."""
    return torch.nn.Sequential(build(), torch.nn.Linear(16, 5))


def broken():
    """A network that raises as soon as it is run."""
    return torch.nn.Linear(7, 7)
'''

FINISHED = """\
name = "finished"

[probe]
probes = ["logistic"]
n_per_class = [2]
few_shot_seeds = 1

[probe.logistic]
l2s = [0.001, 0.1, 10.0]

[[model]]
name = "net_0"
backbone = "python:small_networks:build"
weights = "net_0.safetensors"
input_size = 12
imagenet_top1 = 0.5
source_metrics = { imagenet_v2 = 0.4 }

[[model]]
name = "net_1"
backbone = "python:small_networks:build"
weights = "net_1.safetensors"
input_size = 12
imagenet_top1 = 0.6

[[dataset]]
name = "pets"
source = "image_folder:pets"
shard_images = 8

[[dataset]]
name = "scenes"
source = "parquet:scenes"
metric = "map_11point"
group_column = "site"
val_fraction = 0.25
"""

FAILING = """\
name = "failing"

[extract]
taps = ["penultimate", "block:0"]

[probe]
probes = ["ncm"]

[[model]]
name = "loud"
backbone = "python:small_networks:loud"
weights = "loud.safetensors"
input_size = 12

[[model]]
name = "broken"
backbone = "python:small_networks:broken"
weights = "broken.safetensors"
input_size = 12

[[dataset]]
name = "pets"
source = "image_folder:pets"
shard_images = 8
"""

PUBLISHED = """\
setting,model,dataset,metric,value,n_test
finetuned,net_0,pets,top1,0.75,100
finetuned,Other net,pets,top1,0.625,100
"""


def make(folder: Path) -> None:
    """Write images, weights and study files, run both studies, analyse, import, and note the times of change."""
    (folder / "small_networks.py").write_text(NETWORKS)
    (folder / "finished.toml").write_text(FINISHED)
    (folder / "failing.toml").write_text(FAILING)
    (folder / "published.csv").write_text(PUBLISHED)
    write_weights(folder)
    write_pets(folder / "pets")
    write_scenes(folder / "scenes")
    for command in (
        ["run", "finished.toml"],
        ["run", "failing.toml"],
        ["analyse"],
        ["import", "results", "published.csv"],
    ):
        line = [sys.executable, "-m", "cluster.cli", *command, "--store", "store"]
        subprocess.run(line, cwd=folder, check="failing.toml" not in command)  # one of its networks fails
    (folder / "store" / "_staging").rmdir()  # empty
    images = sorted(path for place in ("pets", "scenes") for path in (folder / place).rglob("*") if path.is_file())
    times = {path.relative_to(folder).as_posix(): path.stat().st_mtime_ns for path in images}
    (folder / "times.json").write_text(json.dumps(times, indent=1) + "\n")


def restore_times(folder: Path) -> None:
    """Give the images of a copy the times of change that they had: no version control keeps them."""
    for name, time in json.loads((folder / "times.json").read_text()).items():
        os.utime(folder / name, ns=(time, time))


def write_weights(folder: Path) -> None:
    """Random weights of every network, the same at every call."""
    from safetensors.numpy import save_file

    rng = np.random.default_rng(0)

    def values(*shape: int) -> np.ndarray:
        return rng.normal(0, 0.3, shape).astype(np.float32)

    for name in ("net_0", "net_1"):
        save_file({"0.weight": values(4, 3, 3, 3), "0.bias": values(4)}, folder / f"{name}.safetensors")
    first = {"0.0.weight": values(4, 3, 3, 3), "0.0.bias": values(4)}
    save_file({**first, "1.weight": 1e6 * values(5, 16), "1.bias": values(5)}, folder / "loud.safetensors")
    save_file({"weight": values(7, 7), "bias": values(7)}, folder / "broken.safetensors")


def picture(rng: np.random.Generator, colour: tuple[int, int, int]) -> Image.Image:
    """Noise around a colour."""
    return Image.fromarray(np.clip(rng.normal(colour, 40, (10, 12, 3)), 0, 255).astype(np.uint8))


def write_pets(root: Path) -> None:
    """A folder of images without splits: 14 of each of two classes, one of them unreadable."""
    rng = np.random.default_rng(1)
    for name, colour in (("cats", (60, 200, 90)), ("dogs", (120, 150, 90))):
        (root / name).mkdir(parents=True)
        for number in range(14):
            picture(rng, colour).save(root / name / f"{number:02}.png")
    (root / "cats" / "00.png").write_bytes(b"not an image")


def write_scenes(root: Path) -> None:
    """Parquet files of images that have several labels, with a split for testing and a group per image."""
    root.mkdir()
    rng = np.random.default_rng(2)
    for split, n in (("train", 16), ("test", 8)):
        rows = [scene(root, rng, number) for number in range(n)]
        pq.write_table(pa.Table.from_pylist(rows), root / f"{split}.parquet")


def scene(root: Path, rng: np.random.Generator, number: int) -> dict[str, object]:
    """A row: an encoded image, its labels (of sea, sky and wood, some, all or none) and its site."""
    names = [name for place, name in enumerate(("sea", "sky", "wood")) if (number + 1) >> place & 1]
    path = root / "image.png"
    picture(rng, tuple(200 if name in names else 60 for name in ("sea", "sky", "wood"))).save(path)
    content = path.read_bytes()
    path.unlink()
    return {"image": {"bytes": content, "path": None}, "labels": names, "site": f"site {number % 3}"}


if __name__ == "__main__":
    place = Path(sys.argv[1])
    place.mkdir()
    make(place)
