"""Embed images again and compare with what is stored of them: the check that needs networks and images."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from featurestore.images import decoding
from featurestore.images.decoding import Pixels
from featurestore.images.splits import Dataset
from featurestore.networks.extractor import Extractor
from featurestore.store.feature_store import FeatureStore
from featurestore.store.layout import FeatureSet

TOLERANCE = {"fp32": 0.005, "bf16": 0.05, "fp16": 0.05}
"""Arithmetic of a model -> largest ‖x - x'‖ / ‖x‖ that another device, another batch or float16 explains."""

_BATCH = 16


@dataclass(frozen=True)
class Comparison:
    """The difference between stored features of some images and those that the network gives now.

    Attributes
    ----------
    n_images : int
        Images that were compared.
    largest_relative_error : float
        Largest ‖x - x'‖ / ‖x‖ of the images; 0 where neither has features.
    problems : list of str
        Images that are others now, or differ beyond the tolerance.
    """

    n_images: int
    largest_relative_error: float
    problems: list[str]


def reembed(
    store: FeatureStore, extractor: Extractor, dataset: Dataset, item: FeatureSet, rows: Sequence[int]
) -> Comparison:
    """Read, decode and embed some images again, and compare with a complete set.

    Parameters
    ----------
    extractor : Extractor
        Extractor of the model of `item`, with its tap.
    dataset : Dataset
        Dataset of `item`, as it was when the features were made: else the key would be another.
    rows : sequence of int
        Positions in the split.

    Raises
    ------
    DatasetError, StoreError
        If images or features cannot be read.
    BackboneError
        If the network does not give features.
    """
    stored = dict(_stored(store, dataset, item, rows))
    errors, problems = [], []
    for row, sample_id, features in _embedded(extractor, dataset, item, rows):
        known = stored.get(row)
        if (known is None) != (features is None):
            problems.append(f"image {row} is {'readable' if known is None else 'unreadable'} now")
        elif known is not None and features is not None:
            if sample_id != known[0]:
                problems.append(f"image {row} has other bytes now")
            errors.append(_relative_error(features, known[1]))
            if not errors[-1] <= TOLERANCE[extractor.model.compute]:
                problems.append(f"features of image {row} differ by {errors[-1]:.3g} of their norm")
    return Comparison(len(rows), max(errors, default=0.0), problems)


def _stored(
    store: FeatureStore, dataset: Dataset, item: FeatureSet, rows: Iterable[int]
) -> Iterator[tuple[int, tuple[str, npt.NDArray[np.float64]]]]:
    """Yield (row, (sample_id, features)) of the rows that have features; only the parts that hold them are read."""
    wanted = set(rows)
    parts = store.manifest(item)["parts"]
    for shard in sorted({row // dataset.shard_images(item.split) for row in wanted}):
        content = store.storage.read_intact(f"{item.folder}/{parts[shard]['name']}")
        table = pq.read_table(pa.BufferReader(content))
        for place, row in enumerate(table.column("index").to_pylist()):
            if row in wanted:
                features = np.asarray(table.column("feature")[place].as_py(), np.float64)
                yield row, (table.column("sample_id")[place].as_py(), features)


def _embedded(
    extractor: Extractor, dataset: Dataset, item: FeatureSet, rows: Sequence[int]
) -> Iterator[tuple[int, str, npt.NDArray[np.float32] | None]]:
    """Yield (row, sample_id, features) of every row; the features are None for an unreadable image."""
    geometry = extractor.model.preprocessing.geometry
    for start in range(0, len(rows), _BATCH):
        batch = rows[start : start + _BATCH]
        read = (raw for row in batch for raw in dataset.read(item.split, row, row + 1))
        decoded = [decoding.decode(raw, [geometry], dataset.reading) for raw in read]
        features = _features(extractor, [pixels for _, pixels in decoded if pixels is not None], item.tap)
        for row, (image, pixels) in zip(batch, decoded, strict=True):
            yield row, image.sample_id, None if pixels is None else next(features)


def _features(extractor: Extractor, pixels: Sequence[Pixels], tap: str) -> Iterator[npt.NDArray[np.float32]]:
    if pixels:
        geometry = extractor.model.preprocessing.geometry
        found: Mapping[str, npt.NDArray[np.float32]] = extractor.features(np.stack([one[geometry] for one in pixels]))
        if tap not in found:
            raise extractor.problems[tap]
        yield from found[tap]


def _relative_error(features: npt.NDArray[np.float32], known: npt.NDArray[np.float64]) -> float:
    if features.shape != known.shape:
        return float("inf")
    return float(np.linalg.norm(features - known)) / max(float(np.linalg.norm(known)), 1e-30)
