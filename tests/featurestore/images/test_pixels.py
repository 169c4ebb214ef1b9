"""From what an image file holds to 8-bit RGB: modes, ranges, EXIF, and what a run says of them."""

import io
import struct

import numpy as np
import pytest
from PIL import Image, ImageOps

from featurestore.catalogue.datasets import DatasetSpec
from featurestore.errors import ConfigurationError
from featurestore.images.decoding import decode
from featurestore.images.pixel_facts import PixelFacts
from featurestore.images.preprocessing import Reading, UnreadableImageError, read_image
from featurestore.images.sources import RawImage

RGB = Image.fromarray(np.random.default_rng(0).integers(0, 256, (30, 40, 3), dtype=np.uint8))
RAMP = np.linspace(0, 1, 1200).reshape(30, 40)


def encoded(image: Image.Image, form: str, **options) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, form, **options)
    return buffer.getvalue()


def pixels(content: bytes, **reading) -> np.ndarray:
    return np.asarray(read_image(content, Reading(**reading)).image)


@pytest.mark.filterwarnings("ignore:Palette images with Transparency")
@pytest.mark.parametrize(
    ("mode", "form"),
    [
        *((mode, "PNG") for mode in ("1", "L", "LA", "P", "RGB", "RGBA")),
        *((mode, "TIFF") for mode in ("1", "L", "LA", "P", "PA", "RGB", "RGBA", "RGBX", "CMYK", "YCbCr", "LAB")),
        *((mode, "JPEG") for mode in ("L", "RGB", "CMYK")),
        *((mode, "GIF") for mode in ("1", "L", "P", "RGB")),
        *((mode, "WEBP") for mode in ("RGB", "RGBA")),
        *((mode, "BMP") for mode in ("1", "L", "P", "RGB", "RGBA")),
        *((mode, "PPM") for mode in ("1", "L", "RGB")),
    ],
)
def test_eight_bits_are_what_pillow_converts_them_to(mode, form):
    if mode == "LAB":
        image = Image.frombytes("LAB", RGB.size, RGB.tobytes())
    else:
        image = RGB.convert("P").convert("PA") if mode == "PA" else RGB.convert(mode)
    content = encoded(image, form)
    with Image.open(io.BytesIO(content)) as opened:
        try:
            expected = np.asarray(opened.convert("RGB"))
        except OSError:  # before version 13, a TIFF of YCbCr
            pytest.skip("this Pillow cannot read the file that it wrote itself")
    np.testing.assert_array_equal(pixels(content), expected)


@pytest.mark.parametrize("transparency", [3, bytes(range(0, 256, 2))])
@pytest.mark.filterwarnings("ignore:Palette images with Transparency")
def test_a_transparent_palette_keeps_its_colours(transparency):
    content = encoded(RGB.convert("P"), "PNG", transparency=transparency)
    with Image.open(io.BytesIO(content)) as opened:
        np.testing.assert_array_equal(pixels(content), np.asarray(opened.convert("RGB")))


def deep(kind: str, largest: float) -> bytes:
    if kind == "big-endian":
        return b"P5\n40 30\n65535\n" + (RAMP * largest).astype(">u2").tobytes()
    form = {"u2": "PNG", "i4": "TIFF", "f4": "TIFF"}[kind]
    return encoded(Image.fromarray((RAMP * largest).astype(kind)), form)


@pytest.mark.parametrize(
    ("kind", "largest", "top"),
    [
        ("u2", 65535, 255),
        ("u2", 4095, 15),
        ("i4", 65535, 255),
        ("i4", 4095, 15),
        ("f4", 1, 255),
        ("f4", 0.5, 128),
        ("big-endian", 65535, 255),
        ("big-endian", 200, 0),
    ],
)
def test_more_bits_go_from_the_range_of_their_type_to_eight(kind, largest, top):
    array = pixels(deep(kind, largest))
    assert array.shape == (30, 40, 3)
    assert (array.min(), array.max()) == (0, top)
    assert (np.diff(array[..., 0].ravel().astype(int)) >= 0).all()


