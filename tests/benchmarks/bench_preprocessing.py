"""Cost of cropping as the libraries do it, beside timm's own transform, the squash and the decoding.

    python tests/benchmarks/bench_preprocessing.py

Seconds of one thread per image of 500 x 375 pixels, a JPEG, the best of several rounds.
"""

from __future__ import annotations

import io
import sys
import time
from collections.abc import Callable
from functools import partial

import numpy as np
import timm
import torch
from PIL import Image
from timm.data import create_transform, resolve_data_config

from featurestore.catalogue.models import ModelSpec
from featurestore.images import preprocessing
from featurestore.networks.backbones import timm as timm_family

ROUNDS, TIMES = 7, 40
NAMES = ("resnet50.tv2_in1k", "tf_efficientnetv2_b3.in21k_ft_in1k", "deepseek_vit_412m.deepseek_v4_flash_vision_exp")


def photograph() -> bytes:
    """A JPEG with structure."""
    y, x = np.mgrid[0:375, 0:500]
    waves = np.stack([np.sin(x / 17), np.cos(y / 23), np.sin((x + y) / 31)], -1)
    noise = np.random.default_rng(0).normal(0, 12, waves.shape)
    file = io.BytesIO()
    image = Image.fromarray(np.clip(127 + 90 * waves + noise, 0, 255).astype(np.uint8))
    image.save(file, "JPEG", quality=92)
    return file.getvalue()


def costs(*actions: Callable[[], object]) -> list[float]:
    """Microseconds of one call of each, taken in turns: another load of the machine meets all of them."""
    best = [float("inf")] * len(actions)
    for _ in range(ROUNDS):
        for place, action in enumerate(actions):
            begin = time.thread_time()
            for _ in range(TIMES):
                action()
            best[place] = min(best[place], time.thread_time() - begin)
    return [1e6 * seconds / TIMES for seconds in best]


def geometry_of(name: str, resize: preprocessing.Resize) -> preprocessing.Geometry:
    """The geometry of a name that timm lists."""
    spec = ModelSpec(name="net", backbone=f"timm:{name}")
    config = timm.get_pretrained_cfg(name).to_dict()
    return preprocessing.for_model(spec.filled(timm_family.preprocessing_of(config, spec)), resize).geometry


def main() -> None:
    """Print what each way costs."""
    torch.set_num_threads(1)
    content = photograph()
    image = preprocessing.decode(content)
    for name in NAMES:
        crop, squash = geometry_of(name, "crop"), geometry_of(name, "squash")
        config = resolve_data_config({}, pretrained_cfg=timm.get_pretrained_cfg(name).to_dict(), use_test_size=True)
        theirs = create_transform(**config, normalize=False)
        own, library, whole, decoding = costs(
            partial(preprocessing.to_array, image, crop),
            partial(theirs, image),
            partial(preprocessing.to_array, image, squash),
            partial(preprocessing.decode, content),
        )
        sys.stdout.write(
            f"{name} ({crop.crop_mode}): decoding {decoding:,.0f} us, squash {whole:,.0f} us, crop {own:,.0f} us, "
            f"{own / library:.2f} of timm's own transform\n"
        )


if __name__ == "__main__":
    main()
