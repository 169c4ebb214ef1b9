"""Is a network a function of the image? Trial images go through it twice, and one by one.

Features are compared between images, splits and models, and computed in batches of any size. A network that drops
units at random, normalises by the statistics of the batch, or ignores the image gives numbers that look like features
and are none. All that it takes to see this is a few passes over two images at load.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from featurestore.errors import BackboneError
from featurestore.plain_text import shortly

TOLERANCE = 1e-3
"""Largest relative difference that counts as rounding, in float32. Batches of other sizes take other kernels, which
move features by less than 1e-5."""
COARSE_TOLERANCE = 0.05
"""The same for networks that hold weights of 16 bits themselves."""

Features = dict[str, torch.Tensor]


def trial_images(size: int) -> npt.NDArray[np.uint8]:
    """Return two images (2, size, size, 3) as unlike each other as can be: noise, and a smooth dark slope."""
    noise = np.random.default_rng(1).integers(0, 256, (size, size, 3), dtype=np.uint8)
    slope = np.linspace(0, 60, size, dtype=np.uint8)[:, None, None] * np.array([1, 0, 2], np.uint8)
    return np.stack([noise, np.broadcast_to(slope, noise.shape)])


def unsteady(run: Callable[[torch.Tensor], Features], network: torch.nn.Module, images: torch.Tensor) -> dict[
    str, BackboneError
]:  # fmt: skip
    """Return the taps whose features are not a function of the image, and why.

    Parameters
    ----------
    run : callable
        Maps images to features (n, dim) by tap.
    network : Module
        The network that `run` uses; looked into for the cause.
    images : Tensor of float32, shape (2, 3, size, size)
    """
    before = _random_states()
    first = run(images.clone())  # a network may work in place
    drew = before != _random_states()
    second = run(images.clone())
    alone = _one_by_one(run, images)
    bound = _tolerance(network)
    found = {}
    for tap, features in first.items():
        if (difference := _difference(features, second[tap])) > bound:
            found[tap] = _not_the_same_twice(network, difference, drew)
        elif alone is None:
            found[tap] = _of_the_batch(network, "cannot be computed for one image alone")
        elif (difference := _difference(features, alone[tap])) > bound:
            found[tap] = _of_the_batch(network, f"change by {difference:.1%} when it is alone in a batch")
        elif torch.equal(features[0], features[1]):
            found[tap] = BackboneError(
                "It gives the same features for two images that have nothing in common; check the network, its weights "
                "and its normalisation."
            )
    return found


def _random_states() -> tuple[Any, ...]:
    """Return where the generators stand that a network may draw from: torch's, Python's and numpy's."""
    ours = np.random.get_state(legacy=False)["state"]
    return torch.get_rng_state().tolist(), random.getstate(), ours["pos"], ours["key"].tolist()


def _one_by_one(run: Callable[[torch.Tensor], Features], images: torch.Tensor) -> Features | None:
    """Return the features of images that go through alone; None if the network refuses one image."""
    try:
        parts = [run(images[row : row + 1].clone()) for row in range(len(images))]
        return {tap: torch.cat([part[tap] for part in parts]) for tap in parts[0]}
    except (torch.OutOfMemoryError, MemoryError, torch.AcceleratorError):
        raise
    except Exception:  # a network may refuse a batch of one in its own way
        return None


def _difference(one: torch.Tensor, other: torch.Tensor) -> float:
    """Return the largest relative difference of a row; 0 where values are not finite, which is said elsewhere."""
    if one.shape != other.shape:
        return float("inf")
    a, b = one.double(), other.double()
    if not bool(torch.isfinite(a).all() & torch.isfinite(b).all()):
        return 0.0
    return float(((a - b).norm(dim=1) / torch.maximum(a.norm(dim=1), b.norm(dim=1)).clamp_min(1e-30)).max())


def _tolerance(network: torch.nn.Module) -> float:
    coarse = any(values.dtype in (torch.float16, torch.bfloat16) for values in network.parameters())
    return COARSE_TOLERANCE if coarse else TOLERANCE


def _not_the_same_twice(network: torch.nn.Module, difference: float, drew: bool) -> BackboneError:
    training = [name or "itself" for name, module in network.named_modules() if module.training]
    if training:
        verb = "is" if len(training) == 1 else "are"
        why = f"{shortly(training)} {verb} in training mode, although the network was told to evaluate"
    elif drew:
        why = "it draws random numbers: functional dropout needs training=self.training, or it drops in evaluation, too"
    else:
        why = "it keeps something from one call to the next, or draws random numbers of its own"
    return BackboneError(
        f"It gives other features for the same images at a second call (by {difference:.1%}): {why}. Features must be "
        "a function of the image."
    )


def _of_the_batch(network: torch.nn.Module, what: str) -> BackboneError:
    names = [name or "itself" for name, module in network.named_modules() if _uses_the_batch(module)]
    why = (
        f"{shortly(names)} normalises by the statistics of the batch"
        if names
        else "the other images, their number or an earlier call take part"
    )
    return BackboneError(
        f"The features of an image {what}: {why}. Features must be a function of the image; batch norms need the "
        "statistics of their training (track_running_stats)."
    )


def _uses_the_batch(module: Any) -> bool:
    return isinstance(module, torch.nn.modules.batchnorm._BatchNorm) and (
        module.training or module.running_mean is None
    )
