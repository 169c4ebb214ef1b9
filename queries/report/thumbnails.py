"""Small pictures of images, which are read again from the source of their dataset.

The store may come from anybody, so what it says is not trusted: an image is shown only if its bytes hash to the
`sample_id` that the store knows it by, files are opened inside the dataset's folder only, and what decoding may cost is
bounded as in extraction. No code of a user is run, and nothing is fetched.
"""

from __future__ import annotations

import base64
import io
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
from PIL import Image

from featurestore.catalogue.datasets import DatasetSpec
from featurestore.errors import ProbestoreError
from featurestore.given_files import given_path
from featurestore.images.dataset_files import DatasetFolder
from featurestore.images.decoding import content_id
from featurestore.images.preprocessing import UnreadableImageError, decode
from featurestore.images.sources import RawImage, Source, open_source, raw_image
from featurestore.images.split_names import usual_name

SIDE = 128
"""Pixels of the longer side; smaller images stay as they are."""

TINY = 64
"""Images no larger than this are enlarged with their pixels visible."""

_ROW = re.compile(r"(?P<split>.*)\[(?P<row>\d+)\]")


@dataclass(frozen=True)
class Thumbnail:
    """A picture, or the reason why there is none.

    Attributes
    ----------
    picture : str, optional
        A data: URI.
    is_tiny : bool
    reason : str
        Empty if there is a picture.
    """

    picture: str | None
    is_tiny: bool = False
    reason: str = ""


def thumbnails(source: str | None, images: Iterable[Mapping[str, str]]) -> list[Thumbnail]:
    """Read images of a dataset again and make them small.

    Parameters
    ----------
    source : str, optional
        ``family:place`` of the dataset's record; None where the store has no record of it.
    images : iterable of mapping
        ``source`` (path or row in the dataset) and ``sample_id`` (what the image must hash to) of each.

    Returns
    -------
    list of Thumbnail
        One per image, in their order.
    """
    wanted = list(images)
    if source is None:
        return [_none("the store has no record of its dataset")] * len(wanted)
    try:
        reader = _Reader(source)
    except (ProbestoreError, OSError, ValueError) as error:
        return [_none(f"its dataset cannot be opened: {error}")] * len(wanted)
    return [_thumbnail(reader, image) for image in wanted]


class _Reader:
    """Reads images by the column `source` of the table `samples`."""

    def __init__(self, source: str) -> None:
        self._spec = DatasetSpec(name="thumbnails", source=source)
        self._folder: DatasetFolder | None = None
        self._source: Source | None = None
        if self._spec.family == "image_folder":  # its names are paths, so that nothing has to be listed
            self._folder = DatasetFolder(given_path(self._spec.location))
        else:
            self._source = open_source(self._spec)

    def read(self, origin: str) -> RawImage:
        """Return the image of that path or row."""
        if self._folder is not None:
            path = self._folder.path / origin
            folder = self._folder
            return raw_image(lambda: folder.read(path), origin)
        found = _ROW.fullmatch(origin)
        if self._source is None or found is None:
            return RawImage(b"", origin, "it is not known where it lies")
        splits = self._source.splits()
        names = (name for name in splits if found["split"] in (name, usual_name(name)))
        split = next(names, "train")  # packaged images are one split
        if int(found["row"]) >= splits.get(split, 0):
            return RawImage(b"", origin, "its dataset has changed")
        return next(iter(self._source.read(split, np.array([int(found["row"])]))))


def _thumbnail(reader: _Reader, image: Mapping[str, str]) -> Thumbnail:
    try:
        raw = reader.read(image["source"])
        if raw.reason is not None:
            return _none(raw.reason)
        if content_id(raw.content) != image["sample_id"]:
            return _none("there is another image now")
        picture = decode(raw.content)
    except (ProbestoreError, UnreadableImageError, OSError, ValueError) as error:
        return _none(str(error))
    return Thumbnail(_data_uri(picture), is_tiny=_is_tiny(picture))


def _is_tiny(picture: Image.Image) -> bool:
    return max(picture.size) <= TINY


def _data_uri(picture: Image.Image) -> str:
    form = "PNG" if _is_tiny(picture) else "JPEG"  # whose blocks would show
    picture.thumbnail((SIDE, SIDE))
    content = io.BytesIO()
    picture.save(content, form, quality=80)
    return f"data:image/{form.lower()};base64,{base64.b64encode(content.getvalue()).decode()}"


def _none(reason: str) -> Thumbnail:
    return Thumbnail(None, reason=reason)
