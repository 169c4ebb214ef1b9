"""An opened dataset, always seen in three splits: train, val and test.

What its makers did not split is held out, stratified and seeded; the `datasets` table says in words how each split was
made.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from featurestore.catalogue.datasets import DatasetSpec
from featurestore.errors import DatasetError
from featurestore.images.preprocessing import Reading
from featurestore.images.source_splits import SourceSplits, present_classes
from featurestore.images.sources import RawImage, open_source
from featurestore.plain_text import counted, shortly
from featurestore.store.layout import KeyText, SampleSet, content_key, key_fields, key_texts
from featurestore.store.schema import SPLITS


@dataclass(frozen=True)
class Split:
    """The images of the source that make up a split.

    Attributes
    ----------
    origin : str
        The split of the source, as ``train``, ``val`` or ``test``.
    rows : ndarray of int64, shape (n_images,)
        Ascending rows of it.
    made : str
        How, in words.
    """

    origin: str
    rows: npt.NDArray[np.int64]
    made: str


class Dataset:
    """An opened dataset: its record, its classes and its three splits.

    Raises
    ------
    DatasetError
        If the images or labels cannot be used: nothing there, one class only, a class without training images.
    """

    def __init__(self, spec: DatasetSpec) -> None:
        self.spec = spec
        source = open_source(spec)
        self._source = SourceSplits(spec, source)
        self._labels: dict[str, npt.NDArray[Any]] = {}
        self._groups: dict[str, Sequence[str | None] | None] = {}
        self._key_texts: dict[str, dict[str, KeyText]] = {}
        self.classes = self._source.classes
        self.fingerprint = source.fingerprint()
        self.inventory = self._source.inventory
        self.splits = _make_splits(spec, self._source)
        self._check()

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
        """Return class indices, int64 of shape (n,), or an indicator matrix, bool of shape (n, n_classes)."""
        if split not in self._labels:
            part = self.splits[split]
            self._labels[split] = self._source.labels(part.origin)[part.rows]
        return self._labels[split]

    def groups(self, split: str, start: int, stop: int) -> list[str | None]:
        """Return the groups of the images at positions start..stop-1 of a split, None where the source has none."""
        part = self.splits[split]
        if part.origin not in self._groups:
            self._groups[part.origin] = self._source.groups(part.origin)
        groups = self._groups[part.origin]
        return [groups[row] if groups else None for row in part.rows[start:stop]]

    def read(self, split: str, start: int, stop: int) -> Iterator[RawImage]:
        """Read the images at positions start..stop-1 of a split."""
        part = self.splits[split]
        return self._source.read(part.origin, part.rows[start:stop])

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

    def _check(self) -> None:
        name = self.spec.name
        if len(self.classes) < 2:
            only = f" ({self.classes[0]!r})" if self.classes else ""
            raise DatasetError(f"Dataset {name!r} must have at least two classes. It has {len(self.classes)}{only}.")
        for split in SPLITS:
            if not len(self.splits[split].rows):
                made = self.splits[split].made
                raise DatasetError(
                    f"Dataset {name!r} has no image left for its {split} split ({made}): {self._why_empty(split)}"
                )
        absent = np.flatnonzero(~present_classes(self.labels("train"), len(self.classes)))
        if len(absent):
            n_absent = f"{len(absent)} of {len(self.classes)} {'has' if len(absent) == 1 else 'have'} none"
            why = self._why_not_in_train(absent)
            raise DatasetError(f"Dataset {name!r}: every class needs a training image, but {n_absent}: {why}")
        for split in ("val", "test"):
            self._note_absent(split)
        self._note_shared_groups()

    def _why_empty(self, split: str) -> str:
        """Say why a split has no image, and what to do."""
        spec, size = self.spec, self._source.sizes["train"]
        if spec.limit is not None and spec.limit < size:
            return f"limit = {spec.limit} leaves too few of {size} for three splits. Raise the limit."
        if split == "train":
            return "all of them are held out. Lower test_fraction or val_fraction."
        if getattr(spec, f"{split}_fraction") < 0.2 and round(0.2 * size):
            return f"{split}_fraction is too small for so few images. Raise it, or give a split of your own."
        return "it is too small. Give more images, or a split of your own."

    def _why_not_in_train(self, absent: npt.NDArray[np.int64]) -> str:
        """Say which classes have no training image, why, and what to do."""
        if why := self._source.why_not_in_train(absent):
            return why
        names, made = shortly([self.classes[label] for label in absent]), self.splits["train"].made
        if enough := self._sufficient_limit():
            return f"{names} ({made}). The limit is the cause; {enough} is enough."
        remedy = "give these classes more images"
        if self._could_be_in_train():
            remedy = f"Hold out a smaller share, take another seed, or {remedy}."
        else:
            remedy = f"No seed and no share gives each class a training image: {remedy}, or a split of your own."
        return f"{names} ({made}). {remedy}"

    def _could_be_in_train(self) -> bool:
        """Return whether a training image of each class is left if one image is held out for each split."""
        n_held_out = len(SPLITS) - len(self._source.sizes)
        labels = self._source.labels("train")
        return labels.ndim == 2 or len(labels) - len(np.unique(labels)) >= n_held_out

    def _sufficient_limit(self) -> int | None:
        """Return a larger limit that leaves every class a training image; None if none does."""
        limit, size = self.spec.limit or 0, self._source.sizes["train"]
        while 0 < limit < size:
            limit = min(size, limit + max(1, limit // 4))
            rows = _make_splits(replace(self.spec, limit=limit), self._source)["train"].rows
            if present_classes(self._source.labels("train")[rows], len(self.classes)).all():
                return limit
        return None

    def _note_absent(self, split: str) -> None:
        absent = np.flatnonzero(~present_classes(self.labels(split), len(self.classes)))
        if len(absent):
            names = shortly([self.classes[label] for label in absent])
            n_absent = f"{len(absent)} of {len(self.classes)} classes {'has' if len(absent) == 1 else 'have'}"
            self.inventory.remark(f"{n_absent} no {split} image: {names} ({self.splits[split].made})")

    def _note_shared_groups(self) -> None:
        """Say how many test images are of a group of which training or validation images are, too."""
        if not self.spec.group_column:
            return
        groups = {split: self.groups(split, 0, len(self.splits[split].rows)) for split in SPLITS}
        known = {group for split in ("train", "val") for group in groups[split] if group is not None}
        shared = [group for group in groups["test"] if group in known]
        if shared:
            self.inventory.remark(
                f"{counted(len(shared), 'test image')} of {len(groups['test']):,} are of "
                f"{counted(len(set(shared)), 'group')} ({self.spec.group_column}) of which train or val has images, "
                f"too: {shortly(list(dict.fromkeys(shared)), 3)} ({self.splits['test'].made})"
            )


def _make_splits(spec: DatasetSpec, source: SourceSplits) -> dict[str, Split]:
    """Return the source's own splits, limited, and hold-outs of train for those that it lacks."""
    splits = {split: _limited(spec, source, split, size) for split, size in source.sizes.items()}
    labels = source.labels("train")
    for split, fraction in (("test", spec.test_fraction), ("val", spec.val_fraction)):
        if split not in splits:
            splits["train"], splits[split] = _hold_out(splits["train"], labels, split, fraction, spec.seed)
    return splits


