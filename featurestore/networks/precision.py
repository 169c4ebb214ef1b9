"""Measure, on real images, how features in bf16 or fp16 differ from those in float32."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from featurestore.errors import FeatureValueError
from featurestore.store.layout import FeatureSet

if TYPE_CHECKING:
    import torch

MAX_RELATIVE_ERROR = 0.05
"""Default bound on the mean relative error. bf16 keeps 8 bits: a sound network stays between 0.002 and 0.02, whatever
its depth."""


N_IMAGES = 64
"""Number of images of the first shard that are compared, rounded up to whole batches."""


@dataclass(frozen=True)
class Precision:
    """The difference between features and those in float32.

    Attributes
    ----------
    n_images : int
        Images that were compared, the first of the first shard.
    relative_error : float
        Mean over images of ‖x - x32‖ / ‖x32‖.
    largest_relative_error : float
        Largest of them.
    smallest_cosine : float
        Smallest cosine of the angle between x and x32.
    """

    n_images: int
    relative_error: float
    largest_relative_error: float
    smallest_cosine: float


def measure(features: torch.Tensor, exact: torch.Tensor) -> Precision:
    """Compare (n_images, dim) features with those of the same images in float32."""
    x, x32 = features.double(), exact.double()
    norms = x32.norm(dim=1).clamp_min(1e-30)
    errors = (x - x32).norm(dim=1) / norms
    cosines = (x * x32).sum(1) / (norms * x.norm(dim=1).clamp_min(1e-30))
    return Precision(len(x), float(errors.mean()), float(errors.max()), float(cosines.min()))


def check(measured: Precision | None, bound: float, target: FeatureSet, compute: str) -> None:
    """Refuse features that differ too much.

    Raises
    ------
    FeatureValueError
        If the mean relative error is beyond `bound`, or not a number.
    """
    if measured is None or measured.relative_error <= bound:
        return
    raise FeatureValueError(
        f"In {compute}, the features of {target.model} ({target.tap}) differ from float32 by "
        f"{measured.relative_error:.2%} in the mean over {measured.n_images} images of {target.dataset} (least cosine "
        f"{measured.smallest_cosine:.4f}); at most {bound:.2%} is allowed. Compute in fp32, or raise "
        "max_relative_error in [extract]."
    )
