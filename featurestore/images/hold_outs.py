"""Which images of a source are train, val and test: what its makers did not split is held out, in shares and seeded."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from featurestore.catalogue.datasets import DatasetSpec
from featurestore.images.source_splits import SourceSplits


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


def make_splits(spec: DatasetSpec, source: SourceSplits) -> dict[str, Split]:
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
    rest = np.ones(len(train.rows), dtype=bool)
    rest[chosen] = False
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
