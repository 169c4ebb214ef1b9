"""Thumbnails: the image that the store means, or why there is none."""

from __future__ import annotations

import base64
import io
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from featurestore.images.decoding import content_id
from queries.report.thumbnails import SIDE, Thumbnail, thumbnails


def save(path: Path, size: tuple[int, int], **options: Any) -> dict[str, str]:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, (200, 30, 30)).save(path, **options)
    return {"source": f"{path.parent.name}/{path.name}", "sample_id": content_id(path.read_bytes())}


def opened(thumbnail: Thumbnail) -> Image.Image:
    assert thumbnail.picture is not None, thumbnail.reason
    head, _, content = thumbnail.picture.partition(",")
    assert head in ("data:image/jpeg;base64", "data:image/png;base64")
    return Image.open(io.BytesIO(base64.b64decode(content)))


def one(folder: Path | str, image: dict[str, str]) -> Thumbnail:
    (found,) = thumbnails(f"image_folder:{folder}", [image])
    return found


def test_large_images_are_made_small_and_tiny_ones_stay(tmp_path: Path) -> None:
    large, tiny = save(tmp_path / "cats" / "a.png", (400, 200)), save(tmp_path / "cats" / "b.png", (8, 8))
    first, second = thumbnails(f"image_folder:{tmp_path}", [large, tiny])
    assert (opened(first).size, opened(first).format, first.is_tiny) == ((SIDE, SIDE // 2), "JPEG", False)
    assert (opened(second).size, opened(second).format, second.is_tiny) == ((8, 8), "PNG", True)


def test_an_image_that_has_changed_is_not_shown(tmp_path: Path) -> None:
    image = save(tmp_path / "cats" / "a.png", (40, 40))
    save(tmp_path / "cats" / "a.png", (41, 40))
    assert one(tmp_path, image) == Thumbnail(None, reason="there is another image now")


def test_an_image_that_is_gone_says_so(tmp_path: Path) -> None:
    image = save(tmp_path / "cats" / "a.png", (40, 40))
    (tmp_path / "cats" / "a.png").unlink()
    assert "is gone now" in one(tmp_path, image).reason
    assert one("/nowhere", image).picture is None


@pytest.mark.parametrize("origin", ["../secret.png", "{folder}/secret.png", "cats/link.png", "cats/\0.png"])
def test_nothing_outside_the_folder_is_shown_whatever_the_store_says(origin: str, tmp_path: Path) -> None:
    secret = save(tmp_path / "secret.png", (40, 40))
    inside = tmp_path / "images"
    save(inside / "cats" / "a.png", (40, 40))
    (inside / "cats" / "link.png").symlink_to(tmp_path / "secret.png")
    found = one(inside, {"source": origin.format(folder=tmp_path), "sample_id": secret["sample_id"]})
    assert found.picture is None
    assert found.reason


@pytest.mark.slow
def test_a_decompression_bomb_is_not_decoded(tmp_path: Path) -> None:
    (tmp_path / "cats").mkdir()
    Image.new("1", (20_000, 20_000)).save(tmp_path / "cats" / "bomb.png")
    content = (tmp_path / "cats" / "bomb.png").read_bytes()
    found = one(tmp_path, {"source": "cats/bomb.png", "sample_id": content_id(content)})
    assert "89,000,000 pixels" in found.reason


@pytest.mark.parametrize(("file", "split"), [("test", "test"), ("validation", "val"), ("extra", "train")])
def test_rows_of_parquet_files_are_found_again(tmp_path: Path, file: str, split: str) -> None:
    contents = []
    for size in (40, 41):
        buffer = io.BytesIO()
        Image.new("RGB", (size, 40)).save(buffer, "PNG")
        contents.append(buffer.getvalue())
    table = pa.table({"image": [{"bytes": content, "path": None} for content in contents], "label": [0, 1]})
    pq.write_table(table, tmp_path / f"{file}-0.parquet")
    images = [{"source": f"{split}[{row}]", "sample_id": content_id(contents[1])} for row in (1, 0, 2)]
    right, wrong, missing = thumbnails(f"parquet:{tmp_path}", images)
    assert opened(right).size == (41, 40)
    assert (wrong.reason, missing.reason) == ("there is another image now", "its dataset has changed")


def test_packaged_images_are_found_again() -> None:
    from featurestore.catalogue.datasets import find_dataset
    from featurestore.images.sources import open_source

    (raw,) = open_source(find_dataset("digits")).read("train", np.array([7]))
    (found,) = thumbnails("packaged:digits", [{"source": raw.origin, "sample_id": content_id(raw.content)}])
    assert opened(found).size == (8, 8)


@pytest.mark.parametrize("source", [None, "packaged:nothing", "nonsense:x", "no colon", "parquet:/nowhere"])
def test_a_dataset_that_cannot_be_opened_gives_reasons(source: str | None) -> None:
    (found,) = thumbnails(source, [{"source": "x[0]", "sample_id": "s"}])
    assert found.picture is None
    assert found.reason