@pytest.mark.parametrize(
    ("kind", "largest", "reason"),
    [
        ("f4", 255, r"float pixels with values up to 255, not from 0 to 1; .* as pixel_range = \[black, white\]"),
        ("f4", 1.02, "values up to 3"),
        ("f4", 4000, "values up to 4095"),
        ("f4", -1, "negative values"),
        ("f4", np.nan, "NaN or infinite"),
        ("f4", np.inf, "NaN or infinite"),
        ("i4", 200, "32-bit pixels with values up to 255: of 8, 16 or 32 bits?"),
        ("i4", 70000, "values up to 131071"),
        ("i4", -9, "negative values"),
    ],
)
@pytest.mark.filterwarnings("ignore:invalid value")
def test_values_beyond_the_range_of_their_type_are_unreadable_and_say_so(kind, largest, reason):
    with pytest.raises(UnreadableImageError, match=reason):
        pixels(deep(kind, largest))


@pytest.mark.parametrize("kind", ["u2", "i4", "f4"])
def test_a_stated_range_is_black_to_white_and_clips(kind):
    array = pixels(deep(kind, 4095), pixel_range=(0, 4095))
    np.testing.assert_allclose(array[..., 0], 255 * RAMP, atol=1)
    clipped = pixels(deep(kind, 4095), pixel_range=(1000, 2000))[..., 0]
    assert (clipped[RAMP < 0.24] == 0).all()
    assert (clipped[RAMP > 0.49] == 255).all()
    np.testing.assert_array_equal(pixels(encoded(RGB, "PNG"), pixel_range=(0, 4095)), np.asarray(RGB))


@pytest.mark.filterwarnings("ignore:invalid value")
def test_a_stated_range_does_not_make_numbers_of_what_is_none():
    with pytest.raises(UnreadableImageError, match="NaN or infinite"):
        pixels(deep("f4", np.nan), pixel_range=(0, 1))


def tiff(values: np.ndarray, *, white_is_zero: bool = False) -> bytes:
    """Write a TIFF of one strip whose tags say the type of its values; Pillow cannot write all of these."""
    height, width, channels = (*values.shape, 1)[:3]
    form, bits = {"u": 1, "i": 2, "f": 3}[values.dtype.kind], 8 * values.dtype.itemsize
    colours = 2 if channels > 1 else int(not white_is_zero)
    numbers = {256: width, 257: height, 259: 1, 262: colours, 277: channels, 278: height, 279: values.nbytes}
    start = 10 + 12 * (len(numbers) + 3) + 4 + 4 * channels
    lists = {258: [bits] * channels, 273: [start], 339: [form] * channels}
    entries, far = b"", b""
    for tag, value in sorted({**{tag: [number] for tag, number in numbers.items()}, **lists}.items()):
        packed = struct.pack(f"<{len(value)}{'H' if tag in (258, 339) else 'I'}", *value)
        if len(packed) > 4:
            packed, far = struct.pack("<I", start - 4 * channels + len(far)), far + packed
        entries += struct.pack("<HHI", tag, 3 if tag in (258, 339) else 4, len(value)) + packed.ljust(4, b"\0")
    head = b"II*\0" + struct.pack("<IH", 8, len(numbers) + 3) + entries + b"\0" * 4
    return (head + far).ljust(start, b"\0") + values.tobytes()


@pytest.mark.parametrize(("kind", "largest"), [("u1", 255), ("u2", 65535), ("f4", 1)])
def test_a_tiff_whose_white_is_zero_is_inverted_whatever_its_bits(kind, largest):
    values = (RAMP * largest).astype(kind)
    upright = pixels(tiff(values)).astype(int)
    assert abs(255 - upright - pixels(tiff(values, white_is_zero=True))).max() <= 1
    assert upright.max() == 255


def test_a_stated_range_is_inverted_too():
    found = pixels(tiff((RAMP * 4095).astype("u2"), white_is_zero=True), pixel_range=(0, 4095))
    np.testing.assert_allclose(found[..., 0], 255 * (1 - RAMP), atol=1)


