"""Turn an encoded image into a uint8 array of the network's input size; the record of how, which enters keys.

Decoding follows what every framework does, so that features can be compared: the first frame, ``convert("RGB")``
(alpha is dropped, palettes are expanded), no EXIF rotation. The one difference: 16-bit images are scaled to 8 bits,
where Pillow's own conversion would clip them to white. What may be decoded at all is bounded by `image_limits`.

The geometry (decode, resize, crop) runs on the CPU and gives uint8; the normalisation is folded in on the device, so
models that differ only in mean and standard deviation share one decoded image.
"""

from __future__ import annotations

import math
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any, Literal, cast

import numpy as np
import numpy.typing as npt
from PIL import Image, UnidentifiedImageError

from featurestore.catalogue.models import ModelSpec
from featurestore.errors import ConfigurationError, did_you_mean
from featurestore.images.image_limits import MAX_PIXELS, check_pixels, open_bounded
from featurestore.images.image_limits import UnreadableImageError as UnreadableImageError
from featurestore.store.layout import added_later, key_fields

Resize = Literal["squash", "crop"]

_LONGEST_REASON = 300  # characters

_FILTERS = {
    "nearest": Image.Resampling.NEAREST,
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
    "box": Image.Resampling.BOX,
    "hamming": Image.Resampling.HAMMING,
}
_CROP_MODES = ("center", "squash", "border")


@dataclass(frozen=True)
class Geometry:
    """The way from an image to a square of pixels; equal geometries share one resized image.

    Attributes
    ----------
    size : int
        Side of the result, pixels.
    resize : str
        ``"squash"``: the whole image to the square, aspect ratio ignored, as the paper. ``"crop"``: resized, then
        cropped, exactly as the library does that the network comes from.
    interpolation : str
        A Pillow filter; always with antialiasing.
    crop_pct : float
        1.0 for squash, which has no crop.
    resized : int, optional
        Side that images are resized to before the crop, pixels: ``size / crop_pct``, rounded down. None without a crop.
    crop_mode : str
        ``"center"``: the shorter side is resized. ``"squash"``: both are. ``"border"``: the longer one is, and the rest
        of the square is filled.
    fill : tuple of 3 int, optional
        Colour of the border.
    """

    size: int
    resize: Resize
    interpolation: str
    crop_pct: float
    resized: int | None = added_later(None)
    crop_mode: str = added_later("center")
    fill: tuple[int, int, int] | None = added_later(None)


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
        If the record names an interpolation or a crop mode that there is not.
    """
    size, mean, std, interpolation = spec.input_size, spec.mean, spec.std, spec.interpolation
    if size is None or mean is None or std is None or interpolation is None:
        raise ConfigurationError(f"The record of model {spec.name!r} must be resolved by its backbone family first.")
    _check_choice(spec, "interpolation", interpolation, _FILTERS)
    crop_mode = _check_choice(spec, "crop_mode", spec.crop_mode or "center", _CROP_MODES)
    crop_pct = spec.crop_pct or 1.0
    resized = math.floor(size / crop_pct)
    if resize == "squash" or (crop_mode == "squash" and resized == size):
        return Preprocessing(Geometry(size, "squash", interpolation, 1.0), mean, std)
    red, green, blue = (round(255 * value) for value in mean)
    fill = (red, green, blue) if crop_mode == "border" else None
    return Preprocessing(Geometry(size, resize, interpolation, crop_pct, resized, crop_mode, fill), mean, std)


def _check_choice(spec: ModelSpec, field: str, value: str, choices: Collection[str]) -> str:
    if value not in choices:
        raise ConfigurationError(
            f"{field} of model {spec.name!r} must be one of {', '.join(choices)}. Got {value!r}."
            f"{did_you_mean(value, choices)}"
        )
    return value


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
        If the image is so long that its resized shorter side would need too many pixels, or would have none.
    """
    resample = _FILTERS[geometry.interpolation]
    if geometry.resize == "squash":
        return np.asarray(image.resize((geometry.size, geometry.size), resample))
    width, height = _resized_size(image.size, geometry)
    check_pixels(width, height)
    if not width or not height:
        raise UnreadableImageError(f"{image.width} x {image.height} pixels, of which resizing would leave no line")
    return np.asarray(_centre(image.resize((width, height), resample), geometry))


def _resized_size(size: tuple[int, int], geometry: Geometry) -> tuple[int, int]:
    """Return the size of an image before its crop, rounded as timm and torchvision do; a test compares with both."""
    resized = cast(int, geometry.resized)
    width, height = size
    if geometry.crop_mode == "squash":
        return resized, resized
    if geometry.crop_mode == "border":
        ratio = max(width / resized, height / resized)
        return round(width / ratio), round(height / ratio)
    if width <= height:
        return resized, int(resized * height / width)
    return int(resized * width / height), resized


def _centre(image: Image.Image, geometry: Geometry) -> Image.Image:
    """Crop the central square; what lies beyond the image has the colour of the border."""
    left, top = (_offset(length, geometry.size) for length in image.size)
    if min(left, top) >= 0:
        return image.crop((left, top, left + geometry.size, top + geometry.size))
    square = Image.new("RGB", (geometry.size, geometry.size), geometry.fill or (0, 0, 0))
    square.paste(image, (-left, -top))
    return square


def _offset(length: int, size: int) -> int:
    """Return where `size` pixels in the middle of `length` begin: halves go to the even one, spare ones to the end."""
    return round((length - size) / 2) if length >= size else -((size - length) // 2)


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
