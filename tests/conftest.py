"""Small real things that many tests need: a random network, a folder of images, a study over them, one Ray."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from featurestore import FeatureStore
from featurestore.datasets import DatasetSpec

SHARED = Path(__file__).resolve().parents[2] / "shared"

TINY_NETWORK = '''
import torch


def build():
    """Eight random filters, pooled to 2 x 2: 32 features."""
    return torch.nn.Sequential(
        torch.nn.Conv2d(3, 8, 5, stride=2), torch.nn.ReLU(), torch.nn.AdaptiveAvgPool2d(2), torch.nn.Flatten()
    )


def broken():
    """A network that raises as soon as it is run."""
    return torch.nn.Linear(7, 7)


def loud():
    """Features beyond what float16 can hold."""
    return torch.nn.Sequential(build(), Times(1e7))


class Times(torch.nn.Module):
    def __init__(self, factor):
        super().__init__()
        self.factor = factor

    def forward(self, x):
        return x * self.factor
'''


def shared(name: str) -> Path:
    """A file or folder that lies beside the project, or skip."""
    path = SHARED / name
    if not path.exists():
        pytest.skip(f"needs ../shared/{name}, which is not here")
    return path


def save_images(root: Path, per_class: dict[str, int], *, seed: int = 0) -> Path:
    """Write <root>/<class>/<number>.png, noise around a colour that the class decides."""
    rng = np.random.default_rng(seed)
    for label, (name, count) in enumerate(per_class.items()):
        (root / name).mkdir(parents=True)
        base = np.array([(60 + 90 * label) % 256, 200 - 50 * label, 90])
        for number in range(count):
            pixels = np.clip(base + rng.normal(0, 40, (24, 30, 3)), 0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(root / name / f"{number:03d}.png")
    return root


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """Forty images in two classes, not split."""
    return save_images(tmp_path / "images", {"cats": 20, "dogs": 20})


@pytest.fixture
def image_spec(images: Path) -> DatasetSpec:
    return DatasetSpec(name="pets", source=f"image_folder:{images}", shard_images=8)


@pytest.fixture
def store(tmp_path: Path) -> FeatureStore:
    return FeatureStore.create(str(tmp_path / "store"))


@pytest.fixture
def study_file(tmp_path: Path, images: Path) -> Callable[..., Path]:
    """Write a study of `n_models` tiny random networks over the forty images; more TOML goes at the end."""
    (tmp_path / "tiny_network.py").write_text(TINY_NETWORK)

    def write(n_models: int = 1, more: str = "", head: str = "") -> Path:
        models = "".join(
            f'[[model]]\nname = "tiny_{seed}"\nbackbone = "python:tiny_network:build"\nweights = "none"\n'
            f"input_size = 16\nseed = {seed}\nimagenet_top1 = 0.{5 + seed}\n"
            for seed in range(n_models)
        )
        dataset = '[[dataset]]\nname = "pets"\nsource = "image_folder:images"\nshard_images = 8\n'
        path = tmp_path / "study.toml"
        path.write_text(head + models + dataset + more)
        return path

    return write


@pytest.fixture(scope="session")
def ray_session() -> Iterator[None]:
    """One Ray for all tests that need it; runs join it instead of starting their own."""
    import ray

    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level="ERROR", object_store_memory=128 * 1024**2)
    yield
    ray.shutdown()
