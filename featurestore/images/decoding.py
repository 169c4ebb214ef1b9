"""Decode the images of a shard into pixels, in order, ahead of their use."""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np
import numpy.typing as npt

from featurestore.images import preprocessing
from featurestore.images.preprocessing import AS_STORED, Geometry, Reading, UnreadableImageError
from featurestore.images.sources import RawImage

Pixels = dict[Geometry, npt.NDArray[np.uint8]]
"""One image, or a batch of them, at every geometry that is asked for: (size, size, 3) or (batch, size, size, 3)."""


@dataclass(frozen=True)
class Image:
    """The record of an image, without its pixels.

    Attributes
    ----------
    width, height : int, optional
        Pixels; None if it is unreadable.
    reason : str, optional
        Why it is unreadable.
    orientation : int, optional
        EXIF orientation; None if it states none.
    mode : str, optional
        Pillow's name of its pixels; None if it is unreadable.
    largest : float, optional
        Largest value of pixels that have more than 8 bits.
    """

    sample_id: str
    origin: str
    width: int | None
    height: int | None
    reason: str | None
    orientation: int | None = None
    mode: str | None = None
    largest: float | None = None


@dataclass(frozen=True)
class Batch:
    """Consecutive images of a shard.

    Attributes
    ----------
    images : list of Image
        All of them.
    pixels : Pixels
        Pixels of the readable ones, stacked.
    """

    images: list[Image]
    pixels: Pixels

    @property
    def n_readable(self) -> int:
        """Number of images that have pixels."""
        return sum(image.reason is None for image in self.images)


def batches(
    raw: Iterable[RawImage],
    geometries: Iterable[Geometry],
    *,
    batch_size: int,
    pool: ThreadPoolExecutor,
    reading: Reading = AS_STORED,
) -> Iterator[Batch]:
    """Decode and resize in the threads of `pool`, at most two batches ahead, and give batches in order."""
    wanted = tuple(geometries)
    decoded = _in_order(pool, lambda item: decode(item, wanted, reading), raw, ahead=2 * batch_size)
    while items := list(islice(decoded, batch_size)):
        readable = [pixels for _, pixels in items if pixels is not None]
        stacked = {geometry: np.stack([pixels[geometry] for pixels in readable]) for geometry in wanted if readable}
        yield Batch([image for image, _ in items], stacked)


def decode(raw: RawImage, geometries: Iterable[Geometry], reading: Reading = AS_STORED) -> tuple[Image, Pixels | None]:
    """Decode one image once, for all geometries; None if it is unreadable."""
    sample_id = content_id(raw.content)
    if raw.reason is not None:
        return Image(sample_id, raw.origin, None, None, raw.reason), None
    try:
        found = preprocessing.read_image(raw.content, reading)
        arrays = {geometry: preprocessing.to_array(found.image, geometry) for geometry in geometries}
    except UnreadableImageError as error:
        return Image(sample_id, raw.origin, None, None, str(error)), None
    size = (found.image.width, found.image.height)
    return Image(sample_id, raw.origin, *size, None, found.orientation, found.mode, found.largest), arrays


def content_id(content: bytes | npt.NDArray[np.uint8]) -> str:
    """Return 128 bits of SHA-256 over the bytes of an image, and over its shape if it was never encoded."""
    if isinstance(content, np.ndarray):
        content = f"{content.shape}".encode() + content.tobytes()
    return hashlib.sha256(content).hexdigest()[:32]


def _in_order(pool: ThreadPoolExecutor, function: Any, items: Iterable[Any], *, ahead: int) -> Iterator[Any]:
    """Map `function` in threads, in order, with at most `ahead` results waiting."""
    waiting: deque[Future[Any]] = deque()
    for item in items:
        waiting.append(pool.submit(function, item))
        if len(waiting) > ahead:
            yield waiting.popleft().result()
    while waiting:
        yield waiting.popleft().result()
