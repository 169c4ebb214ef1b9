"""How long the slowest images take that `featurestore.images.image_limits` lets through, and how much memory.

Nothing can stop a decoder, so this is what one image can cost a worker at most. Each is decoded in a process of its
own. With `--only WORD` those whose names have the word:

    python tests/benchmarks/bench_hostile_images.py --only TIFF
"""

# ruff: noqa: T201 - a script that prints a table

import argparse
import io
import multiprocessing
import re
import struct
import time
import warnings
import zlib
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path

from PIL import Image

from featurestore.images import image_limits, preprocessing

SIDE = 9400  # just under the limit of pixels
MIB = 2**20


def encoded(form: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (SIDE, SIDE), (120, 30, 200)).save(buffer, form, **options)
    return buffer.getvalue()


def jpeg_of_many_scans() -> bytes:
    content = encoded("JPEG", progressive=True)
    last = content.rindex(b"\xff\xda")
    return content[:last] + content[last:-2] * (image_limits.MAX_SCANS - 9) + content[-2:]


def png_of_many_chunks() -> bytes:
    content = encoded("PNG")
    empty = struct.pack(">I", 300) + b"teSt" + bytes(300) + struct.pack(">I", zlib.crc32(b"teSt" + bytes(300)))
    return content[:-12] + empty * (200 * MIB // len(empty)) + content[-12:]


def gif_of_comments() -> bytes:
    content = encoded("GIF")
    start = content.index(b"\x2c")
    return content[:start] + b"\x21\xfe" + (b"\xff" + b"c" * 255) * 9_900 + b"\0" + content[start:]


def tiff_of_many_strips() -> bytes:
    n = image_limits.MAX_TIFF_PARTS
    tags = [(256, 4, 1, 89), (257, 4, 1, n), (258, 3, 1, 8), (259, 3, 1, 1), (262, 3, 1, 1), (278, 4, 1, 1)]
    tags += [(273, 4, n, 200), (279, 4, n, 200 + 4 * n)]
    entries = b"".join(struct.pack("<HHLL", *tag) for tag in sorted(tags))
    header = b"II*\0" + struct.pack("<LH", 8, len(tags)) + entries + bytes(4)
    first = 200 + 8 * n
    offsets = struct.pack(f"<{n}L", *range(first, first + 89 * n, 89))
    return header.ljust(200, b"\0") + offsets + struct.pack("<L", 89) * n + bytes(89 * n)


def plain_ppm() -> bytes:
    pixels = image_limits.MAX_BYTES_IN_PYTHON // 6 - 10
    return f"P3 {pixels} 1 255\n".encode() + b"7 " * (3 * pixels)


def bmp_of_runs() -> bytes:
    row = b"\x01\x07" * 4096 + b"\0\0"
    rows = (image_limits.MAX_BYTES_IN_PYTHON - 2000) // len(row)
    header = struct.pack("<IiiHHIIiiII", 40, 4096, rows, 1, 8, 1, 0, 1, 1, 256, 0)
    data = row * rows
    return b"BM" + struct.pack("<IHHI", 54 + 1024 + len(data), 0, 0, 54 + 1024) + header + bytes(1024) + data


HOSTILE: dict[str, Callable[[], bytes]] = {
    "JPEG": lambda: encoded("JPEG"),
    "JPEG, 100 scans": jpeg_of_many_scans,
    "PNG": lambda: encoded("PNG"),
    "PNG, 200 MiB of chunks": png_of_many_chunks,
    "GIF": lambda: encoded("GIF"),
    "GIF, 2.5 MB of comments": gif_of_comments,
    "WEBP": lambda: encoded("WEBP", lossless=True, quality=0, method=0),
    "AVIF": lambda: encoded("AVIF", speed=10, quality=30),
    "TIFF, LZW": lambda: encoded("TIFF", compression="tiff_lzw"),
    "TIFF, a million strips": tiff_of_many_strips,
    "BMP": lambda: encoded("BMP"),
    "BMP, 4 million runs": bmp_of_runs,
    "PPM in plain text, 8 MiB": plain_ppm,
}


def cost(content: bytes, answer: Connection) -> None:
    """Decode, and send the seconds on a CPU, the growth of the peak memory in MiB, and what came of it."""
    warnings.simplefilter("ignore")
    image_limits.available_formats()
    before, begin = peak_mib(), time.process_time()
    try:
        image = preprocessing.decode(content)
        outcome = f"{image.width} x {image.height}"
        preprocessing.to_array(image, preprocessing.Geometry(224, "squash", "bicubic", 1.0))
    except preprocessing.UnreadableImageError as error:
        outcome = str(error)
    answer.send((time.process_time() - begin, peak_mib() - before, outcome))


def peak_mib() -> float:
    """Of this process since it began; what getrusage says starts at its parent's."""
    return int(re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())[1]) / 1024


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--only", default="")
    only = parser.parse_args().only
    spawn = multiprocessing.get_context("spawn")
    print(f"{'image':28} {'MB':>7} {'CPU s':>8} {'MiB more':>9}")
    for name, make in ((name, make) for name, make in HOSTILE.items() if only in name):
        content = make()
        receiver, sender = spawn.Pipe(duplex=False)
        process = spawn.Process(target=cost, args=(content, sender))
        process.start()
        seconds, grown, outcome = receiver.recv()
        process.join()
        print(f"{name:28} {len(content) / 1e6:7.1f} {seconds:8.2f} {grown:9.0f}  {outcome}", flush=True)


if __name__ == "__main__":
    main()
