"""Images made to be slow or large. Every one is small enough to make here, and refused before it costs anything."""

import io
import struct
import subprocess
import zlib

import numpy as np
import pytest
from PIL import Image

from featurestore.images import image_limits
from featurestore.images.preprocessing import UnreadableImageError, decode

PHOTO = Image.fromarray(np.random.default_rng(0).integers(0, 256, (40, 60, 3), dtype=np.uint8))


def encoded(image: Image.Image, form: str, **options) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, form, **options)
    return buffer.getvalue()


def png_chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def tiff(tags: list[tuple[int, int, int, int]], rest: bytes = b"") -> bytes:
    """A little-endian TIFF of these (tag, type, count, value or offset), with `rest` after its directory."""
    entries = b"".join(struct.pack("<HHLL", *tag) for tag in sorted(tags))
    return b"II*\0" + struct.pack("<LH", 8, len(tags)) + entries + struct.pack("<L", 0) + rest


def bare_tiff(*more: tuple[int, int, int, int], width: int = 4, height: int = 4) -> list[tuple[int, int, int, int]]:
    """Tags of a grey uncompressed image."""
    given = {tag[0] for tag in more}
    usual = [(256, 4, 1, width), (257, 4, 1, height), (258, 3, 1, 8), (259, 3, 1, 1), (262, 3, 1, 1), (273, 4, 1, 8)]
    return [tag for tag in usual if tag[0] not in given] + list(more)


def progressive(scans: int) -> bytes:
    """A progressive JPEG whose last scan comes again and again."""
    content = encoded(PHOTO, "JPEG", progressive=True)
    last = content.rindex(b"\xff\xda")
    return content[:last] + content[last:-2] * (scans - image_limits._scans(content) + 1) + content[-2:]


def test_a_larger_file_than_is_read_has_a_reason(monkeypatch):
    monkeypatch.setattr(image_limits, "MAX_BYTES", 100)
    with pytest.raises(UnreadableImageError, match="101 bytes; at most 100 are read"):
        decode(b"x" * 101)


@pytest.mark.parametrize(
    "content",
    [
        b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n(%pipe%touch /tmp/x) (w) file\n%%EOF\n",
        b"%PDF-1.4\n1 0 obj\n",
        b"\xd7\xcd\xc6\x9a\0\0" + struct.pack("<4hH", 0, 0, 10, 10, 72) + b"\0" * 6 + b"\x01\x00\x09\x00" + b"\0" * 40,
        encoded(PHOTO, "PCX"),
        encoded(PHOTO, "ICO"),
        encoded(PHOTO, "TGA"),
    ],
    ids=["EPS", "PDF", "WMF", "PCX", "ICO", "TGA"],
)
def test_a_format_that_is_not_on_the_list_is_not_opened_and_no_program_is_started(content, monkeypatch):
    monkeypatch.setattr(subprocess, "Popen", lambda *args, **options: pytest.fail("started a program"))
    with pytest.raises(UnreadableImageError, match="not an image of a known format"):
        decode(content)


@pytest.mark.parametrize("form", [name for name in image_limits.FORMATS if name in image_limits.available_formats()])
def test_every_format_on_the_list_is_decoded(form):
    assert decode(encoded(PHOTO, form)).size == (60, 40)


def test_a_jpeg_of_several_scans_is_decoded_and_one_of_thousands_is_not():
    assert decode(progressive(image_limits.MAX_SCANS)).size == (60, 40)
    with pytest.raises(UnreadableImageError, match="more than 100 scans"):
        decode(progressive(image_limits.MAX_SCANS + 1))


def test_scans_behind_the_end_of_a_jpeg_or_in_its_thumbnail_do_not_count():
    """Phones append a film to a photograph."""
    content = encoded(PHOTO, "JPEG", progressive=True)
    comment = b"\xff\xfe" + (2 + 200).to_bytes(2) + b"\xff\xda" * 100
    assert decode(content[:2] + comment + content[2:] + b"\xff\xda" * 1000).size == (60, 40)
    assert decode(encoded(PHOTO, "JPEG") + b"\xff\xda" * 1000).size == (60, 40)


def test_a_jpeg_that_hides_its_scans_behind_other_markers_is_refused():
    content = encoded(PHOTO, "JPEG", progressive=True)
    empty = b"\xff\xfe\x00\x02" * 20_000
    with pytest.raises(UnreadableImageError, match="more than 100 scans"):
        decode(content[:-2] + empty + b"\xff\xda" * 200)


def test_a_png_of_nothing_but_chunks_is_refused():
    content = encoded(PHOTO, "PNG")
    with pytest.raises(UnreadableImageError, match="too many small or overlapping parts"):
        decode(content[:33] + png_chunk(b"teSt", b"") * 100_000 + content[33:])


