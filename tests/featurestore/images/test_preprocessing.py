import io
import struct
import zlib
from collections.abc import Callable
from functools import cache

import numpy as np
import pytest
import timm
import torch
from PIL import Image
from timm.data import create_transform, resolve_data_config
from torchvision import models

from featurestore.catalogue.models import ModelSpec
from featurestore.errors import BackboneError, ConfigurationError
from featurestore.images.preprocessing import Geometry, UnreadableImageError, decode, for_model, to_array
from featurestore.networks.backbones import timm as timm_family
from featurestore.networks.backbones import torchvision as torchvision_family

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
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0", "a pointer of Git LFS: git lfs pull fetches"),
        (b"\n<!DOCTYPE html><html>404", "not an image of a known format but a web page"),
        (b"\x93NUMPY\x01\x00", "but an array of NumPy"),
        (b"\x00\x00\x00\x18ftypheic" + bytes(40), "but HEIC, which is not read: convert it"),
        (b"\x00\x00\x00\x18ftypmp42" + bytes(40), "but a video"),
        (READABLE["jpeg"][:400], "(?i)truncated|broken"),
        (READABLE["grey"][:60], "(?i)truncated|broken|unrecognized"),
        (png_header_claiming(60_000, 60_000), "more than 89,000,000 pixels"),
        (png_header_claiming(12_000, 9_000), "12000 x 9000 pixels; at most 89,000,000"),
    ],
    ids=["empty", "text", "LFS", "web", "npy", "HEIC", "MP4", "cut JPEG", "cut PNG", "bomb", "small bomb"],
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


def geometry(**changes) -> Geometry:
    """The crop of a network without a library."""
    fields = {"name": "net", "backbone": "x:y", "input_size": 224, "mean": (0.5, 0.5, 0.5), "std": (1, 1, 1)}
    return for_model(ModelSpec(**{**fields, "interpolation": "bicubic", "crop_pct": 0.875, **changes}), "crop").geometry


def test_crop_keeps_the_aspect_ratio_and_the_centre():
    stripes = Image.fromarray(np.repeat([[0] * 10 + [255] * 20 + [0] * 10], 20, axis=0).astype(np.uint8)).convert("RGB")
    assert (to_array(stripes, geometry(input_size=20, interpolation="nearest", crop_pct=1.0)) == 255).all()
    assert to_array(stripes, geometry(input_size=14)).shape == (14, 14, 3)


# Where a pixel comes from: its column and its row, which "nearest" does not mix.
PLACES = Image.fromarray(np.stack(np.broadcast_arrays(*np.ogrid[:50, :40], 7), -1)[..., ::1].astype(np.uint8))


@pytest.mark.parametrize(
    ("changes", "first", "last"),
    [
        # 30 / 0.9 = 33.3: the shorter side of 40 becomes 33, the longer one of 50 41; (41 - 30) / 2 rounds to 6.
        ({"crop_pct": 0.9}, (7, 3), (43, 38)),
        # Both become 33: (33 - 30) / 2 rounds to 2.
        ({"crop_pct": 0.9, "crop_mode": "squash"}, (3, 3), (47, 38)),
        ({"crop_pct": 1.0, "crop_mode": "squash"}, (0, 0), (49, 39)),
        # The longer side becomes 30, the shorter one 24: three columns before and after it have the colour of the mean.
        ({"crop_pct": 1.0, "crop_mode": "border"}, (128, 128), (128, 128)),
        # Two of timm's networks are tested with more than the image: 26 of 50 rows, and black around them.
        ({"crop_pct": 1.15}, (0, 0), (0, 0)),
    ],
)
def test_the_places_that_a_crop_takes_never_change(changes, first, last):
    """Keys name what is done, not the version of the library that does it: its arithmetic has to stay what it is."""
    array = to_array(PLACES, geometry(input_size=30, interpolation="nearest", **changes))
    assert (tuple(array[0, 0, :2]), tuple(array[-1, -1, :2])) == (first, last)


