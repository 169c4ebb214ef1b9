"""A small store with a file of every kind: networks, datasets of which one is not there, an analysis, an import."""

from __future__ import annotations

import io
import os
import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from featurestore import FeatureStore
from featurestore.care.compact import compact
from featurestore.store.schema import TABLES

PROBES = ["knn", "ncm", "leep"]

NETWORKS = '''"""Small networks, as a user writes them."""

import torch


def build():
    """Random filters, pooled to 4 x 4: 128 features."""
    return torch.nn.Sequential(
        torch.nn.Conv2d(3, 8, 3, padding=1), torch.nn.ReLU(), torch.nn.AdaptiveAvgPool2d(4), torch.nn.Flatten()
    )


def loud():
    """Features beyond what float16 can hold."""
    return torch.nn.Sequential(build(), Times(1e6))


class Times(torch.nn.Module):
    def __init__(self, factor):
        super().__init__()
        self.factor = factor

    def forward(self, x):
        return x * self.factor
'''

STUDY = """\
[probe]
probes = {probes}
n_per_class = [2]
few_shot_seeds = 1

[probe.knn]
ks = [1, 3]

[[model]]
name = "quiet"
backbone = "python:tiny_networks:build"
weights = "quiet.safetensors"
input_size = 8
imagenet_top1 = 0.5

[[model]]
name = "loud"
backbone = "python:tiny_networks:loud"
weights = "loud.safetensors"
input_size = 8
imagenet_top1 = 0.6

[[model]]
name = "headed"
backbone = "timm:test_resnet"
weights = "headed.safetensors"
input_size = 32
imagenet_top1 = 0.7

[[dataset]]
name = "pets"
source = "parquet:pets"
shard_images = 8

[[dataset]]
name = "scenes"
source = "parquet:scenes"
metric = "map_11point"
shard_images = 8

[[dataset]]
name = "lost"
source = "parquet:lost"
"""

IMPORTED = {
    "published.csv": (
        "setting,model,dataset,metric,value,n_test\n"
        "finetuned,quiet,pets,top1,0.75,100\n"
        "finetuned,Other net,pets,top1,0.625,100\n"
    ),
    "networks.csv": "model,imagenet_top1\nquiet,0.5\nOther net,0.55\n",
    "sets.csv": "dataset,n_classes,n_train,n_test,metric\npets,3,30,12,top1\n",
}


def write_study(folder: Path) -> Path:
    """Write the study file, and the images, weights and tables beside it."""
    (folder / "tiny_networks.py").write_text(NETWORKS)
    for name, text in IMPORTED.items():
        (folder / name).write_text(text)
    _write_weights(folder)
    _write_pets(folder / "pets")
    _write_scenes(folder / "scenes")
    for path in folder.glob("*/*.parquet"):
        os.utime(path, ns=(0, 0))  # keys depend on it, and damages on the order of keys
    return write_version(folder, PROBES)


def write_version(folder: Path, probes: list[str]) -> Path:
    """Write the study file with these probes."""
    path = folder / "study.toml"
    path.write_text(STUDY.format(probes=str(probes).replace("'", '"')))
    return path


def commands(folder: Path, store: Path) -> list[list[str]]:
    """The arguments of the commands that fill the store with all but what an earlier version of the study wants."""
    tables = ["--models", str(folder / "networks.csv"), "--datasets", str(folder / "sets.csv")]
    return [
        ["run", str(folder / "study.toml"), "--local", "--store", str(store)],
        ["analyse", "--local", "--store", str(store)],
        ["import", "results", str(folder / "published.csv"), *tables, "--store", str(store)],
    ]


def pack_some(store: Path) -> None:
    """Pack every second record, so that there are packs and files of each table."""
    aside = store.parent / "aside"
    for table in (name for name, table in TABLES.items() if table.packed):
        for path in sorted((store / table).glob("*.parquet"))[::2]:
            (aside / table).mkdir(parents=True, exist_ok=True)
            path.rename(aside / table / path.name)
    compact(FeatureStore.open(str(store)))
    for path in aside.glob("*/*"):
        path.rename(store / path.relative_to(aside))
    shutil.rmtree(aside)


def _write_weights(folder: Path) -> None:
    """Random weights of every network, the same at every call; a classifier of four classes for the last one."""
    import timm
    import torch
    from safetensors.torch import save_file

    torch.manual_seed(0)
    first = torch.nn.Conv2d(3, 8, 3)
    quiet = {"0.weight": first.weight.data, "0.bias": first.bias.data}
    save_file(quiet, folder / "quiet.safetensors")
    save_file({f"0.{name}": 2 * value for name, value in quiet.items()}, folder / "loud.safetensors")
    headed = timm.create_model("test_resnet", num_classes=4)
    save_file(headed.state_dict(), folder / "headed.safetensors")


def _image(rng: np.random.Generator, colour: tuple[int, ...]) -> dict[str, object]:
    """Noise around a colour, as a column of images has it."""
    content = io.BytesIO()
    pixels = np.clip(rng.normal(colour, 60, (8, 8, 3)), 0, 255).astype(np.uint8)
    Image.fromarray(pixels).save(content, "PNG")
    return {"bytes": content.getvalue(), "path": None}


def _write_pets(root: Path) -> None:
    """Images of three classes, one of them unreadable."""
    root.mkdir()
    rng = np.random.default_rng(1)
    for split, n in (("train", 30), ("test", 12)):
        labels = [number % 3 for number in range(n)]
        images = [_image(rng, (60 + 50 * label, 150 - 20 * label, 90)) for label in labels]
        if split == "train":
            images[4] = {"bytes": b"not an image", "path": None}
        pq.write_table(pa.table({"image": images, "label": labels}), root / f"{split}.parquet")


def _write_scenes(root: Path) -> None:
    """Images with some of three labels."""
    root.mkdir()
    rng = np.random.default_rng(2)
    for split, n in (("train", 20), ("test", 12)):
        labels = [[name for i, name in enumerate(("sea", "sky", "wood")) if (k + 1) >> i & 1] for k in range(n)]
        images = [_image(rng, tuple(170 if c in own else 80 for c in ("sea", "sky", "wood"))) for own in labels]
        pq.write_table(pa.table({"image": images, "labels": labels}), root / f"{split}.parquet")
