"""One way of reading images per file. A source is a module with a function ``open(spec) -> Source``.

If its sources are `ListedSource`, the module has another one, ``reader(spec, facts) -> Reader``: a node then opens the
dataset once, and its workers read images from the listing of them.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from featurestore import registry
from featurestore.catalogue.datasets import DatasetSpec
from featurestore.errors import DatasetError
from featurestore.images.image_limits import UnreadableImageError
from featurestore.images.inventory import Inventory


@dataclass(frozen=True)
class RawImage:
    """One image as it lies in its source.

    Attributes
    ----------
    content : bytes or ndarray of uint8, shape (height, width) or (height, width, 3)
    origin : str
        Path or row it came from.
    reason : str, optional
        Why the source could not give its content, which is empty then; it becomes a row of `samples`.
    """

    content: bytes | npt.NDArray[np.uint8]
    origin: str
    reason: str | None = None


def raw_image(read: Callable[[], bytes], origin: str) -> RawImage:
    """Return the image that `read` gives, or the reason why it is unreadable."""
    try:
        return RawImage(read(), origin)
    except UnreadableImageError as error:
        return RawImage(b"", origin, str(error))


class Source(Protocol):
    """Images and labels in the splits that their makers gave them, under the names that these have in the source.

    Which of the splits stand for train, val and test, and which are not used, is decided in one place for all sources:
    `featurestore.images.source_splits`.
    """

    classes: tuple[str, ...]

    def splits(self) -> dict[str, int]:
        """Return the source's own name of each split that it met, used or not, and how many images it has."""

    def labels(self, split: str) -> npt.NDArray[Any]:
        """Return class indices, int64 of shape (n,), or an indicator matrix, bool of shape (n, n_classes).

        Raises
        ------
        DatasetError
            If some images of the split have no label, or one that is no class.
        """

    def groups(self, split: str) -> Sequence[str | None] | None:
        """Return a group per image (patient, site, ...), or None if the source has no groups."""

    def read(self, split: str, rows: npt.NDArray[np.int64]) -> Iterator[RawImage]:
        """Read these rows in this order; an image that cannot be had comes with a reason, and none is left out."""

    def inventory(self) -> Inventory:
        """Return everything that the source met, and what became of it; the numbers add up.

        An image is used as `featurestore.images.inventory.images_of` its split, whether the split is used or not.
        """

    def fingerprint(self) -> str:
        """Return a text that changes whenever an image or a label may have changed."""


class ListedSource(Source, Protocol):
    """A source that can say in columns where its images are, so that others read them without opening it."""

    def places(self, split: str, rows: npt.NDArray[np.int64]) -> pa.Array:
        """Return where these rows of a split are, in this order; of one type for all splits that are used."""

    def facts(self) -> dict[str, Any]:
        """Return what else a reader has to know, as JSON can hold it."""


class Reader(Protocol):
    """A reader of images that are listed."""

    def read(self, places: pa.Array) -> Iterator[RawImage]:
        """Read the images at these places in this order, as `Source.read` does.

        Raises
        ------
        DatasetError
            If a file is not what it was when it was listed.
        """


def refuse_columns(spec: DatasetSpec) -> None:
    """Refuse a record that names columns, for a source that has none and would not heed them.

    Raises
    ------
    DatasetError
        If it names one.
    """
    given = [key for key in ("image_column", "label_column", "group_column", "split_column") if getattr(spec, key)]
    if given:
        raise DatasetError(
            f"Dataset {spec.name!r}: {' and '.join(given)} must name columns, which {spec.family}: sources do not "
            f"have. Leave {'it' if len(given) == 1 else 'them'} out, or use Parquet files."
        )


def open_source(spec: DatasetSpec) -> Source:
    """Open the images of a dataset record."""
    source: Source = _module(spec).open(spec)
    return source


def can_be_listed(spec: DatasetSpec) -> bool:
    """Return whether the source of a dataset record is a `ListedSource`, so that its module has a reader."""
    return hasattr(_module(spec), "reader")


def reader_of(spec: DatasetSpec, facts: dict[str, Any]) -> Reader:
    """Return a reader of the images of a dataset record whose source is a `ListedSource`, which said `facts`."""
    reader: Reader = _module(spec).reader(spec, facts)
    return reader


def _module(spec: DatasetSpec) -> Any:
    return registry.load(sys.modules[__name__], "image source", spec.family)