def test_an_extremely_long_image_is_not_blown_up_to_be_cropped_nor_shrunk_to_nothing():
    for crop_mode in ("center", "border"):
        with pytest.raises(UnreadableImageError, match="pixels"):
            to_array(Image.new("RGB", (1, 40_000)), geometry(crop_mode=crop_mode))
    assert to_array(Image.new("RGB", (1, 40_000)), geometry(crop_mode="squash")).shape == (224, 224, 3)


SHAPES = [(500, 375), (375, 500), (333, 500), (500, 334), (640, 480)]


@cache
def picture(width: int, height: int) -> Image.Image:
    """A smooth picture with structure everywhere."""
    y, x = np.mgrid[0:height, 0:width]
    waves = [np.sin(x / 17) * np.cos(y / 23), np.sin((x + y) / 31), np.cos(x * y / 4000)]
    return Image.fromarray((127 + 120 * np.stack(waves, -1)).astype(np.uint8))


def assert_prepared_alike(ours: Geometry, theirs: Callable[[Image.Image], torch.Tensor]):
    shapes = SHAPES if ours.size <= 256 else SHAPES[2:3]  # what is large is dear, and no other case
    for shape in shapes:
        expected, found = theirs(picture(*shape)).permute(1, 2, 0).numpy(), to_array(picture(*shape), ours)
        assert found.shape == expected.shape, ours
        assert np.abs(found.astype(np.int16) - expected.round().astype(np.int16)).max() <= 1, ours


def timm_configs() -> dict[tuple, str]:
    """The different ways in which timm prepares images, each with a name that it lists."""
    found = {}
    for name in timm.list_models(pretrained=True):
        config = resolve_data_config({}, pretrained_cfg=timm.get_pretrained_cfg(name).to_dict(), use_test_size=True)
        border = config["mean"] if config["crop_mode"] == "border" else None
        parts = (config["input_size"], config["crop_pct"], config["crop_mode"], config["interpolation"], border)
        found.setdefault(parts, name)
    return found


@pytest.mark.slow
def test_images_are_prepared_as_by_timm_for_every_name_that_it_lists_or_the_name_is_refused():
    refused = []
    for (size, *_), name in timm_configs().items():
        config = timm.get_pretrained_cfg(name).to_dict()
        spec = ModelSpec(name="net", backbone=f"timm:{name}")
        try:
            spec = spec.filled(timm_family.preprocessing_of(config, spec))
        except BackboneError as error:
            refused.append(f"{size}: {error}")
            continue
        own = resolve_data_config({}, pretrained_cfg=config, use_test_size=True)
        assert (spec.mean, spec.std) == (own["mean"], own["std"])
        assert_prepared_alike(for_model(spec, "crop").geometry, create_transform(**own, normalize=False))
    (only,) = refused
    assert only.startswith("(3, 1024, 768): timm's vit_")
    assert "input_size = 768" in only


@pytest.mark.slow
def test_images_are_prepared_as_by_torchvision_for_every_name_that_it_lists():
    different = {}
    for name in models.list_models(module=models):
        for entry in models.get_model_weights(name):
            theirs = entry.transforms()
            parts = (*theirs.crop_size, *theirs.resize_size, theirs.interpolation)
            different.setdefault(parts, f"{name}/{entry.name}")
    assert len(different) > 20
    for name in different.values():
        spec = ModelSpec(name="net", backbone=f"torchvision:{name}")
        entry = torchvision_family._weights(spec)
        spec = spec.filled(torchvision_family._from_metadata(entry, spec))
        theirs = entry.transforms()
        assert (list(spec.mean), list(spec.std)) == (theirs.mean, theirs.std)
        theirs.mean, theirs.std = [0.0] * 3, [1 / 255] * 3  # pixels, before normalisation
        assert_prepared_alike(for_model(spec, "crop").geometry, theirs)


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
