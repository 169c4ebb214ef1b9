"""The exact name of features: a model with its weights, preprocessing and arithmetic, on a split of a dataset."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, fields
from functools import cached_property
from typing import Any, Literal

from featurestore.catalogue.models import ModelSpec
from featurestore.images import preprocessing
from featurestore.images.preprocessing import Preprocessing
from featurestore.images.splits import Dataset
from featurestore.networks import backbones
from featurestore.networks.remembered import remembering
from featurestore.store import schema
from featurestore.store.layout import PENULTIMATE, FeatureSet, KeyText, content_key, key_text, key_texts

Compute = Literal["fp32", "bf16", "fp16"]
FeatureType = Literal["float16", "float32"]
"""The type that features are stored as, whatever they are computed in."""

_THREADS = 16  # a hub takes its time for each file
_ARITHMETIC = 2  # raised whenever the same network would give other bytes: 2 since batch norms are folded


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
        """Return everything of the model that can change its features, whatever the tap."""
        return {
            "backbone": self.spec.backbone,
            "weights_digest": self.digest,
            "preprocessing": self.preprocessing.as_record(),
            "compute": self.compute,
            "arithmetic": _ARITHMETIC,
        }

    @cached_property
    def key(self) -> str:
        """Hash of the key parts: a name has the same one only while it stands for the same features."""
        return content_key(self.key_parts())

    @cached_property
    def key_texts(self) -> dict[str, KeyText]:
        """The key parts as keys have them, made once for all feature sets of the model."""
        return key_texts(self.key_parts())

    def __getstate__(self) -> dict[str, Any]:
        """Return the fields alone: a unit that goes to a worker takes no texts along."""
        return {entry.name: getattr(self, entry.name) for entry in fields(self)}

    def record(self) -> dict[str, Any]:
        """Return the model's row of the `models` table, without the time."""
        fields = {name: value for name, value in asdict(self.spec).items() if name in schema.MODELS.names}
        return {
            **fields,
            "model": self.name,
            "weights_digest": self.digest,
            "preprocessing": json.dumps(self.preprocessing.as_record(), sort_keys=True),
            "model_key": self.key,
        }


def identify_all(
    specs: Iterable[ModelSpec], *, resize: preprocessing.Resize, compute: Compute
) -> list[Model | Exception]:
    """Identify several records, or say of each what `identify` would raise. What is found out is remembered.

    Weights are fetched and read several at a time, but not where a user's own code is imported for it.
    """
    with remembering(), ThreadPoolExecutor(_THREADS) as threads:
        resolved = [_attempt(backbones.resolve, spec) for spec in specs]
        at_once = _at_once(resolved)
        digests = {
            place: _attempt(backbones.weights_digest, spec)
            for place, spec in enumerate(resolved)
            if place not in at_once
        }
        others = threads.map(lambda place: _attempt(backbones.weights_digest, resolved[place]), at_once)
        digests.update(zip(at_once, others, strict=True))
    named = [
        digests[place] if isinstance(digests[place], Exception) else (spec, digests[place])
        for place, spec in enumerate(resolved)
    ]
    return [_attempt(lambda found: _model(found[0], found[1], resize, compute), found) for found in named]


def _at_once(specs: Sequence[ModelSpec | Exception]) -> dict[int, ModelSpec]:
    """Return the records, by their places, whose weights can be named in several threads.

    The first of a family is not among them: it imports a library, of which other threads might see half.
    """
    found = {place: spec for place, spec in enumerate(specs) if isinstance(spec, ModelSpec)}
    first = {spec.family: place for place, spec in reversed(found.items())}.values()
    return {place: spec for place, spec in found.items() if place not in first and backbones.is_of_libraries(spec)}


def _attempt(function: Callable[[Any], Any], value: Any) -> Any:
    """Return what a function returns or raises; an exception in place of the value is passed on."""
    if isinstance(value, Exception):
        return value
    try:
        return function(value)
    except Exception as error:  # a user's own module may raise anything when it is imported
        return error


def identify(spec: ModelSpec, *, resize: preprocessing.Resize, compute: Compute) -> Model:
    """Complete a record and name its weights; no network is loaded.

    Raises
    ------
    BackboneError
        If the weights are not there or cannot be fetched.
    """
    resolved = backbones.resolve(spec)
    return _model(resolved, backbones.weights_digest(resolved), resize, compute)


def _model(resolved: ModelSpec, digest: str, resize: preprocessing.Resize, compute: Compute) -> Model:
    return Model(resolved, digest, preprocessing.for_model(resolved, resize), compute)


def feature_set(
    model: Model, dataset: Dataset, split: str, storage: FeatureType, *, tap: str = PENULTIMATE
) -> FeatureSet:
    """Name the features of one split by everything that can change their bytes."""
    key = content_key(_feature_key_texts(model, dataset, split, storage, tap))
    return FeatureSet(model.name, dataset.spec.name, split, key, tap)


def feature_key_parts(
    model: Model, dataset: Dataset, split: str, storage: FeatureType, *, tap: str = PENULTIMATE
) -> dict[str, Any]:
    """Return the parts of a feature set's key, which its manifest keeps."""
    return {"table": "features", "tap": tap, "storage": storage, **model.key_parts(), **dataset.key_parts(split)}


def inputs_key(model: Model, dataset: Dataset, storage: FeatureType, *, tap: str = PENULTIMATE) -> str:
    """Return a hash of all that a model's features of a dataset come from, but for the precision of computing."""
    parts = {split: _feature_key_texts(model, dataset, split, storage, tap) for split in schema.SPLITS}
    for own in parts.values():
        del own["compute"]
    return content_key({split: key_text(own) for split, own in parts.items()})


def _feature_key_texts(
    model: Model, dataset: Dataset, split: str, storage: FeatureType, tap: str
) -> dict[str, KeyText | str]:
    """Return the same parts as `feature_key_parts`, of which texts were made where other sets have them, too."""
    return {"table": "features", "tap": tap, "storage": storage, **model.key_texts, **dataset.key_texts(split)}
