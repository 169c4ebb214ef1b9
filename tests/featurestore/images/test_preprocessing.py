import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from featurestore.catalogue.models import ModelSpec
from featurestore.errors import ConfigurationError
from featurestore.images.preprocessing import Geometry, UnreadableImageError, decode, for_model, to_array

GRADIENT = np.linspace(0, 255, 40 * 30, dtype=np.uint8).reshape(30, 40)


def encoded(image: Image.Image, form: str, **options) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, form, **options)
    return buffer.getvalue()


def png_header_claiming(width: int, height: int) -> bytes:
    """A tiny PNG whose header promises so many pixels."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(b"\0" * 100)) + chunk(b"IEND", b"")


GREY = Image.fromarray(GRADIENT)
RGB = Image.merge("RGB", (GREY, GREY, GREY))
READABLE = {
    "grey": encoded(GREY, "PNG"),
    "jpeg": encoded(RGB, "JPEG", quality=95),
    "palette": encoded(GREY.convert("P"), "PNG"),
    "palette with transparency": encoded(GREY.convert("P"), "PNG", transparency=b"\x00\x80"),
    "CMYK": encoded(RGB.convert("CMYK"), "JPEG", quality=95),
    "alpha": encoded(Image.merge("RGBA", (GREY, GREY, GREY, GREY)), "PNG"),
    "16 bits": encoded(Image.fromarray(GRADIENT.astype(np.uint16) * 257), "PNG"),
    "animated": encoded(RGB, "GIF", save_all=True, append_images=[Image.new("RGB", (40, 30), "red")]),
    "webp": encoded(RGB, "WEBP", quality=95),
    "never encoded": GRADIENT,
}


@pytest.mark.parametrize("content", READABLE.values(), ids=READABLE.keys())
def test_every_kind_of_image_becomes_the_same_rgb(content):
    image = decode(content)
    assert (image.mode, image.size) == ("RGB", (40, 30))
    difference = np.abs(np.asarray(image).astype(int) - np.asarray(RGB).astype(int))
    assert difference.mean() < 4


@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "PPM"])
@pytest.mark.parametrize(
    "options", [{}, {"progressive": True, "quality": 95, "subsampling": 0}], ids=["plain", "other"]
)
def test_pixels_are_exactly_those_of_pillows_own_decoding_and_resizing(form, options):
    noise = np.random.default_rng(0).integers(0, 256, (60, 90, 3), dtype=np.uint8)
    content = encoded(Image.fromarray(noise), form, **options)
    with Image.open(io.BytesIO(content)) as image:
        expected = image.convert("RGB")
    np.testing.assert_array_equal(np.asarray(decode(content)), np.asarray(expected))
    resized = np.asarray(expected.resize((32, 32), Image.Resampling.BICUBIC))
    np.testing.assert_array_equal(to_array(decode(content), Geometry(32, "squash", "bicubic", 1.0)), resized)


@pytest.mark.parametrize("form", ["PNG", "TIFF"])
def test_sixteen_bits_become_their_upper_eight(form):
    values = np.random.default_rng(0).integers(0, 2**16, (30, 40), dtype=np.uint16)
    array = np.asarray(decode(encoded(Image.fromarray(values), form)))
    np.testing.assert_array_equal(array, np.repeat((values >> 8)[..., None], 3, axis=2))


def test_one_pixel_is_an_image():
    assert to_array(decode(encoded(Image.new("L", (1, 1), 7), "PNG")), Geometry(8, "squash", "bicubic", 1.0)).shape == (
        8,
        8,
        3,
    )


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "the file is empty"),
        (b"just text, named .png", "not an image of a known format"),
        (READABLE["jpeg"][:400], "(?i)truncated|broken"),
        (READABLE["grey"][:60], "(?i)truncated|broken|unrecognized"),
        (png_header_claiming(60_000, 60_000), "more than 89,000,000 pixels"),
        (png_header_claiming(12_000, 9_000), "12000 x 9000 pixels; at most 89,000,000"),
    ],
    ids=["empty", "text", "truncated JPEG", "truncated PNG", "bomb", "small bomb"],
)
def test_an_unreadable_image_has_a_reason(content, reason):
    with pytest.raises(UnreadableImageError, match=reason):
        decode(content)


def test_squash_shows_the_whole_image():
    stripes = Image.fromarray(np.repeat([[0] * 10 + [255] * 30], 20, axis=0).astype(np.uint8)).convert("RGB")
    array = to_array(stripes, Geometry(16, "squash", "nearest", 1.0))
    assert array.shape == (16, 16, 3)
    assert (array[:, :4] == 0).all()
    assert (array[:, 4:] == 255).all()


def test_crop_keeps_the_aspect_ratio_and_the_centre():
    stripes = Image.fromarray(np.repeat([[0] * 10 + [255] * 20 + [0] * 10], 20, axis=0).astype(np.uint8)).convert("RGB")
    assert (to_array(stripes, Geometry(20, "crop", "nearest", 1.0)) == 255).all()
    assert to_array(stripes, Geometry(14, "crop", "bicubic", 0.875)).shape == (14, 14, 3)


def test_an_extremely_long_image_is_not_blown_up_to_be_cropped():
    with pytest.raises(UnreadableImageError, match="pixels"):
        to_array(Image.new("RGB", (1, 40_000)), Geometry(224, "crop", "bicubic", 0.875))


def test_squash_ignores_the_models_crop_so_that_equal_sizes_share_an_image():
    fields = {"backbone": "x:y", "input_size": 64, "mean": (0, 0, 0), "std": (1, 1, 1), "interpolation": "bicubic"}
    one = ModelSpec(name="one", crop_pct=0.9, **fields)
    two = ModelSpec(name="two", crop_pct=0.8, **{**fields, "mean": (0.5, 0.5, 0.5)})
    assert for_model(one, "squash").geometry == for_model(two, "squash").geometry
    assert for_model(one, "crop").geometry != for_model(two, "crop").geometry


def test_an_unknown_interpolation_is_refused():
    spec = ModelSpec(
        name="net", backbone="x:y", input_size=8, mean=(0, 0, 0), std=(1, 1, 1), interpolation="cubic", crop_pct=1.0
    )
    with pytest.raises(ConfigurationError, match="nearest, bilinear, bicubic, lanczos"):
        for_model(spec, "squash")
