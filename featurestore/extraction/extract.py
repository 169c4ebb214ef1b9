"""(models, dataset, split, shard) -> features in the store. Every image is decoded once, for all models.

Plain functions over arrays and a store: where and when they run is decided elsewhere.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import torch

from featurestore.errors import BackboneError, DatasetError, Failure, FeatureValueError, StoreError
from featurestore.extraction.shards import Job, Outcome, ShardReport
from featurestore.images import decoding
from featurestore.images.decoding import Batch, Image
from featurestore.images.pixel_facts import PixelFacts
from featurestore.images.splits import Dataset
from featurestore.networks import backbones, precision
from featurestore.networks.extractor import Extractor, Extractors, Uploaded, upload
from featurestore.networks.identity import FeatureType, Model
from featurestore.networks.precision import Precision
from featurestore.networks.references import Agreement, References, Taken, compare
from featurestore.plain_text import counted
from featurestore.store import schema
from featurestore.store.feature_store import MADE_WITH, FeatureStore, Part
from featurestore.store.layout import FeatureSet

_ARROW = {"float16": pa.float16(), "float32": pa.float32()}


def extract_shard(
    store: FeatureStore,
    dataset: Dataset,
    split: str,
    shard: int,
    jobs: Sequence[Job],
    extractors: Extractors,
    *,
    batch_size: int,
    decode_threads: int,
    strict: bool = False,
) -> ShardReport:
    """Decode the images of a shard once, run every model on them, and publish features and samples.

    A model that raises is reported and the others go on. The samples are published first, so features never exist
    without the images they belong to.

    Raises
    ------
    DatasetError
        If the source cannot be read or, with `strict`, if an image is unreadable.
    StoreError
        If the store cannot be written.
    """
    begin = time.perf_counter()
    start, stop = dataset.shard_range(split, shard)
    geometries = {job.model.preprocessing.geometry for job in jobs}
    extractors.hold([job.model for job in jobs])
    runs = [_Run(job, extractors, first=shard == 0) for job in jobs]
    images: list[Image] = []
    with ThreadPoolExecutor(decode_threads) as pool:
        raw = dataset.read(split, start, stop)
        read = decoding.batches(raw, geometries, batch_size=batch_size, pool=pool, reading=dataset.reading)
        for batch in read:
            images.extend(batch.images)
            if strict and batch.n_readable < len(batch.images):
                raise _unreadable(dataset, batch)
            if batch.pixels:
                uploaded = upload(batch.pixels, extractors.device)
                for run in runs:
                    run.add(uploaded)
        n_shards = dataset.n_shards(split)
        columns = _sample_columns(dataset, split, start, images)
        samples = dataset.samples(split)
        part: Part | None = None
        if not store.has_part(samples, shard):
            part = store.write_shard(samples, shard, n_shards, pa.table(columns, schema=schema.SAMPLES))
        outcomes = [outcome for run in runs for outcome in run.publish(store, shard, n_shards, columns, pool)]
    unreadable = {start + place: image.reason for place, image in enumerate(images) if image.reason is not None}
    network_seconds = {run.model: run.seconds for run in runs}
    taken = tuple(run.news for run in runs if run.news)
    seconds = time.perf_counter() - begin
    return ShardReport(len(images), unreadable, seconds, part, outcomes, network_seconds, PixelFacts.of(images), taken)


def try_out(model: Model, tap_names: Sequence[str], extractors: Extractors, references: References) -> Taken:
    """Put the trial images through a model, and compare what comes out with what is known of it.

    Raises
    ------
    BackboneError
        If the network cannot be loaded or run.
    DriftError
        If it gives something else here, and that is not accepted.
    """
    return _agreement(model, extractors.get(model, tap_names), extractors.node, references).taken


def _agreement(model: Model, extractor: Extractor, node: str, references: References) -> Agreement:
    own = Taken(model.name, model.key, extractor.installation, node, extractor.fingerprints())
    return compare(model, own, references)


class _Run:
    """One model going through a shard.

    Parameters
    ----------
    first : bool
        Whether it is the first shard of its split, where what takes one worker to do is done: comparing with float32,
        if that is not what the model computes in, and keeping its classifier.

    Attributes
    ----------
    seconds : float
        Time that calls of the network have taken.
    """

    def __init__(self, job: Job, extractors: Extractors, *, first: bool) -> None:
        self._job = job
        self._first = first
        self._extractors = extractors
        self._blocks: dict[str, list[torch.Tensor]] = {tap: [] for tap in job.taps}
        self._to_compare = precision.N_IMAGES if first and job.model.compute != "fp32" else 0
        self._reference: Extractor | None = None
        self._exact: dict[str, list[torch.Tensor]] = {tap: [] for tap in job.taps}
        self._problems: Mapping[str, BackboneError] = {}
        self._used: Mapping[str, Any] = {}
        self._failure: Failure | None = None
        self._agreement: Agreement | None = None
        self.model = job.model.name
        self.seconds = 0.0

    @property
    def news(self) -> Taken | None:
        """What the model gave for the trial images, if the store does not know it yet."""
        return self._agreement.taken if self._agreement and self._agreement.is_news else None

    def add(self, uploaded: Uploaded) -> None:
        """Run the model on a batch."""
        if self._failure is not None:
            return
        try:
            extractor, begin = self._extractor(), time.perf_counter()
            found = extractor.run(uploaded)
            self.seconds += time.perf_counter() - begin
            _append(found, self._blocks)
            if self._to_compare > 0:
                self._compare(uploaded)
        except torch.AcceleratorError:  # the device is broken, for every network
            raise
        except Exception as error:  # whatever a network raises is its own failure, not that of the others
            self._failure = Failure.of(error)

    def publish(
        self, store: FeatureStore, shard: int, n_shards: int, columns: Mapping[str, Any], pool: ThreadPoolExecutor
    ) -> list[Outcome]:
        """Write a part per tap, in threads: an object store takes its time for each."""
        try:
            if self._failure is None:
                if self._first:
                    keep_head(store, self._job.model, self._extractors)
                self._fill_up()
        except StoreError:
            raise
        except Exception as error:  # as above
            self._failure = Failure.of(error)

        def publish_tap(item: tuple[FeatureSet, FeatureType]) -> Outcome:
            target, storage = item
            if self._failure is not None:
                return Outcome(target, failure=self._failure)
            try:
                table = self._table(target, storage, columns)
            except _BeyondFloat16Error as error:
                return Outcome(target, overflow=str(error))
            except Exception as error:  # as above
                return Outcome(target, failure=Failure.of(error))
            return Outcome(target, part=store.write_shard(target, shard, n_shards, table))

        return list(pool.map(publish_tap, self._job.targets))

    def _fill_up(self) -> None:
        """Note the taps that the network lacks, and its width even where a shard has no readable image."""
        extractor = self._extractor()
        self._problems, self._used = extractor.problems, extractor.used()
        if not any(self._blocks.values()):
            size = self._job.model.preprocessing.geometry.size
            blank = extractor.features(np.zeros((1, size, size, 3), np.uint8))
            _append({tap: torch.from_numpy(values[:0]) for tap, values in blank.items()}, self._blocks)

    def _table(self, target: FeatureSet, storage: FeatureType, columns: Mapping[str, Any]) -> pa.Table:
        """Return the rows of one tap; their metadata says how they were made."""
        if target.tap in self._problems:
            raise self._problems[target.tap]
        matrix = torch.cat(self._blocks[target.tap]).cpu().numpy()
        _check_range(matrix, storage, target)
        measured = self._precision(target.tap)
        precision.check(measured, self._job.max_relative_error, target, self._job.model.compute)
        agreed = self._agreement.fingerprints.get(target.tap) if self._agreement else None
        made = {
            "extraction": self._used,
            **({"precision": asdict(measured)} if measured else {}),
            **({"fingerprint": agreed} if agreed else {}),
        }
        return _feature_table(matrix, storage, columns).replace_schema_metadata({MADE_WITH: json.dumps(made)})

    def _extractor(self) -> Extractor:
        """Return the network, which gives what the stored features were made with."""
        extractor = self._extractors.get(self._job.model, self._job.taps)
        if self._agreement is None:
            self._agreement = _agreement(self._job.model, extractor, self._extractors.node, self._job.references)
        return extractor

    def _compare(self, uploaded: Uploaded) -> None:
        """Run the same batch in float32."""
        self._reference = self._reference or self._extractors.reference(self._job.model, self._job.taps)
        _append(self._reference.run(uploaded), self._exact)
        self._to_compare -= len(next(iter(uploaded.values())))
        if self._to_compare <= 0:
            self._reference = None

    def _precision(self, tap: str) -> Precision | None:
        exact = self._exact[tap]
        return precision.measure(torch.cat(self._blocks[tap][: len(exact)]), torch.cat(exact)) if exact else None


def _append(found: Mapping[str, torch.Tensor], blocks: Mapping[str, list[torch.Tensor]]) -> None:
    """Add a batch to the blocks of the taps that are wanted."""
    for tap, kept in blocks.items():
        if tap in found:
            kept.append(found[tap])


def keep_head(store: FeatureStore, model: Model, extractors: Extractors) -> None:
    """Store the network's own linear classifier, where it has one and the store does not.

    Features without it could not be asked what the network would have said of the images.
    """
    place = (store.uri, model.key)
    if place in extractors.heads_kept:
        return
    if not store.has_record("heads", model.key):
        head = backbones.head(model.spec)
        if head is not None:
            store.publish("heads", model.key, _head_table(model, head))
    extractors.heads_kept.add(place)


class _BeyondFloat16Error(Exception):
    """Raised with the reason why float16 cannot hold features."""


def _check_range(matrix: npt.NDArray[np.float32], storage: FeatureType, target: FeatureSet) -> None:
    """Check that a type can hold the matrix; no type holds NaN or infinity."""
    bad = np.flatnonzero(~np.isfinite(matrix).all(axis=1))
    if bad.size:
        raise FeatureValueError(
            f"Model {target.model!r} gives NaN or infinity for {counted(int(bad.size), 'image')} of {target.dataset} "
            f"{target.split}; check its weights, or compute in fp32."
        )
    largest = float(np.abs(matrix).max(initial=0.0))
    if storage == "float16" and largest > float(np.finfo(np.float16).max):
        raise _BeyondFloat16Error(f"the largest feature is {largest:.6g}, beyond float16's 65504")


def _feature_table(matrix: npt.NDArray[np.float32], storage: FeatureType, columns: Mapping[str, Any]) -> pa.Table:
    table_schema = schema.features(_ARROW[storage], matrix.shape[1])
    readable = np.flatnonzero(columns["readable"])
    kept = {name: columns[name] for name in table_schema.names if name != "feature"}
    values = pa.array(matrix.astype(storage).ravel())
    vectors = pa.FixedSizeListArray.from_arrays(values, type=table_schema.field("feature").type)
    arrays = [
        pa.array(kept[field.name], type=field.type).take(readable) for field in table_schema if field.name in kept
    ]
    return pa.Table.from_arrays([*arrays, vectors], schema=table_schema)


def _head_table(model: Model, head: backbones.Head) -> pa.Table:
    weight, bias = head
    rows = pa.ListArray.from_arrays(np.arange(0, weight.size + 1, weight.shape[1], dtype=np.int32), weight.ravel())
    columns = {
        "model": pa.repeat(model.name, len(bias)),
        "model_key": pa.repeat(model.key, len(bias)),
        "source_class": np.arange(len(bias)),
        "weight": rows,
        "bias": bias,
    }
    return pa.table(columns).cast(schema.HEADS)


def _sample_columns(dataset: Dataset, split: str, start: int, images: Sequence[Image]) -> dict[str, list[Any]]:
    positions = range(start, start + len(images))
    labels = dataset.labels(split)[start : start + len(images)]
    single = labels.ndim == 1
    return {
        "sample_id": [image.sample_id for image in images],
        "index": list(positions),
        "label": labels.tolist() if single else [None] * len(images),
        "labels": [None] * len(images) if single else [np.flatnonzero(row).tolist() for row in labels],
        "label_name": [dataset.classes[label] for label in labels] if single else [None] * len(images),
        "group": dataset.groups(split, positions.start, positions.stop),
        "width": [image.width for image in images],
        "height": [image.height for image in images],
        "source": [image.origin for image in images],
        "readable": [image.reason is None for image in images],
        "reason": [image.reason for image in images],
        "orientation": [image.orientation for image in images],
        "mode": [image.mode for image in images],
    }


def _unreadable(dataset: Dataset, batch: Batch) -> DatasetError:
    first = next(image for image in batch.images if image.reason is not None)
    return DatasetError(
        f"Dataset {dataset.spec.name!r}: {first.origin} is unreadable ({first.reason}). Without --strict such images "
        "are listed in the samples table and left out."
    )
