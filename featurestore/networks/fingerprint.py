"""What a network gives for a few fixed trial images, through the whole path: decode, resize, normalise, network.

The versions of libraries are in no key, because most of them change nothing; but some change a default, a filter or a
layer. So each installation that loads a network puts the trial images of this package through it, and what comes out is
compared with what the installation gave that made the stored features. The features of each image become a sketch of 32
numbers: their projections on fixed vectors of signs, which keep distances up to a fifth or so (Achlioptas, J. Comput.
Syst. Sci. 66, 2003). Nothing here needs torch.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from pathlib import Path

import numpy as np
import numpy.typing as npt

from featurestore.errors import BackboneError
from featurestore.images.decoding import decode
from featurestore.images.preprocessing import Geometry
from featurestore.images.sources import RawImage
from featurestore.networks.precision import MAX_RELATIVE_ERROR

N_PROJECTIONS = 32
"""Numbers of a fingerprint for each image. The signs of all projections of one feature are bits of one word."""

BOUND = {"fp32": 1e-3, "bf16": MAX_RELATIVE_ERROR, "fp16": MAX_RELATIVE_ERROR}
"""Arithmetic of a model -> largest relative difference of two fingerprints that counts as rounding.

In float32 other threads, batches, kernels and devices move features by 1e-7 to 1e-5; bf16 and fp16 by up to the bound
that `featurestore.networks.precision` has for them.
"""

_LEAST_SHARE = {"fp32": 0.01, "bf16": 0.25, "fp16": 0.25}
"""Arithmetic of a model -> least share of the features' norm that is taken for what differs between images: a smaller
one could not be told from rounding."""

Fingerprint = tuple[float, ...]

_FOLDER = Path(__file__).with_name("trial_images")
_SEED = 0


def trial_pixels(geometry: Geometry) -> npt.NDArray[np.uint8]:
    """Return the trial images as a network of this geometry gets them: (n_images, size, size, 3).

    Raises
    ------
    BackboneError
        If this installation cannot decode one of them.
    """
    decoded = []
    for name, content in _contents().items():
        image, pixels = decode(RawImage(content, name), [geometry])
        if pixels is None:
            raise BackboneError(
                f"The trial image {name} of probestore cannot be decoded here: {image.reason}. Install Pillow anew, "
                "with JPEG and PNG."
            )
        decoded.append(pixels[geometry])
    return np.stack(decoded)


def fingerprint(features: npt.NDArray[np.float32]) -> Fingerprint | None:
    """Return the sketch of features (n_images, dim) of the trial images; None if some of them are not finite.

    Its Euclidean norm is that of the features in expectation.
    """
    values = features.astype(np.float64)
    if not np.isfinite(values).all():
        return None
    return tuple((values @ _signs(values.shape[1]) / np.sqrt(N_PROJECTIONS)).ravel().tolist())


def difference(one: Sequence[float], reference: Sequence[float], compute: str = "fp32") -> float:
    """Return how much a fingerprint differs from another one, as a share of the latter's norm.

    It is the larger of two shares: of the features as they are, and of what is left of them when their mean over the
    images is taken off. All images may have a few huge values in common, beside which the others look like nothing,
    although they are all that a probe can tell images by.
    """
    a, b = np.asarray(one, np.float64), np.asarray(reference, np.float64)
    if a.shape != b.shape:
        return float("inf")
    norm = max(float(np.linalg.norm(b)), 1e-30)
    own, wanted = _without_mean(a), _without_mean(b)
    spread = max(float(np.linalg.norm(wanted)), _LEAST_SHARE[compute] * norm)
    return max(float(np.linalg.norm(a - b)) / norm, float(np.linalg.norm(own - wanted)) / spread)


def _without_mean(values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    images = values.reshape(-1, N_PROJECTIONS) if values.size % N_PROJECTIONS == 0 else values[None]
    own: npt.NDArray[np.float64] = images - images.mean(axis=0)
    return own


def _signs(dim: int) -> npt.NDArray[np.float64]:
    """Return (dim, 32) of -1 and 1: bits of PCG64's raw words, which no version of NumPy changes."""
    words = np.random.PCG64(_SEED).random_raw(dim).astype("<u8")
    bits = np.unpackbits(words.view(np.uint8), bitorder="little").reshape(dim, 64)[:, :N_PROJECTIONS]
    return 2.0 * bits.astype(np.float64) - 1.0


@cache
def _contents() -> dict[str, bytes]:
    """Return the files of the trial images by name, in the order of their names."""
    return {path.name: path.read_bytes() for path in sorted(_FOLDER.iterdir()) if path.suffix in (".jpg", ".png")}
