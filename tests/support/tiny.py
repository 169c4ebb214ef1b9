"""Small real things to test with: random networks, images, and what may lie beside the project."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from locations import SHARED
from PIL import Image

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


def greedy():
    """A network whose memory is enough for two images at a time."""
    return Greedy(build())


class Greedy(torch.nn.Module):
    def __init__(self, network):
        super().__init__()
        self.network, self.limit = network, 2

    def forward(self, x):
        if len(x) > self.limit:
            raise torch.OutOfMemoryError("out of memory")
        return self.network(x)


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
