"""Limits on what decoding one image may cost: formats, bytes, pixels, scans, parts.

A decoder in a thread cannot be interrupted, so whatever could take minutes or gigabytes is refused before it starts. No
limit is a clock: whether an image is readable depends on its bytes alone, so every machine says the same of it, however
busy it is. At these limits the slowest image that we could make takes ten seconds of a CPU, the largest 1.4 GB of
memory, see `tests/benchmarks/bench_hostile_images.py`.
"""

from __future__ import annotations

import io
import re
import struct
from collections.abc import Iterator
from functools import cache
from typing import Any

from PIL import Image

MAX_PIXELS = 89_000_000  # just under where Pillow itself begins to warn
"""Images that claim more pixels are not decoded: they are broken, or meant to exhaust the memory."""

MAX_BYTES = 256 * 2**20
"""Encoded images that are larger are not read; 89 million pixels of 24 bits would just fit."""

FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "PPM", "AVIF")
"""Formats that are decoded, in Pillow's names. The other formats of Pillow are rare in datasets; some have slow or
fragile decoders, and EPS would start Ghostscript."""

MAX_SCANS = 100
"""Scans of a JPEG. Real progressive files have about ten; each is a pass over all pixels, however few bytes it has."""

MAX_TIFF_PARTS = 1_000_000
"""Strips or tiles of a TIFF: each costs Pillow a few hundred bytes, whatever the size of the image."""

MAX_TIFF_TAGS = 4096

MAX_BYTES_IN_PYTHON = 8 * 2**20
"""Bytes of an image of a rare kind that Pillow decodes in Python, byte by byte: plain or 16-bit PPM, compressed BMP."""

_UNMETERED_BYTES = 2**20  # less cannot hold enough parts to be slow, but for a TIFF, whose tags can overlap
_HEADER_READS = 20_000
_HEADER_BYTES = 32 * 2**20
_BYTES_PER_READ = 256  # the smallest average part of an honest file, taken over its whole length
_TIMES_OVER = 4  # so often an honest file is read at most

_TIFF_OFFSETS = {273, 324}  # StripOffsets, TileOffsets
_TILE_SIDES = (322, 323)  # TileWidth, TileLength
_MAX_JPEG_MARKERS = 10_000
_JPEG_MARKER = re.compile(rb"\xff([^\x00\xd0-\xd7\xff])")
_START_OF_SCAN, _END_OF_IMAGE = b"\xda", b"\xd9"


class UnreadableImageError(Exception):
    """An image that cannot be decoded; becomes a row of `samples` with this reason, never a crash."""


