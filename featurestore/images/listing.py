"""The listing of a dataset: where each of its images is, its label and its group, in columns of one Arrow file.

Whoever maps the file reads images without looking at a million files first. It has a record batch for each of the three
splits; what is not of single images is JSON in the metadata of its schema.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from featurestore.catalogue.datasets import DatasetSpec
from featurestore.images.hold_outs import Split
from featurestore.images.inventory import Inventory
from featurestore.images.opened_images import OpenedImages
from featurestore.images.plain_columns import numbers
from featurestore.images.sources import RawImage, reader_of
from featurestore.store.schema import SPLITS

_FACTS = b"probestore_dataset"


class ListedImages:
    """Images of a dataset by its listing; see `featurestore.images.splits.Images`.

    Parameters
    ----------
    spec : DatasetSpec
    content : pa.Buffer
        What `write_listing` wrote.

    Raises
    ------
    DatasetError
        By `read`, if a file is not what it was when it was listed.
    """

    def __init__(self, spec: DatasetSpec, content: pa.Buffer) -> None:
        file = pa.ipc.open_file(content)
        facts = json.loads(file.schema.metadata[_FACTS])
        self.classes: tuple[str, ...] = tuple(facts["classes"])
        self.fingerprint: str = facts["fingerprint"]
        self.inventory = Inventory.of_facts(facts["inventory"])
        self._batches = {split: file.get_batch(number) for number, split in enumerate(SPLITS)}
        self._reader = reader_of(spec, facts["source"])
        self.splits = {
            split: Split(origin, numbers(self._batches[split].column("row")), made)
            for split, (origin, made) in facts["splits"].items()
        }

    def labels(self, split: str) -> npt.NDArray[Any]:
        labels = self._batches[split].column("label")
        if pa.types.is_fixed_size_list(labels.type):
            return numbers(labels.flatten()).view(np.bool_).reshape(len(labels), len(self.classes))
        return numbers(labels)

    def groups(self, split: str, start: int, stop: int) -> list[str | None]:
        groups: list[str | None] = self._batches[split].column("group").slice(start, stop - start).to_pylist()
        return groups

    def read(self, split: str, start: int, stop: int) -> Iterator[RawImage]:
        return self._reader.read(self._batches[split].column("place").slice(start, stop - start))


def write_listing(images: OpenedImages, sink: pa.NativeFile) -> None:
    """Write the listing of images whose source is open.

    Raises
    ------
    OSError
        If the disk is full.
    """
    facts = {
        "classes": images.classes,
        "fingerprint": images.fingerprint,
        "inventory": images.inventory.facts(),
        "splits": {split: (images.splits[split].origin, images.splits[split].made) for split in SPLITS},
        "source": images.facts(),
    }
    first, *others = SPLITS
    batch = _batch(images, first)
    with pa.ipc.new_file(sink, batch.schema.with_metadata({_FACTS: json.dumps(facts)})) as writer:
        writer.write_batch(batch)
        for split in others:
            writer.write_batch(_batch(images, split))


def _batch(images: OpenedImages, split: str) -> pa.RecordBatch:
    n_images = len(images.splits[split].rows)
    columns = {
        "row": pa.array(images.splits[split].rows),
        "label": _label_column(images.labels(split)),
        "group": pa.array(images.groups(split, 0, n_images), pa.large_string()),
        "place": images.places(split),
    }
    return pa.RecordBatch.from_arrays(list(columns.values()), names=list(columns))


def _label_column(labels: npt.NDArray[Any]) -> pa.Array:
    if labels.ndim == 1:
        return pa.array(labels.astype(np.int32))
    values = pa.array(np.ascontiguousarray(labels).view(np.uint8).reshape(-1))
    return pa.FixedSizeListArray.from_arrays(values, labels.shape[1])
