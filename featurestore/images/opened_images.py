"""Images of a dataset whose files have just been looked at, in three splits, and what a person has to hear of them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from featurestore.catalogue.datasets import DatasetSpec
from featurestore.errors import DatasetError
from featurestore.images.hold_outs import make_splits
from featurestore.images.source_splits import SourceSplits, present_classes
from featurestore.images.sources import RawImage, open_source
from featurestore.plain_text import counted, shortly
from featurestore.store.schema import SPLITS


class OpenedImages:
    """Images of a source that is open in this process; see `featurestore.images.splits.Images`.

    Raises
    ------
    DatasetError
        If the images or labels cannot be used: nothing there, one class only, a class without training images.
    """

    def __init__(self, spec: DatasetSpec) -> None:
        self._spec = spec
        self._opened = open_source(spec)
        self._source = SourceSplits(spec, self._opened)
        self._labels: dict[str, npt.NDArray[Any]] = {}
        self._groups: dict[str, Sequence[str | None] | None] = {}
        self.classes = self._source.classes
        self.fingerprint = self._opened.fingerprint()
        self.inventory = self._source.inventory
        self.splits = make_splits(spec, self._source)
        self._check()

    def labels(self, split: str) -> npt.NDArray[Any]:
        if split not in self._labels:
            part = self.splits[split]
            self._labels[split] = self._source.labels(part.origin)[part.rows]
        return self._labels[split]

    def groups(self, split: str, start: int, stop: int) -> list[str | None]:
        part = self.splits[split]
        if part.origin not in self._groups:
            self._groups[part.origin] = self._source.groups(part.origin)
        groups, rows = self._groups[part.origin], part.rows[start:stop]
        return [groups[row] for row in rows.tolist()] if groups else [None] * len(rows)

    def read(self, split: str, start: int, stop: int) -> Iterator[RawImage]:
        part = self.splits[split]
        return self._source.read(part.origin, part.rows[start:stop])

    def places(self, split: str) -> pa.Array:
        """Return where each image of a split is, as the reader of its source takes it."""
        part = self.splits[split]
        return self._source.places(part.origin, part.rows)

    def facts(self) -> dict[str, Any]:
        """Return what the reader of its source has to know beside the places."""
        return self._source.facts()

    def _check(self) -> None:
        name = self._spec.name
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
        spec, size = self._spec, self._source.sizes["train"]
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
        limit, size = self._spec.limit or 0, self._source.sizes["train"]
        while 0 < limit < size:
            limit = min(size, limit + max(1, limit // 4))
            rows = make_splits(replace(self._spec, limit=limit), self._source)["train"].rows
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
        if not self._spec.group_column:
            return
        groups = {split: self.groups(split, 0, len(self.splits[split].rows)) for split in SPLITS}
        known = {group for split in ("train", "val") for group in groups[split] if group is not None}
        shared = [group for group in groups["test"] if group in known]
        if shared:
            self.inventory.remark(
                f"{counted(len(shared), 'test image')} of {len(groups['test']):,} are of "
                f"{counted(len(set(shared)), 'group')} ({self._spec.group_column}) of which train or val has images, "
                f"too: {shortly(list(dict.fromkeys(shared)), 3)} ({self.splits['test'].made})"
            )