def open_bounded(content: bytes) -> Image.Image:
    """Open an encoded image with Pillow, up to but without the decoding of its pixels, if that is bounded too.

    Raises
    ------
    UnreadableImageError
        If a limit is exceeded. Broken data raises whatever Pillow's parsers raise.
    """
    check_bytes(len(content))
    may_be_tiff = content.startswith((b"II", b"MM"))
    if may_be_tiff:
        _check_tiff_tags(content)
    file = _MeteredFile(content) if may_be_tiff or len(content) > _UNMETERED_BYTES else io.BytesIO(content)
    image = Image.open(file, formats=available_formats())
    check_pixels(*image.size)
    in_python = bool(image.tile) and image.tile[0][0] in Image.DECODERS
    if in_python and len(content) > MAX_BYTES_IN_PYTHON:
        raise UnreadableImageError(
            f"{len(content):,} bytes; of this kind of {image.format}, which is slow to decode, at most "
            f"{MAX_BYTES_IN_PYTHON:,} are"
        )
    if image.format in ("JPEG", "MPO"):
        _check_scans(image, content, file.tell())
    if image.format == "TIFF":
        _check_tiles(image)
    if isinstance(file, _MeteredFile):
        file.allow(_HEADER_READS + len(content) // (1 if in_python else _BYTES_PER_READ), _TIMES_OVER * len(content))
    return image


def check_bytes(size: int) -> None:
    """Refuse an encoded image of more than `MAX_BYTES` bytes."""
    if size > MAX_BYTES:
        raise UnreadableImageError(f"{size:,} bytes; at most {MAX_BYTES:,} are read")


def check_pixels(width: int, height: int) -> None:
    """Refuse an image of more than `MAX_PIXELS` pixels."""
    if width * height > MAX_PIXELS:
        raise UnreadableImageError(f"{width} x {height} pixels; at most {MAX_PIXELS:,} are decoded")


class _MeteredFile(io.BytesIO):
    """Bytes that refuse to be read too often or too many times over.

    Pillow's parsers are Python loops over `read`, one round per marker, chunk, block or tag; a file of nothing else
    keeps them busy for minutes, and tags that all point at the same megabytes fill the memory.
    """

    def __init__(self, content: bytes) -> None:
        super().__init__(content)
        self.allow(_HEADER_READS, _HEADER_BYTES)

    def allow(self, reads: int, size: int) -> None:
        self._reads, self._bytes = reads, size + _HEADER_BYTES

    def read(self, size: int | None = -1, /) -> bytes:
        data = super().read(size)
        self._reads -= 1
        if size is not None and size >= 0:  # a reader that takes all there is does so once
            self._bytes -= len(data)
        if self._reads < 0 or self._bytes < 0:
            raise UnreadableImageError("too many small or overlapping parts")
        return data


@cache
def available_formats() -> tuple[str, ...]:
    """Return those of `FORMATS` that this build of Pillow has: Pillow fails on names that it does not know."""
    Image.init()
    return tuple(name for name in FORMATS if name in Image.OPEN)


def _check_scans(image: Image.Image, content: bytes, header_end: int) -> None:
    layers = getattr(image, "layers", 0)
    first = b"\xff" + _START_OF_SCAN + bytes((0, 6 + 2 * layers, layers))
    if "progressive" not in image.info and content.startswith(first, header_end - 8 - 2 * layers):
        return  # all of a baseline image in its first scan: nothing after it is decoded
    # The first count is quick; it also finds the thumbnails of the header and whatever follows the image.
    if content.count(b"\xff" + _START_OF_SCAN) > MAX_SCANS and _scans(content) > MAX_SCANS:
        raise UnreadableImageError(f"more than {MAX_SCANS} scans")


def _scans(content: bytes) -> int:
    """Count the scans of a JPEG up to its end; return `MAX_SCANS` + 1 if there are more, or too many other markers."""
    scans, position = 0, 2
    for _ in range(_MAX_JPEG_MARKERS):
        found = _JPEG_MARKER.search(content, position)
        if found is None or found[1] == _END_OF_IMAGE or scans > MAX_SCANS:
            return scans
        scans += found[1] == _START_OF_SCAN
        position = found.end() + int.from_bytes(content[found.end() : found.end() + 2])
    return MAX_SCANS + 1


def _check_tiff_tags(content: bytes) -> None:
    for tag, count in _tiff_tags(content):
        if tag in _TIFF_OFFSETS and count > MAX_TIFF_PARTS:
            raise UnreadableImageError(f"{count:,} strips or tiles; at most {MAX_TIFF_PARTS:,} are read")


def _tiff_tags(content: bytes) -> Iterator[tuple[int, int]]:
    """Yield tag and number of values of every entry of a TIFF's first directory, as far as it is not cut off."""
    order, is_big = "<" if content[:2] == b"II" else ">", content[2:3] == b"+"  # 43: BigTIFF; Pillow reads no other
    header, number, entry = (order + form for form in (("8xQ", "Q", "HHQ8x") if is_big else ("4xL", "H", "HHL4x")))
    try:
        (start,) = struct.unpack_from(header, content)
        (n_tags,) = struct.unpack_from(number, content, start)
    except struct.error:
        return
    if n_tags > MAX_TIFF_TAGS:
        raise UnreadableImageError(f"{n_tags:,} tags; at most {MAX_TIFF_TAGS:,} are read")
    size, first = struct.calcsize(entry), start + struct.calcsize(number)
    for position in range(first, min(first + n_tags * size, len(content) - size + 1), size):
        tag, _, count = struct.unpack_from(entry, content, position)
        yield tag, count


def _check_tiles(image: Image.Image) -> None:
    """Refuse large tiles: each is decoded whole, however little of it lies in the image."""
    tags = getattr(image, "tag_v2", {})
    if any(tag in tags for tag in _TILE_SIDES):
        check_pixels(*(_padded(length, tags.get(tag)) for length, tag in zip(image.size, _TILE_SIDES, strict=True)))


def _padded(length: int, side: Any) -> int:
    """Return the next multiple of a tile's side."""
    if not isinstance(side, int) or side < 1:
        raise UnreadableImageError("broken tiles")
    return -(-length // side) * side
