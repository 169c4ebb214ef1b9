"""A dataset, always seen in three splits: train, val and test.

What its makers did not split is held out, stratified and seeded; the `datasets` table says in words how each split was
made.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import cached_property
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from featurestore.catalogue.datasets import DatasetSpec
from featurestore.images.hold_outs import Split
from featurestore.images.inventory import Inventory
from featurestore.images.opened_images import OpenedImages
from featurestore.images.preprocessing import Reading
from featurestore.images.sources import RawImage
from featurestore.store.layout import KeyText, SampleSet, content_key, key_fields, key_texts
from featurestore.store.schema import SPLITS


class Images(Protocol):
    """The images of a dataset in three splits: of its source, or of the listing of it that this node keeps."""

    classes: tuple[str, ...]
    fingerprint: str
    inventory: Inventory
    splits: dict[str, Split]

    def labels(self, split: str) -> npt.NDArray[Any]:
        """Return class indices, whole numbers of shape (n,), or an indicator matrix, bool of shape (n, n_classes)."""

    def groups(self, split: str, start: int, stop: int) -> list[str | None]:
        """Return the groups of the images at positions start..stop-1 of a split, None where the source has none."""

    def read(self, split: str, start: int, stop: int) -> Iterator[RawImage]:
        """Read the images at positions start..stop-1 of a split."""


class Dataset:
    """A dataset: its record, its classes and its three splits.

    Parameters
    ----------
    spec : DatasetSpec
    images : Images, optional
        Its images; by default its source is opened and every file is looked at.

    Raises
    ------
    DatasetError
        If the images or labels cannot be used: nothing there, one class only, a class without training images.
    """

    def __init__(self, spec: DatasetSpec, images: Images | None = None) -> None:
        self.spec = spec
        self._key_texts: dict[str, dict[str, KeyText]] = {}
        self.rest_on(images or OpenedImages(spec))
        self.inventory = self.images.inventory

    def rest_on(self, images: Images) -> None:
        """Take the images from somewhere else. They must be the same; what lies beside them may be something else."""
        self.images = images
        self.classes = images.classes
        self.fingerprint = images.fingerprint
        self.splits = images.splits

    @property
    def multilabel(self) -> bool:
        """True if an image can have several labels or none."""
        return self.labels("train").ndim == 2

    @cached_property
    def class_counts(self) -> tuple[int, ...]:
        """Number of training images of each class, readable or not."""
        labels = self.labels("train")
        counts = labels.sum(axis=0) if labels.ndim == 2 else np.bincount(labels, minlength=len(self.classes))
        return tuple(counts.tolist())

    @property
    def notes(self) -> list[str]:
        """What a person has to hear of the dataset before its numbers, a sentence each."""
        return self.inventory.notes

    def labels(self, split: str) -> npt.NDArray[Any]:
        """Return class indices, whole numbers of shape (n,), or an indicator matrix, bool of shape (n, n_classes)."""
        return self.images.labels(split)

    def groups(self, split: str, start: int, stop: int) -> list[str | None]:
        """Return the groups of the images at positions start..stop-1 of a split, None where the source has none."""
        return self.images.groups(split, start, stop)

    def read(self, split: str, start: int, stop: int) -> Iterator[RawImage]:
        """Read the images at positions start..stop-1 of a split."""
        return self.images.read(split, start, stop)

    def shard_images(self, split: str) -> int:
        """Return the number of images per shard of a split, which depends on the dataset alone, never on who works.

        About 64 shards, so that many workers share even a small split and progress is seen, but no file is tiny and a
        shard of a large one is a few megabytes of features.
        """
        wanted = len(self.splits[split].rows) / 64
        return self.spec.shard_images or min(4096, max(128, 2 ** round(math.log2(wanted))))

    def n_shards(self, split: str) -> int:
        """Return the number of shards of a split."""
        return -(-len(self.splits[split].rows) // self.shard_images(split))

    def shard_range(self, split: str, shard: int) -> tuple[int, int]:
        """Return the positions [start, stop) of a shard."""
        size = self.shard_images(split)
        return shard * size, min((shard + 1) * size, len(self.splits[split].rows))

    def key_parts(self, split: str) -> dict[str, Any]:
        """Return all that decides which images a split holds, in which order, and in which shards."""
        choices = key_fields(self.spec, without=("name", "source", "metric", "link_roots"))
        return {"fingerprint": self.fingerprint, "split": split, **choices, "shard_images": self.shard_images(split)}

    def key_texts(self, split: str) -> dict[str, KeyText]:
        """Return the same as keys have it, made once for all feature sets of the split."""
        if split not in self._key_texts:
            self._key_texts[split] = key_texts(self.key_parts(split))
        return self._key_texts[split]

    @property
    def reading(self) -> Reading:
        """How its images are read."""
        return Reading(self.spec.exif, self.spec.pixel_range)

    def samples(self, split: str) -> SampleSet:
        """Return the image table of a split."""
        return SampleSet(self.spec.name, split, content_key({"table": "samples", **self.key_texts(split)}))

    def record(self) -> dict[str, Any]:
        """Return the dataset's row of the `datasets` table, without the time."""
        sizes = {f"n_{split}": len(self.splits[split].rows) for split in SPLITS}
        made = {f"{split}_made": self.splits[split].made for split in SPLITS}
        return {
            "dataset": self.spec.name,
            "source": self.spec.source,
            "n_classes": len(self.classes),
            "class_names": list(self.classes),
            **sizes,
            "metric": self.spec.metric,
            "multilabel": self.multilabel,
            "group_column": self.spec.group_column,
            **made,
            "notes": self.notes,
            "fingerprint": self.fingerprint,
            **{f"{split}_samples": self.samples(split).key for split in SPLITS},
        }
