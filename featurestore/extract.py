"""(models, dataset, split, shard) -> features in the store. Every image is decoded once, for all models.

Plain functions over arrays and a store: where and when they run is decided elsewhere.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass
from importlib.metadata import version
from itertools import islice
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from featurestore import backbones, preprocessing, schema
from featurestore.errors import BackboneError, DatasetError, Failure, FeatureValueError, StoreError
from featurestore.layout import FeatureSet, content_key
from featurestore.models import ModelSpec
from featurestore.preprocessing import Geometry, Preprocessing, UnreadableImageError
from featurestore.sources import RawImage
from featurestore.splits import Dataset
from featurestore.store import FeatureStore

Compute = Literal["fp32", "bf16", "fp16"]
Storage = Literal["float16", "float32"]
PENULTIMATE = "penultimate"

_ARROW = {"float16": pa.float16(), "float32": pa.float32()}


@dataclass(frozen=True)
class Model:
    """A model with everything that names its features exactly: record, weights digest, preprocessing, arithmetic."""

    spec: ModelSpec
    digest: str
    preprocessing: Preprocessing
    compute: Compute

    @property
    def name(self) -> str:
        """The record's name."""
        return self.spec.name

    def key_parts(self) -> dict[str, Any]:
        """Everything of the model that can change its features."""
        return {
            "backbone": self.spec.backbone,
            "weights_digest": self.digest,
            "tap": PENULTIMATE,
            "preprocessing": self.preprocessing.as_record(),
            "compute": self.compute,
        }

    @property
    def key(self) -> str:
        """Hash of them: equal for a name only while it stands for the same features."""
        return content_key(self.key_parts())

    def record(self) -> dict[str, Any]:
        """The model's row of the `models` table, but for the time."""
        fields = {name: value for name, value in asdict(self.spec).items() if name in schema.MODELS.names}
        return {
            **fields,
            "model": self.name,
            "weights_digest": self.digest,
            "preprocessing": json.dumps(self.preprocessing.as_record(), sort_keys=True),
            "model_key": self.key,
        }


def identify(spec: ModelSpec, *, resize: preprocessing.Resize, compute: Compute) -> Model:
    """Complete a record and name its weights; no network is loaded.

    Raises
    ------
    BackboneError
        If the weights are not there or cannot be fetched.
    """
    resolved = backbones.resolve(spec)
    return Model(resolved, backbones.weights_digest(resolved), preprocessing.for_model(resolved, resize), compute)


def feature_set(model: Model, dataset: Dataset, split: str, storage: Storage) -> FeatureSet:
    """Name the features of one split by everything that can change their bytes."""
    return FeatureSet(
        model.name, dataset.spec.name, split, content_key(feature_key_parts(model, dataset, split, storage))
    )


def feature_key_parts(model: Model, dataset: Dataset, split: str, storage: Storage) -> dict[str, Any]:
    """What the key of a feature set is the hash of; kept in its manifest."""
    return {"table": "features", "storage": storage, **model.key_parts(), **dataset.key_parts(split)}


