"""Broken copies of good files, the same for the same seed; run as a program, it decodes thousands in little memory."""

from __future__ import annotations

import io
import resource
import sys
import warnings
from collections.abc import Iterator

import numpy as np
from PIL import Image

from featurestore.images import image_limits, preprocessing
from featurestore.images.preprocessing import Geometry, UnreadableImageError

GEOMETRIES = (Geometry(24, "squash", "bicubic", 1.0), Geometry(16, "crop", "bilinear", 0.875, resized=18))


def mutated(content: bytes, rng: np.random.Generator) -> bytes:
    """Cut it, flip bits, overwrite, repeat or remove a part; most often near the start, where the structure is."""
    data = bytearray(content)
    for _ in range(rng.integers(1, 4)):
        if not data:  # an earlier round has removed all of it
            break
        where = int(len(data) * rng.random() ** rng.integers(1, 4))
        length = int(rng.integers(1, 9))
        match rng.integers(6):
            case 0:
                del data[max(1, where) :]
            case 1:
                for position in rng.integers(0, len(data), length):
                    data[position] ^= 1 << int(rng.integers(8))
            case 2:
                data[where : where + length] = rng.bytes(length)
            case 3:
                data[where : where + length] = bytes([int(rng.choice([0, 255, 127, 128]))]) * length
            case 4:
                data[where:where] = data[where : where + 50 * length] * int(rng.integers(1, 20))
            case _:
                del data[where : where + length]
    return bytes(data)


def good_images() -> dict[str, bytes]:
    """An image in every format that is decoded, and in some ways that decoders treat apart."""
    noise = np.random.default_rng(0).integers(0, 256, (30, 40, 3), dtype=np.uint8)
    photo = Image.fromarray(noise)
    frames = {"save_all": True, "append_images": [photo.rotate(90), photo.rotate(180)]}
    ways = {
        "JPEG": {},
        "JPEG progressive": {"progressive": True},
        "PNG": {},
        "PNG animated": frames,
        "WEBP": {},
        "WEBP lossless": {"lossless": True},
        "WEBP animated": frames,
        "GIF animated": frames,
        "BMP": {},
        "TIFF": {},
        "TIFF deflate": {"compression": "tiff_deflate"},
        "TIFF lzw": {"compression": "tiff_lzw"},
        "TIFF jpeg": {"compression": "jpeg"},
        "TIFF pages": frames,
        "PPM": {},
        "AVIF": {},
    }
    found = {}
    for name, options in ways.items():
        form = name.split()[0]
        if form in image_limits.available_formats():
            buffer = io.BytesIO()
            photo.save(buffer, form, **options)
            found[name] = buffer.getvalue()
    for name, image in {
        "PNG palette": photo.convert("P"),
        "PNG 16 bits": Image.fromarray(noise[..., 0].astype(np.uint16) << 8),
    }.items():
        buffer = io.BytesIO()
        image.save(buffer, "PNG")
        found[name] = buffer.getvalue()
    return found


def broken_images(per_image: int, seed: int) -> Iterator[bytes]:
    """Mutations of every good image, in turn."""
    rng = np.random.default_rng(seed)
    for content in good_images().values():
        for _ in range(per_image):
            yield mutated(content, rng)


def decodes(content: bytes) -> bool:
    """Whether an image is readable; anything but pixels of the right shape or a reason in words is an error."""
    reason = None
    try:
        image = preprocessing.decode(content)
        arrays = [preprocessing.to_array(image, geometry) for geometry in GEOMETRIES]
    except UnreadableImageError as error:
        reason = str(error)
    if reason is not None:
        assert any(character.isalpha() for character in reason), content
        assert " at 0x" not in reason, content  # an address: another in every run
        return False
    assert [array.shape for array in arrays] == [(geometry.size, geometry.size, 3) for geometry in GEOMETRIES]
    return True


if __name__ == "__main__":
    memory, per_image, seed = (int(argument) for argument in sys.argv[1:])
    resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
    warnings.simplefilter("ignore")
    results = [decodes(content) for content in broken_images(per_image, seed)]
    sys.stdout.write(f"{len(results)} {sum(results)}")
