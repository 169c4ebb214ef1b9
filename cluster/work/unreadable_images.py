"""The images of a run that cannot be read, and what they have in common: said as soon as it is known."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from featurestore.images.source_splits import present_classes
from featurestore.images.splits import Dataset
from featurestore.plain_text import counted, shortly


class UnreadableImages:
    """Reads reports of shards, and tells when a whole shard or all training images of a class are unreadable."""

    def __init__(self, datasets: Mapping[str, Dataset]) -> None:
        self._datasets = datasets
        self._shards: dict[tuple[str, str, int], int] = {}
        self._in_train: dict[str, dict[int, str]] = {}
        self._lost: dict[str, set[int]] = {name: set() for name in datasets}
        self._said: set[str] = set()

    @property
    def count(self) -> int:
        """Number of unreadable images so far."""
        return sum(self._shards.values())

    def note(self, name: str, split: str, shard: int, reasons: Mapping[int, str]) -> Iterator[str]:
        """Take note of a shard, and yield what is to be said. A shard may come twice.

        Parameters
        ----------
        name, split, shard : str, str, int
        reasons : mapping of int to str
            Positions of unreadable images in their split -> why.
        """
        self._shards[name, split, shard] = len(reasons)
        if not reasons:
            return
        dataset = self._datasets[name]
        start, stop = dataset.shard_range(split, shard)
        if len(reasons) == stop - start and name not in self._said:
            self._said.add(name)
            images = counted(stop - start, "image")
            yield f"Dataset {name}: none of {images} of {split} (shard {shard}) can be read: {_shared(reasons)}"
        if split == "train":
            self._in_train.setdefault(name, {}).update(reasons)
            yield from self._lost_classes(dataset)

    def _lost_classes(self, dataset: Dataset) -> Iterator[str]:
        """Yield the classes whose training images are all unreadable, each once."""
        name, labels, n_classes = dataset.spec.name, dataset.labels("train"), len(dataset.classes)
        unreadable = self._in_train[name]
        readable = np.delete(labels, list(unreadable), axis=0)
        lost = np.flatnonzero(~present_classes(readable, n_classes))
        new = [int(label) for label in lost if label not in self._lost[name]]
        if not new:
            return
        self._lost[name].update(new)
        of_new = np.asarray(labels[:, new].any(axis=1) if labels.ndim == 2 else np.isin(labels, new))
        reasons = {position: why for position, why in unreadable.items() if of_new[position]}
        classes = shortly([repr(dataset.classes[label]) for label in new])
        yield f"Dataset {name}: no training image of {classes} can be read: {_shared(reasons)}"


def _shared(reasons: Mapping[int, str]) -> str:
    """Return the reason of images, or the most frequent of several with their shares."""
    found: Sequence[tuple[str, int]] = Counter(reasons.values()).most_common(3)
    if len(found) == 1:
        return found[0][0]
    return "; ".join(f"{why} ({count} of {len(reasons)})" for why, count in found)