def _limited(spec: DatasetSpec, source: SourceSplits, split: str, size: int) -> Split:
    if spec.limit is None or spec.limit >= size:
        return Split(split, np.arange(size, dtype=np.int64), f"all {size} {split} images of the source")
    chosen = stratified_sample(source.labels(split), spec.limit, spec.seed)
    made = f"{spec.limit} of the source's {size} {split} images, stratified, seed {spec.seed}"
    return Split(split, chosen, made)


def _hold_out(train: Split, labels: npt.NDArray[Any], split: str, fraction: float, seed: int) -> tuple[Split, Split]:
    size = round(fraction * len(train.rows))
    chosen = stratified_sample(labels[train.rows], size, seed)
    rest = np.setdiff1d(np.arange(len(train.rows)), chosen)
    made = f"{size} of {len(train.rows)} train images held out, stratified, seed {seed}"
    return (
        Split(train.origin, train.rows[rest], f"{train.made}, less {size} for {split}"),
        Split(train.origin, train.rows[chosen], made),
    )


def stratified_sample(labels: npt.NDArray[Any], size: int, seed: int) -> npt.NDArray[np.int64]:
    """Choose `size` images so that every class keeps its share, as nearly as whole numbers allow.

    Parameters
    ----------
    labels : ndarray of int64, shape (n,), or of bool, shape (n, n_classes)
        Multi-label images are drawn at random without strata.
    size : int
        At most n.
    seed : int

    Returns
    -------
    ndarray of int64, shape (size,)
        Ascending positions.
    """
    rng = np.random.default_rng(seed)
    order = rng.permutation(len(labels))
    if labels.ndim == 2:
        return np.sort(order[:size])
    # Sort by how far through its own class an image comes: any prefix of this order holds equal shares of all classes.
    counts = np.bincount(labels)
    shuffled = labels[order]
    by_class = np.argsort(shuffled, kind="stable")
    starts = np.cumsum(counts) - counts
    position = np.empty(len(labels))
    position[by_class] = (np.arange(len(labels)) - starts[shuffled[by_class]] + 0.5) / counts[shuffled[by_class]]
    return np.sort(order[np.argsort(position, kind="stable")[:size]])