def test_a_png_in_the_small_chunks_of_honest_writers_is_decoded():
    pixels = np.random.default_rng(0).integers(0, 256, (700, 700, 3), dtype=np.uint8)
    header, data = (
        encoded(Image.fromarray(pixels), "PNG")[:33],
        zlib.compress(b"".join(b"\0" + r.tobytes() for r in pixels)),
    )
    chunks = b"".join(png_chunk(b"IDAT", data[at : at + 4096]) for at in range(0, len(data), 4096))
    content = header + chunks + png_chunk(b"IEND", b"")
    assert len(content) > image_limits._UNMETERED_BYTES
    np.testing.assert_array_equal(np.asarray(decode(content)), pixels)


@pytest.mark.parametrize("kind", [b"zTXt", b"iCCP"])
def test_what_a_png_packs_into_its_texts_is_not_unpacked(kind):
    content = encoded(PHOTO, "PNG")
    packed = png_chunk(kind, b"name\0\0" + zlib.compress(b"\0" * 50_000_000, 9))
    with pytest.raises(UnreadableImageError, match="too large"):
        decode(content[:33] + packed + content[33:])


def test_a_gif_of_nothing_but_comments_is_refused():
    content = encoded(PHOTO, "GIF")
    start = content.index(b"\x2c")
    comments = b"\x21\xfe" + (b"\xff" + b"c" * 255) * 20_000 + b"\0"
    with pytest.raises(UnreadableImageError, match="too many small or overlapping parts"):
        decode(content[:start] + comments + content[start:])


def test_only_the_first_frame_is_decoded(monkeypatch):
    frames = [Image.new("RGB", (60, 40), (i % 256, 0, 0)) for i in range(300)]
    for form in ("GIF", "PNG", "WEBP", "TIFF"):
        content = encoded(PHOTO, form, save_all=True, append_images=frames)
        assert np.ptp(np.asarray(decode(content))[..., 1]) > 100, form


def test_tags_of_a_tiff_that_all_point_at_the_same_bytes_do_not_fill_the_memory():
    filler = [(40_000 + tag, 7, 2**20, 0) for tag in range(4000)]
    with pytest.raises(UnreadableImageError):
        decode(tiff(bare_tiff(*filler), b"\0" * 2**20))


def test_a_tiff_of_more_tags_or_strips_than_any_real_one_is_refused():
    with pytest.raises(UnreadableImageError, match="5,006 tags; at most 4,096"):
        decode(tiff(bare_tiff(*[(40_000 + tag, 3, 1, 0) for tag in range(5000)])))
    with pytest.raises(UnreadableImageError, match="1,500,000 strips or tiles; at most 1,000,000"):
        decode(tiff(bare_tiff((273, 1, 1_500_000, 100)), b"\0" * 1_500_000))
    big = b"II+\0" + struct.pack("<HHQQ", 8, 0, 16, 1) + struct.pack("<HHQQ", 324, 16, 2_000_000, 0)
    with pytest.raises(UnreadableImageError, match="2,000,000 strips or tiles"):
        decode(big)


def test_a_small_tiff_of_enormous_tiles_is_refused():
    tiles = bare_tiff((322, 4, 1, 60_000), (323, 4, 1, 60_000), (324, 4, 1, 8), (325, 4, 1, 100), (259, 3, 1, 8))
    with pytest.raises(UnreadableImageError, match="60000 x 60000 pixels"):
        decode(tiff(tiles, b"\0" * 200))
    with pytest.raises(UnreadableImageError):
        decode(tiff(bare_tiff((322, 4, 1, 0), (323, 4, 1, 16), (324, 4, 1, 8)), b"\0" * 200))


def test_a_tiled_tiff_is_decoded():
    for options in ({"tile": (16, 16)}, {"compression": "tiff_deflate"}, {"compression": "jpeg"}):
        assert decode(encoded(PHOTO, "TIFF", **options)).size == (60, 40)


def test_what_pillow_decodes_in_python_is_limited_more_strictly(monkeypatch):
    plain = b"P3 2 2 255\n" + b"7 " * 12
    assert decode(plain).size == (2, 2)
    monkeypatch.setattr(image_limits, "MAX_BYTES_IN_PYTHON", 20)
    with pytest.raises(UnreadableImageError, match=r"of this kind of PPM.* at most 20 are"):
        decode(plain)
    assert decode(encoded(PHOTO, "PPM")).size == (60, 40)


def test_a_shortage_of_memory_is_not_the_images_fault(monkeypatch):
    def no_memory(content):
        raise MemoryError

    monkeypatch.setattr("featurestore.images.preprocessing.open_bounded", no_memory)
    with pytest.raises(MemoryError):
        decode(b"x")
