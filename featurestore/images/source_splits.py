"""The splits of a source, which may have any names, as train, val and test."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Any, cast

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from featurestore.catalogue.datasets import DatasetSpec
from featurestore.errors import DatasetError
from featurestore.images.class_names import alike, mean_no_label, said_of_alike
from featurestore.images.sources import ListedSource, RawImage, Source
from featurestore.images.split_names import as_toml, assigned, split_of
from featurestore.plain_text import shortly
from featurestore.store.schema import SPLITS


class SourceSplits:
    """Images of a source, with labels and groups, in those of ``train``, ``val`` and ``test`` that it has.

    A split is one of the source's, or several of them one after the other. Classes that no image of them has are left
    out.

    Attributes
    ----------
    classes : tuple of str
        Names of the classes, in the order of the source.
    inventory : Inventory
        Everything that the source met, and what the dataset makes of it.

    Raises
    ------
    DatasetError
        If a split that is to be used is not there, is empty, or has images without a label.
    """

    def __init__(self, spec: DatasetSpec, source: Source) -> None:
        self._source = source
        self._sizes = source.splits()
        use = assigned(self._sizes, spec)
        reasons = _reasons_against(self._sizes, use, spec)
        self._use = {name: split for name, split in use.items() if name not in reasons}
        self._names = {split: [name for name in self._use if self._use[name] == split] for split in SPLITS}
        self._check_train(spec)
        self._labels = {name: self._read_labels(name, spec) for name in self._use}
        self.inventory = source.inventory().of_dataset(self._use, reasons)
        self.classes = self._drop_absent_classes()
        if same := alike(self.classes):
            self.inventory.remark(
                f"names of classes differ in case, spaces or Unicode form only: {said_of_alike(same)}"
            )

        if names := mean_no_label(self.classes):
            self.inventory.remark(
                f"{shortly([repr(name) for name in names])} {'is' if len(names) == 1 else 'are'} taken for "
                f"{'a class' if len(names) == 1 else 'classes'}, though programs write so where there is no label"
            )

    @property
    def sizes(self) -> dict[str, int]:
        """Number of images of each split that the source has."""
        return {split: sum(self._sizes[name] for name in names) for split, names in self._names.items() if names}

    def labels(self, split: str) -> npt.NDArray[Any]:
        """Return class indices, int64 of shape (n,), or an indicator matrix, bool of shape (n, n_classes)."""
        return np.concatenate([self._labels[name] for name in self._names[split]])

    def groups(self, split: str) -> Sequence[str | None] | None:
        """Return a group per image, or None if the source has no groups."""
        found = {name: self._source.groups(name) for name in self._names[split]}
        if not any(groups is not None for groups in found.values()):
            return None
        return [group for name, groups in found.items() for group in groups or [None] * self._sizes[name]]

    def read(self, split: str, rows: npt.NDArray[np.int64]) -> Iterator[RawImage]:
        """Read these rows of a split in this order."""
        for name, own in self._by_name(split, rows):
            yield from self._source.read(name, own)

    def places(self, split: str, rows: npt.NDArray[np.int64]) -> pa.Array:
        """Return where these rows of a split are, of a source that can say it."""
        source = cast("ListedSource", self._source)
        return pa.concat_arrays([source.places(name, own) for name, own in self._by_name(split, rows)])

    def facts(self) -> dict[str, Any]:
        """Return what a reader of places has to know."""
        return cast("ListedSource", self._source).facts()

    def _by_name(self, split: str, rows: npt.NDArray[np.int64]) -> Iterator[tuple[str, npt.NDArray[np.int64]]]:
        """Yield rows of a split as those of the source's own splits, in the same order."""
        names = self._names[split]
        sizes = np.array([self._sizes[name] for name in names], np.int64)
        starts = np.cumsum(sizes) - sizes
        parts = np.searchsorted(starts, rows, side="right") - 1
        ends = [*(np.flatnonzero(np.diff(parts)) + 1).tolist(), len(rows)] if len(rows) else []
        for start, end in pairwise([0, *ends]):
            part = parts[start]
            yield names[part], rows[start:end] - starts[part]

    def without(self, *splits: str) -> str:
        """Say how to use the source without some of its splits."""
        others = {other: tuple(names) for other, names in self._names.items() if names and other not in splits}
        it, are = ("it", "split is") if len(splits) == 1 else ("them", "splits are")
        return (
            f"To work without {it}, give the dataset `splits = {as_toml(others)}`; its {' and '.join(splits)} {are} "
            "then held out from train."
        )

    def why_not_in_train(self, absent: npt.NDArray[np.int64]) -> str | None:
        """Say where the images of classes are that train of the source has none of; None if it has all of them."""
        in_train = self._present("train")
        never = [label for label in absent if not in_train[label]]
        if not never:
            return None
        names = [self.classes[label] for label in never]
        places = [split for split in self.sizes if split != "train" and self._present(split)[never].any()]
        text = f"{shortly(names)} {'is' if len(names) == 1 else 'are'} in {' and '.join(places)} only."
        if same := [group for group in alike(self.classes) if set(group) & set(names)]:
            return (
                f"{text} Names differ in case, spaces or Unicode form only: {said_of_alike(same)}. Rename one of them."
            )
        foreign = [split for split in places if not (self._present(split) & in_train).any()]
        it = "it has" if len(foreign) == 1 else "they have"
        guess = f" No class of {' and '.join(foreign)} is one of train: perhaps {it} no labels." if foreign else ""
        return f"{text}{guess} Give train images of such classes, or remove these. {self.without(*places)}"

    def _present(self, split: str) -> npt.NDArray[np.bool_]:
        return present_classes(self.labels(split), len(self.classes))

    def _check_train(self, spec: DatasetSpec) -> None:
        if not self._names["train"]:
            if empty := [name for name, size in self._sizes.items() if not size and split_of(name) == "train"]:
                raise DatasetError(f"Dataset {spec.name!r}: its split {empty[0]!r} must have images. It has none.")
            found = ", ".join(map(repr, self._sizes)) or "none"
            unknown = [name for name, size in self._sizes.items() if size and not split_of(name)]
            some = (*unknown, *self._sizes, "...")[0]
            raise DatasetError(
                f"Dataset {spec.name!r} must have a split called train. It has: {found}. `splits` says which of them "
                f"is train, such as `splits = {as_toml({'train': (some,)})}`."
            )

    def _read_labels(self, name: str, spec: DatasetSpec) -> npt.NDArray[Any]:
        try:
            return self._source.labels(name)
        except DatasetError as error:
            split = self._use[name]
            if split == "train":
                raise
            raise DatasetError(f"{error} {self.without(split)}") from error

    def _drop_absent_classes(self) -> tuple[str, ...]:
        """Leave out the classes that no image has, and return the names of the others."""
        names = self._source.classes
        there = np.zeros(len(names), dtype=bool)
        for labels in self._labels.values():
            there |= present_classes(labels, len(names))
        for absent in np.flatnonzero(~there):
            self.inventory.add("class", names[absent], reason=f"no image of {' or '.join(self.sizes)} has it")
        if not there.all():
            number = np.cumsum(there) - 1
            for name, labels in self._labels.items():
                self._labels[name] = labels[:, there] if labels.ndim == 2 else number[labels]
        return tuple(name for name, is_there in zip(names, there, strict=True) if is_there)


def present_classes(labels: npt.NDArray[Any], n_classes: int) -> npt.NDArray[np.bool_]:
    """Return which classes some of the images have, shape (n_classes,)."""
    present = labels.any(axis=0) if labels.ndim == 2 else np.bincount(labels, minlength=n_classes) > 0
    return np.asarray(present, dtype=bool)


def _reasons_against(sizes: dict[str, int], use: dict[str, str], spec: DatasetSpec) -> dict[str, str]:
    """Return why splits of the source are not used."""
    reasons = {}
    for name, size in sizes.items():
        if name in use and size:
            continue
        if not size:
            reasons[name] = f"{name!r} has no image"
        elif spec.splits is None:
            reasons[name] = f"{name!r} is not known as the name of a split; `splits` can say what it is"
        else:
            reasons[name] = f"`splits` does not name {name!r}"
    if spec.splits and (empty := [name for name in use if name in reasons]):
        raise DatasetError(f"Dataset {spec.name!r}: `splits` names {empty[0]!r}, which has no image. Leave it out.")
    return reasons