class Extractor:
    """A model on a device, ready to turn pixels into features.

    Raises
    ------
    BackboneError
        If the network cannot be loaded, or its weights are no longer those that the key names.
    """

    def __init__(self, model: Model, device: str) -> None:
        import torch

        self.model = model
        found = backbones.weights_digest(model.spec)
        if found != model.digest:
            raise BackboneError(
                f"The weights of {model.name!r} have changed on this machine since the run was planned: {found}, not "
                f"{model.digest}. Run the same command again to plan with the new ones."
            )
        self._device = torch.device(device)
        self._network = backbones.build(model.spec).to(self._device).to(memory_format=torch.channels_last)
        self._shift, self._scale = (
            torch.tensor(values, device=self._device).view(1, 3, 1, 1)
            for values in _folded_normalisation(model.preprocessing)
        )

    def features(self, pixels: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        """Run the network.

        Parameters
        ----------
        pixels : ndarray of uint8, shape (batch, size, size, 3)

        Returns
        -------
        ndarray of float32, shape (batch, feature_dim)

        Raises
        ------
        BackboneError
            If the network does not give (batch, feature_dim).
        """
        import torch

        with torch.inference_mode():
            images = torch.from_numpy(pixels).to(self._device, non_blocking=True)
            images = (images.permute(0, 3, 1, 2).float() - self._shift) * self._scale
            with self._autocast():
                output = self._network(images.contiguous(memory_format=torch.channels_last))
        wanted = self.model.spec.feature_dim
        if not isinstance(output, torch.Tensor) or output.ndim != 2 or wanted not in (None, output.shape[1]):
            got = tuple(output.shape) if isinstance(output, torch.Tensor) else type(output).__name__
            raise BackboneError(
                f"Model {self.model.name!r} must give features of shape (batch, {wanted or 'feature_dim'}) for a batch "
                f"of {len(pixels)}. Got {got}."
            )
        return output.float().cpu().numpy()

    def _autocast(self) -> Any:
        import torch

        dtype = {"bf16": torch.bfloat16, "fp16": torch.float16}.get(self.model.compute)
        return torch.autocast(self._device.type, dtype=dtype, enabled=dtype is not None)


class Extractors:
    """The models of one device: each is loaded when it is first asked for, and kept."""

    def __init__(self, device: str) -> None:
        self._device = device
        self._loaded: dict[Model, Extractor] = {}
        self._heads_kept: set[tuple[str, str]] = set()

    def get(self, model: Model) -> Extractor:
        """The extractor of a model."""
        if model not in self._loaded:
            self._loaded[model] = Extractor(model, self._device)
        return self._loaded[model]

    def keep_head(self, store: FeatureStore, model: Model) -> None:
        """See to it, once, that the store has the network's own linear classifier, where there is one.

        Features without it could not be asked what the network would have said of the images.
        """
        place = (store.uri, model.key)
        if place not in self._heads_kept and model.key not in store.names("heads"):
            head = backbones.head(model.spec)
            if head is not None:
                store.publish("heads", model.key, _head_table(model, head))
        self._heads_kept.add(place)


@dataclass(frozen=True)
class Job:
    """One model's part in a shard: where its features go, and as what."""

    model: Model
    target: FeatureSet
    storage: Storage


@dataclass(frozen=True)
class Outcome:
    """What became of one model's part in a shard; a few numbers, whatever the size of the features.

    Attributes
    ----------
    failure : Failure, optional
        What the model raised.
    overflow : str, optional
        Why float16 cannot hold the features; nothing was written then.
    """

    target: FeatureSet
    seconds: float = 0.0
    failure: Failure | None = None
    overflow: str | None = None


@dataclass(frozen=True)
class ShardReport:
    """What became of a shard."""

    n_images: int
    n_unreadable: int
    outcomes: list[Outcome]


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
    start, stop = dataset.shard_range(split, shard)
    geometries = {job.model.preprocessing.geometry for job in jobs}
    runs = [_Run(job, extractors) for job in jobs]
    images: list[_Image] = []
    with ThreadPoolExecutor(decode_threads) as pool:
        raw = dataset.read(split, start, stop)
        decoded = _in_order(pool, lambda item: _decode(item, geometries), raw, ahead=2 * batch_size)
        for batch in _batches(decoded, batch_size):
            images.extend(image for image, _ in batch)
            readable = [arrays for _, arrays in batch if arrays is not None]
            if strict and len(readable) < len(batch):
                raise _unreadable(dataset, [image for image, _ in batch])
            if readable:
                pixels = {geometry: np.stack([arrays[geometry] for arrays in readable]) for geometry in geometries}
                for run in runs:
                    run.add(pixels)
    n_shards = dataset.n_shards(split)
    columns = _sample_columns(dataset, split, start, images)
    samples = dataset.samples(split)
    if not store.has(samples):
        store.write_shard(samples, shard, n_shards, pa.table(columns, schema=schema.SAMPLES))
    outcomes = [run.publish(store, shard, n_shards, columns) for run in runs]
    return ShardReport(len(images), sum(image.reason is not None for image in images), outcomes)


def finish_features(store: FeatureStore, model: Model, dataset: Dataset, split: str, storage: Storage) -> None:
    """Complete a feature set whose shards are all published: write its manifest."""
    record = {
        **feature_key_parts(model, dataset, split, storage),
        "model": model.name,
        "dataset": dataset.spec.name,
        "versions": {name: version(name) for name in ("torch", "timm", "torchvision", "pillow", "numpy")},
    }
    store.finish(feature_set(model, dataset, split, storage), dataset.n_shards(split), record)


def finish_samples(store: FeatureStore, dataset: Dataset, split: str) -> None:
    """Complete a sample set whose shards are all published: write its manifest."""
    record = {**dataset.key_parts(split), "dataset": dataset.spec.name, "made": dataset.splits[split].made}
    store.finish(dataset.samples(split), dataset.n_shards(split), record)


@dataclass(frozen=True)
class _Image:
    sample_id: str
    origin: str
    width: int | None
    height: int | None
    reason: str | None


_Arrays = dict[Geometry, npt.NDArray[np.uint8]]


class _Run:
    """One model going through a shard."""

    def __init__(self, job: Job, extractors: Extractors) -> None:
        self._job = job
        self._extractors = extractors
        self._blocks: list[npt.NDArray[np.float32]] = []
        self._seconds = 0.0
        self._failure: Failure | None = None

    def add(self, pixels: _Arrays) -> None:
        if self._failure is not None:
            return
        begin = time.perf_counter()
        try:
            extractor = self._extractors.get(self._job.model)
            self._blocks.append(extractor.features(pixels[self._job.model.preprocessing.geometry]))
        except Exception as error:  # whatever a network raises is its own failure, not that of the others
            self._failure = Failure.of(error)
        self._seconds += time.perf_counter() - begin

    def publish(self, store: FeatureStore, shard: int, n_shards: int, columns: Mapping[str, Any]) -> Outcome:
        target = self._job.target
        if self._failure is not None:
            return Outcome(target, self._seconds, failure=self._failure)
        if not self._blocks:  # a shard without a readable image: its table still has the model's width
            size = self._job.model.preprocessing.geometry.size
            blank = np.zeros((1, size, size, 3), np.uint8)
            self._blocks.append(self._extractors.get(self._job.model).features(blank)[:0])
        matrix = np.concatenate(self._blocks)
        try:
            self._extractors.keep_head(store, self._job.model)
            reason = _out_of_range(matrix, self._job.storage, target)
        except StoreError:
            raise
        except Exception as error:  # whatever a network raises is its own failure, not that of the others
            return Outcome(target, self._seconds, failure=Failure.of(error))
        if reason is not None:
            return Outcome(target, self._seconds, overflow=reason)
        store.write_shard(target, shard, n_shards, _feature_table(matrix, self._job.storage, columns))
        return Outcome(target, self._seconds)


def _out_of_range(matrix: npt.NDArray[np.float32], storage: Storage, target: FeatureSet) -> str | None:
    """Why `storage` cannot hold the matrix, None if it can; NaN and infinity can be held by none."""
    bad = np.flatnonzero(~np.isfinite(matrix).all(axis=1))
    if bad.size:
        raise FeatureValueError(
            f"Model {target.model!r} gives NaN or infinity for {bad.size} images of {target.dataset} {target.split}; "
            "check its weights, or compute in fp32."
        )
    largest = float(np.abs(matrix).max(initial=0.0))
    if storage == "float16" and largest > float(np.finfo(np.float16).max):
        return f"the largest feature is {largest:.6g}, beyond float16's 65504"
    return None


def _feature_table(matrix: npt.NDArray[np.float32], storage: Storage, columns: Mapping[str, Any]) -> pa.Table:
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


def _sample_columns(dataset: Dataset, split: str, start: int, images: Sequence[_Image]) -> dict[str, list[Any]]:
    positions = range(start, start + len(images))
    labels = dataset.labels(split)[start : start + len(images)]
    single = labels.ndim == 1
    groups = dataset.groups(split)
    return {
        "sample_id": [image.sample_id for image in images],
        "index": list(positions),
        "label": labels.tolist() if single else [None] * len(images),
        "labels": [None] * len(images) if single else [np.flatnonzero(row).tolist() for row in labels],
        "label_name": [dataset.classes[label] for label in labels] if single else [None] * len(images),
        "group": [groups[position] for position in positions],
        "width": [image.width for image in images],
        "height": [image.height for image in images],
        "source": [image.origin for image in images],
        "readable": [image.reason is None for image in images],
        "reason": [image.reason for image in images],
    }


def _decode(raw: RawImage, geometries: Iterable[Geometry]) -> tuple[_Image, _Arrays | None]:
    sample_id = _content_id(raw.content)
    try:
        image = preprocessing.decode(raw.content)
        arrays = {geometry: preprocessing.to_array(image, geometry) for geometry in geometries}
    except UnreadableImageError as error:
        return _Image(sample_id, raw.origin, None, None, str(error)), None
    return _Image(sample_id, raw.origin, image.width, image.height, None), arrays


def _content_id(content: bytes | npt.NDArray[np.uint8]) -> str:
    """128 bits of SHA-256 over the bytes of an image, and over its shape when it was never encoded."""
    if isinstance(content, np.ndarray):
        content = f"{content.shape}".encode() + content.tobytes()
    return hashlib.sha256(content).hexdigest()[:32]


def _in_order(pool: ThreadPoolExecutor, function: Any, items: Iterable[Any], *, ahead: int) -> Iterator[Any]:
    """Map `function` in threads, in order, with at most `ahead` results waiting: decoding runs ahead of the network."""
    waiting: deque[Future[Any]] = deque()
    for item in items:
        waiting.append(pool.submit(function, item))
        if len(waiting) > ahead:
            yield waiting.popleft().result()
    while waiting:
        yield waiting.popleft().result()


def _batches(items: Iterator[Any], size: int) -> Iterator[list[Any]]:
    while batch := list(islice(items, size)):
        yield batch


def _folded_normalisation(record: Preprocessing) -> tuple[list[float], list[float]]:
    """``(pixel / 255 - mean) / std`` as ``(pixel - shift) * scale``."""
    return [255 * mean for mean in record.mean], [1 / (255 * std) for std in record.std]


def _unreadable(dataset: Dataset, images: Iterable[_Image]) -> DatasetError:
    first = next(image for image in images if image.reason is not None)
    return DatasetError(
        f"Dataset {dataset.spec.name!r}: {first.origin} is unreadable ({first.reason}). Without --strict such images "
        "are listed in the samples table and left out."
    )