def test_unsigned_numbers_of_32_bits_are_not_taken_for_negative_ones():
    content = tiff((RAMP * 4294967295).astype("u4"))
    np.testing.assert_allclose(pixels(content, pixel_range=(0, 4294967295))[..., 0], 255 * RAMP, atol=1)
    with pytest.raises(UnreadableImageError, match="values up to 4294967295"):
        pixels(content)


def test_what_is_no_kind_of_pillows_is_unreadable_with_the_cause():
    with pytest.raises(UnreadableImageError, match="signed whole numbers"):
        pixels(tiff((RAMP * 100 - 50).astype("i1")))
    with pytest.raises(UnreadableImageError, match="a TIFF of a kind that Pillow cannot read"):
        pixels(tiff(np.repeat(RAMP[..., None], 3, -1).astype("f4")))


def test_a_range_is_refused_where_pillow_keeps_8_bits_of_16():
    content = tiff(np.repeat((RAMP * 4095)[..., None], 3, -1).astype("u2"))
    assert pixels(content).max() == 15
    with pytest.raises(UnreadableImageError, match="pixel_range is for images of one channel"):
        pixels(content, pixel_range=(0, 4095))


@pytest.mark.parametrize("pixel_range", [(1.0, 0.0), (0.0, 0.0), (0.0, float("inf")), (float("nan"), 1.0)])
def test_a_range_that_is_none_is_refused(pixel_range):
    with pytest.raises(ConfigurationError, match="two numbers, black and the larger white"):
        DatasetSpec(name="d", source="x:y", pixel_range=pixel_range)


# ---- EXIF -------------------------------------------------------------------------------------------------------


def turned(orientation: int, form: str) -> bytes:
    exif = Image.Exif()
    exif[0x0112] = orientation
    return encoded(RGB, form, exif=exif)


@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP", "TIFF"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_is_applied_as_pillow_does_and_else_ignored(orientation, form):
    content = turned(orientation, form)
    with Image.open(io.BytesIO(content)) as opened:
        as_stored, upright = opened.convert("RGB"), ImageOps.exif_transpose(opened).convert("RGB")
    np.testing.assert_array_equal(pixels(content), np.asarray(as_stored))
    np.testing.assert_array_equal(pixels(content, exif="apply"), np.asarray(upright))
    found = read_image(content).orientation
    assert found == (None if form == "TIFF" else orientation), "Pillow itself turns TIFF"


def test_xmp_states_an_orientation_too_and_broken_exif_none():
    xmp = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:Description tiff:Orientation="6"/></x:xmpmeta>'
    assert read_image(encoded(RGB, "WEBP", xmp=xmp)).orientation == 6
    for broken in (b"Exif\0\0", b"Exif\0\0II*\0\xff\xff\xff\xff", b"Exif\0\0nonsense"):
        content = encoded(RGB, "WEBP", exif=broken)
        assert read_image(content, Reading("apply")).orientation is None
        np.testing.assert_array_equal(pixels(content, exif="apply"), pixels(content))


def test_turned_and_deep_images_are_counted_in_words():
    contents = [turned(6, "JPEG"), turned(1, "JPEG"), encoded(RGB, "PNG"), deep("u2", 4095), deep("f4", 1), b""]
    images = [decode(RawImage(content, "x"), [])[0] for content in contents]
    assert [image.orientation for image in images] == [6, 1, None, None, None, None]
    assert [image.mode for image in images] == ["RGB", "RGB", "RGB", "I;16", "F", None]
    facts = PixelFacts.of(images[:3]) + PixelFacts.of(images[3:])
    pets = DatasetSpec(name="pets", source="x:y")
    assert list(facts.notes(pets)) == [
        '1 of 6 images of pets state an EXIF orientation; exif = "apply" turns them.',
        "1 image of pets is of 16 bits: values from 0 to 65535 became 0 to 255. The largest value is 4,095; "
        "pixel_range sets another range.",
        "1 image of pets is of floats: values from 0 to 1 became 0 to 255. The largest value is 1; "
        "pixel_range sets another range.",
    ]
    applied = DatasetSpec(name="pets", source="x:y", exif="apply", pixel_range=(0, 4095))
    (only,) = facts.notes(applied)
    assert only.endswith("orientation; they were turned."), "who states a range knows it"
