"""What a network gives for a few fixed trial images, through the whole path: decode, resize, normalise, network.

The versions of libraries are in no key, because most of them change nothing; but some change a default, a filter or a
layer. So each installation that loads a network puts the trial images of this package through it, and what comes out is
compared with what the installation gave that made the stored features. The features become a sketch of 64 numbers:
their projections on fixed vectors of signs, which keep distances up to a sixth or so (Achlioptas, J. Comput. Syst. Sci.
66, 2003). Nothing here needs torch.
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

N_PROJECTIONS = 64
"""Numbers of a fingerprint. The signs of all projections of one feature are the bits of one word."""

BOUND = {"fp32": 1e-3, "bf16": MAX_RELATIVE_ERROR, "fp16": MAX_RELATIVE_ERROR}
"""Arithmetic of a model -> largest relative difference of two fingerprints that counts as rounding.

In float32 other threads, batches, kernels and devices move features by 1e-7 to 1e-5; bf16 and fp16 by up to the bound
that `featurestore.networks.precision` has for them.
"""

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
    values = features.astype(np.float64).ravel()
    if not np.isfinite(values).all():
        return None
    return tuple((values @ _signs(values.size) / np.sqrt(N_PROJECTIONS)).tolist())


def difference(one: Sequence[float], reference: Sequence[float]) -> float:
    """Return ‖one - reference‖ / ‖reference‖ of two fingerprints."""
    a, b = np.asarray(one, np.float64), np.asarray(reference, np.float64)
    return float(np.linalg.norm(a - b) / max(float(np.linalg.norm(b)), 1e-30))


def _signs(n_values: int) -> npt.NDArray[np.float64]:
    """Return (n_values, 64) of -1 and 1: the bits of PCG64's raw words, which no version of NumPy changes."""
    words = np.random.PCG64(_SEED).random_raw(n_values).astype("<u8")
    bits = np.unpackbits(words.view(np.uint8), bitorder="little").reshape(n_values, N_PROJECTIONS)
    return 2.0 * bits.astype(np.float64) - 1.0


@cache
def _contents() -> dict[str, bytes]:
    """Return the files of the trial images by name, in the order of their names."""
    return {path.name: path.read_bytes() for path in sorted(_FOLDER.iterdir()) if path.suffix in (".jpg", ".png")}
