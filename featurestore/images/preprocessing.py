"""Turn an encoded image into a uint8 array of the network's input size; the record of how, which enters keys.

Decoding follows what every framework does, so that features can be compared: the first frame, and Pillow's own
``convert("RGB")`` wherever pixels have 8 bits or fewer per channel: 1-bit, grey, palette, RGB, CMYK, YCbCr, LAB, HSV,
with or without transparency, which is dropped. Pillow opens PNG and TIFF of three channels of 16 bits as 8 bits. Its
own conversion would clip everything else to white, so that goes from its range to 0 .. 255, by one rule:

- 16-bit grey: 0 .. 65535, the upper eight bits; also where the values use fewer bits than that.
- 32-bit whole numbers (Pillow opens 16-bit PPM as such): the same. An image of them is unreadable if it has values
  beyond that, or none above 255, for then 8 bits may be meant.
- float: 0 .. 1, as the frameworks have it. An image with other values is unreadable.
- `pixel_range` of a dataset replaces these ranges, and what lies beyond it is clipped. NaN is never readable, nor are
  several channels of 16 bits where a range is stated.
- A TIFF whose white is zero is inverted, whatever its bits, as Pillow inverts those of 8.

No range is taken from what one image happens to hold: a dark image stays dark. EXIF is ignored unless a dataset says
``exif = "apply"``; TIFF is the exception, which Pillow itself turns. What may be decoded at all is bounded by
`image_limits`.

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
from PIL import ExifTags, Image, UnidentifiedImageError

from featurestore.catalogue.models import ModelSpec
from featurestore.errors import ConfigurationError, did_you_mean
from featurestore.images.image_limits import MAX_PIXELS, check_pixels, open_bounded
from featurestore.images.image_limits import UnreadableImageError as UnreadableImageError
from featurestore.store.layout import added_later, key_fields

Resize = Literal["squash", "crop"]

_LONGEST_REASON = 300  # characters

_MOST_8, _MOST_16 = 255, 65535
_ALWAYS_16 = ("PPM", "PNG")  # formats that have no 32 bits
_PHOTOMETRIC, _WHITE_IS_ZERO = 262, 0  # tags of TIFF, and their values
_SAMPLE_FORMAT, _UNSIGNED, _SIGNED = 339, 1, 2
_STATE_IT = "state their range in the dataset as pixel_range = [black, white]"

_METADATA = {"exif", "Raw profile type exif", "XML:com.adobe.xmp", "xmp"}  # places of an orientation, in Pillow's names
_NO_IMAGES = {
    b"version https://git-lfs": "a pointer of Git LFS: git lfs pull fetches the image",
    b"<!doctype html": "a web page",
    b"<html": "a web page",
    b"\x93numpy": "an array of NumPy",
    b"pk\x03\x04": "a ZIP archive",
}
"""How contents begin, in lower case, that people have in the place of images."""
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}

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


@dataclass(frozen=True)
class Reading:
    """How a dataset has its images read.

    Attributes
    ----------
    exif : str
        ``"ignore"`` or ``"apply"``.
    pixel_range : tuple of 2 float, optional
        Black and white of pixels that have more than 8 bits.
    """

    exif: Literal["ignore", "apply"] = "ignore"
    pixel_range: tuple[float, float] | None = None


AS_STORED = Reading()
"""Pixels as they are stored, in the range of their type."""


@dataclass(frozen=True)
class Decoded:
    """An 8-bit RGB image, and what it was.

    Attributes
    ----------
    orientation : int, optional
        EXIF orientation, 1 to 8; None if it states none.
    mode : str
        Pillow's name of its pixels: ``L``, ``RGB``, ``I;16``, ``F``, ...
    largest : float, optional
        Largest value of pixels that have more than 8 bits.
    """

    image: Image.Image
    orientation: int | None
    mode: str
    largest: float | None = None


def decode(content: bytes | npt.NDArray[np.uint8]) -> Image.Image:
    """Decode an image to 8-bit RGB; see `read_image`."""
    return read_image(content).image


def read_image(content: bytes | npt.NDArray[np.uint8], reading: Reading = AS_STORED) -> Decoded:
    """Decode an image to 8-bit RGB, and say what it was.

    Parameters
    ----------
    content : bytes, or ndarray of uint8, shape (height, width) or (height, width, 3)
        An encoded image, or one that was never encoded.
    reading : Reading

    Raises
    ------
    UnreadableImageError
        With the reason in words: the data are broken, beyond the limits of `image_limits`, or of a range that is not
        known.
    MemoryError
        If this machine has too little memory now; that is not the image's fault.
    """
    if isinstance(content, np.ndarray):
        image = Image.fromarray(content)
        return Decoded(image.convert("RGB"), None, image.mode)
    if not content:
        raise UnreadableImageError("the file is empty")
    try:
        with open_bounded(content) as image:
            _check_range(image, reading.pixel_range)
            image.load()
            orientation = _orientation(image)
            pixels, largest = _to_rgb(image, reading.pixel_range)
            turn = _TURNS.get(orientation or 1) if reading.exif == "apply" else None
            return Decoded(pixels if turn is None else pixels.transpose(turn), orientation, image.mode, largest)
    except (UnreadableImageError, MemoryError):
        raise
    except UnidentifiedImageError:
        raise UnreadableImageError(_what_else(content)) from None
    except Image.DecompressionBombError:
        raise UnreadableImageError(f"more than {MAX_PIXELS:,} pixels") from None
    except Exception as error:  # decoders of broken data raise nearly anything; the image is what is at fault
        raise UnreadableImageError(_plain_words(error)) from error


def _what_else(content: bytes) -> str:
    """Return what a content is that is no image of a known format."""
    if content.startswith((b"II*\0", b"MM\0*")):
        return "a TIFF of a kind that Pillow cannot read, such as floats of several channels, or of 16 or 64 bits"
    start = content[:64].lstrip().lower()
    found = next((what for beginning, what in _NO_IMAGES.items() if start.startswith(beginning)), None)
    if content[4:8] == b"ftyp":
        found = "HEIC, which is not read: convert it" if content[8:11] in (b"hei", b"hev", b"mif") else "a video"
    return f"not an image of a known format{f' but {found}' if found else ''}"


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


def _orientation(image: Image.Image) -> int | None:
    """Return the EXIF orientation of a loaded image; to ask costs nothing where it has no metadata."""
    if image.info.keys().isdisjoint(_METADATA):
        return None
    try:
        stated = image.getexif().get(ExifTags.Base.Orientation)
    except Exception:  # broken metadata leave the pixels readable
        return None
    return stated if isinstance(stated, int) and 1 <= stated <= 8 else None


def _to_rgb(image: Image.Image, pixel_range: tuple[float, float] | None) -> tuple[Image.Image, float | None]:
    """Return 8-bit RGB and, of pixels with more bits, the largest value."""
    if image.mode == "F" or image.mode.startswith("I"):
        values = _values_of(image)
        low, high = _extremes(values)
        black, white = pixel_range or _range_of(image, low, high)
        if _tag(image, _PHOTOMETRIC) == _WHITE_IS_ZERO:  # Pillow inverts those of 8 bits, and leaves these
            black, white = white, black
        if (black, white) == (0, _MOST_16):
            grey = (np.clip(values, 0, _MOST_16).astype(np.uint16) >> 8).astype(np.uint8)
        else:
            grey = np.rint(np.clip((values.astype(np.float64) - black) / (white - black), 0, 1) * 255).astype(np.uint8)
        return Image.fromarray(grey).convert("RGB"), high
    if _tag(image, _SAMPLE_FORMAT) == _SIGNED:
        raise UnreadableImageError("pixels of signed whole numbers with 8 bits")
    if image.mode == "P" and "transparency" in image.info:
        image = image.convert("RGBA")  # the same colours, without a warning
    return image.convert("RGB"), None


def _tag(image: Image.Image, number: int) -> Any:
    """Return what a TIFF states, of several channels what it states of the first; None in other formats."""
    stated = getattr(image, "tag_v2", {}).get(number)
    return stated[0] if isinstance(stated, tuple) and stated else stated


def _values_of(image: Image.Image) -> npt.NDArray[Any]:
    """Return the values of pixels of one channel with more than 8 bits; Pillow takes unsigned 32 bits for signed."""
    values = np.asarray(image)
    unsigned = image.format == "TIFF" and _tag(image, _SAMPLE_FORMAT) in (None, _UNSIGNED)
    return values.view(np.uint32) if values.dtype == np.int32 and unsigned else values


def _check_range(image: Image.Image, pixel_range: tuple[float, float] | None) -> None:
    """Refuse a stated range for several channels of 16 bits, of which Pillow keeps the upper 8 when it loads them.

    Raises
    ------
    UnreadableImageError
    """
    several = not image.mode.startswith("I") and any(";16" in str(tile) for tile in getattr(image, "tile", ()))
    if pixel_range is not None and several:
        raise UnreadableImageError(
            "several channels of 16 bits, of which Pillow keeps the upper 8: pixel_range is for images of one channel"
        )


def _extremes(values: npt.NDArray[Any]) -> tuple[float, float]:
    low, high = float(values.min()) + 0.0, float(values.max()) + 0.0  # no -0
    if not math.isfinite(low) or not math.isfinite(high):
        raise UnreadableImageError("pixels that are NaN or infinite")
    return low, high


def _range_of(image: Image.Image, low: float, high: float) -> tuple[float, float]:
    """Return black and white of the pixels' type.

    Raises
    ------
    UnreadableImageError
        If the values do not belong to it.
    """
    if image.mode == "F":
        if low < 0 or high > 1:
            raise UnreadableImageError(f"float pixels with {_values(low, high)}, not from 0 to 1; {_STATE_IT}")
        return 0, 1
    if image.mode == "I" and image.format not in _ALWAYS_16 and not (low >= 0 and _MOST_8 < high <= _MOST_16):
        raise UnreadableImageError(f"32-bit pixels with {_values(low, high)}: of 8, 16 or 32 bits? {_STATE_IT}")
    return 0, _MOST_16


def _values(low: float, high: float) -> str:
    """Say in which range values lie, in words that the images of a dataset share."""
    return "negative values" if low < 0 else f"values up to {2 ** math.ceil(math.log2(high + 1)) - 1}"
