"""Turn an encoded image into a uint8 array of the network's input size; the record of how, which enters keys.

Decoding follows what every framework does, so that features can be compared: the first frame, ``convert("RGB")``
(alpha is dropped, palettes are expanded), no EXIF rotation. The one difference: 16-bit images are scaled to 8 bits,
where Pillow's own conversion would clip them to white. What may be decoded at all is bounded by `image_limits`.

The geometry (decode, resize, crop) runs on the CPU and gives uint8; the normalisation is folded in on the device, so
models that differ only in mean and standard deviation share one decoded image.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from PIL import Image, UnidentifiedImageError

from featurestore.catalogue.models import ModelSpec
from featurestore.errors import ConfigurationError
from featurestore.images.image_limits import MAX_PIXELS, check_pixels, open_bounded
from featurestore.images.image_limits import UnreadableImageError as UnreadableImageError
from featurestore.store.layout import key_fields

Resize = Literal["squash", "crop"]

_LONGEST_REASON = 300  # characters

_FILTERS = {
    "nearest": Image.Resampling.NEAREST,
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
}


@dataclass(frozen=True)
class Geometry:
    """The way from an image to a square of pixels; equal geometries share one resized image.

    Attributes
    ----------
    size : int
        Side of the result, pixels.
    resize : str
        ``"squash"``: the whole image to the square, aspect ratio ignored, as the paper. ``"crop"``: the shorter side to
        ``size / crop_pct``, then the central square.
    interpolation : str
        A Pillow filter; always with antialiasing.
    crop_pct : float
        1.0 for squash, which has no crop.
    """

    size: int
    resize: Resize
    interpolation: str
    crop_pct: float


@dataclass(frozen=True)
class Preprocessing:
    """All of the preprocessing: the geometry, then ``(pixel / 255 - mean) / std`` per channel."""

    geometry: Geometry
    mean: tuple[float, float, float]
    std: tuple[float, float, float]

    def as_record(self) -> dict[str, Any]:
        """Return plain values, for keys and manifests."""
        return key_fields(self)


def for_model(spec: ModelSpec, resize: Resize) -> Preprocessing:
    """Return the preprocessing of a resolved model record.

    Raises
    ------
    ConfigurationError
        If the record names an interpolation that Pillow does not have.
    """
    size, mean, std, interpolation = spec.input_size, spec.mean, spec.std, spec.interpolation
    if size is None or mean is None or std is None or interpolation is None:
        raise ConfigurationError(f"The record of model {spec.name!r} must be resolved by its backbone family first.")
    if interpolation not in _FILTERS:
        raise ConfigurationError(
            f"interpolation of model {spec.name!r} must be one of {', '.join(_FILTERS)}. Got {interpolation!r}."
        )
    crop_pct = 1.0 if resize == "squash" else spec.crop_pct or 1.0
    return Preprocessing(Geometry(size, resize, interpolation, crop_pct), mean, std)


def decode(content: bytes | npt.NDArray[np.uint8]) -> Image.Image:
    """Decode an image to 8-bit RGB.

    Parameters
    ----------
    content : bytes or ndarray of uint8, shape (height, width) or (height, width, 3)
        An encoded image, or one that was never encoded.

    Raises
    ------
    UnreadableImageError
        With the reason in words: the data are broken, or beyond the limits of `image_limits`.
    MemoryError
        If this machine has too little memory now; that is not the image's fault.
    """
    if isinstance(content, np.ndarray):
        return Image.fromarray(content).convert("RGB")
    if not content:
        raise UnreadableImageError("the file is empty")
    try:
        with open_bounded(content) as image:
            return _to_rgb(image)
    except (UnreadableImageError, MemoryError):
        raise
    except UnidentifiedImageError:
        raise UnreadableImageError("not an image of a known format") from None
    except Image.DecompressionBombError:
        raise UnreadableImageError(f"more than {MAX_PIXELS:,} pixels") from None
    except Exception as error:  # decoders of broken data raise nearly anything; the image is what is at fault
        raise UnreadableImageError(_plain_words(error)) from error


def to_array(image: Image.Image, geometry: Geometry) -> npt.NDArray[np.uint8]:
    """Resize (and crop) an RGB image.

    Returns
    -------
    ndarray of uint8, shape (size, size, 3)

    Raises
    ------
    UnreadableImageError
        If the image is so long that its resized shorter side would need too many pixels.
    """
    size, resample = geometry.size, _FILTERS[geometry.interpolation]
    if geometry.resize == "squash":
        return np.asarray(image.resize((size, size), resample))
    shorter = round(size / geometry.crop_pct)
    width, height = image.size
    scale = shorter / min(width, height)
    check_pixels(round(width * scale), round(height * scale))
    resized = image.resize((max(shorter, round(width * scale)), max(shorter, round(height * scale))), resample)
    left, top = (resized.width - size) // 2, (resized.height - size) // 2
    return np.asarray(resized.crop((left, top, left + size, top + size)))


def _plain_words(error: Exception) -> str:
    """Return one line that any table or page can hold; some decoders raise a bare number, or parts of the file."""
    text = " ".join(str(error).encode("utf-8", "backslashreplace").decode().split())[:_LONGEST_REASON]
    return text if any(character.isalpha() for character in text) else f"broken image data ({type(error).__name__})"


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I"):  # 16 or 32 bits per pixel
        values = np.asarray(image)
        shift = 8 if image.mode.startswith("I;16") or values.max(initial=0) > 255 else 0
        return Image.fromarray(np.clip(values >> shift, 0, 255).astype(np.uint8)).convert("RGB")
    if image.mode == "P" and "transparency" in image.info:
        image = image.convert("RGBA")
    return image.convert("RGB")
