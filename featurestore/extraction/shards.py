"""Shards of feature sets: the job of a worker, its report, and the completion of a set after the last shard.

Nothing here needs a network: whoever plans the work does not load torch for it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from featurestore.errors import Failure
from featurestore.images.pixel_facts import PixelFacts
from featurestore.images.splits import Dataset
from featurestore.networks.identity import FeatureType, Model, feature_key_parts, feature_set
from featurestore.networks.precision import MAX_RELATIVE_ERROR
from featurestore.networks.references import References, Taken
from featurestore.store.feature_store import FeatureStore, Part
from featurestore.store.layout import PENULTIMATE, FeatureSet, SampleSet


@dataclass(frozen=True)
class Job:
    """The part of one model in the work on a shard.

    Attributes
    ----------
    targets : tuple of (FeatureSet, str)
        Sets that its features go to, one per tap, and the type that they are stored as.
    max_relative_error : float
        Largest relative change by bf16 or fp16, in the mean over images; see `featurestore.networks.precision`.
    references : References
        What the model must give for the trial images; by default nothing is known of that.
    """

    model: Model
    targets: tuple[tuple[FeatureSet, FeatureType], ...]
    max_relative_error: float = MAX_RELATIVE_ERROR
    references: References = field(default_factory=References)

    @property
    def taps(self) -> tuple[str, ...]:
        """The taps of the targets."""
        return tuple(target.tap for target, _ in self.targets)


@dataclass(frozen=True)
class Outcome:
    """The result of a shard for one feature set: a few numbers, whatever the size of the features.

    Attributes
    ----------
    part : Part, optional
        Part that is stored now; None with a failure or an overflow.
    failure : Failure, optional
        Error that the model raised.
    overflow : str, optional
        Why float16 cannot hold the features; nothing was written then.
    """

    target: FeatureSet
    part: Part | None = None
    failure: Failure | None = None
    overflow: str | None = None


@dataclass(frozen=True)
class ShardReport:
    """The result of the work on a shard.

    Attributes
    ----------
    unreadable : mapping of int to str
        Positions of unreadable images in their split -> why they are.
    seconds : float
        From the first image to the last published file.
    network_seconds : mapping of str to float
        Share of `seconds` that calls of each model's network took.
    pixels : PixelFacts
        What was found about the pixels.
    samples : Part, optional
        The part of the image table; None if the table was complete before.
    taken : tuple of Taken
        What models gave for the trial images, where the store does not know it yet.
    """

    n_images: int
    unreadable: Mapping[int, str]
    seconds: float
    samples: Part | None
    outcomes: list[Outcome]
    network_seconds: Mapping[str, float] = field(default_factory=dict)
    pixels: PixelFacts = field(default_factory=PixelFacts)
    taken: tuple[Taken, ...] = ()


@dataclass(frozen=True)
class FullSet:
    """A set whose shards are all published: what its manifest is to say.

    Attributes
    ----------
    item : FeatureSet or SampleSet
    record : mapping of str to Any
        Facts about the set beside rows, checksums, and what its parts say of their making.
    parts : tuple of Part
        Parts that are known; the others are read back for their checksums.
    """

    item: FeatureSet | SampleSet
    n_shards: int
    record: Mapping[str, Any]
    parts: tuple[Part, ...] = ()

    @classmethod
    def of_features(
        cls, model: Model, dataset: Dataset, split: str, storage: FeatureType, *, tap: str = PENULTIMATE
    ) -> FullSet:
        """Describe the features of a split."""
        own = {"model": model.name, "dataset": dataset.spec.name, "samples": dataset.samples(split).key}
        return cls(
            feature_set(model, dataset, split, storage, tap=tap),
            dataset.n_shards(split),
            {**feature_key_parts(model, dataset, split, storage, tap=tap), **own},
        )

    @classmethod
    def of_samples(cls, dataset: Dataset, split: str) -> FullSet:
        """Describe the image table of a split."""
        own = {"dataset": dataset.spec.name, "made": dataset.splits[split].made}
        return cls(dataset.samples(split), dataset.n_shards(split), {**dataset.key_parts(split), **own})

    def complete(self, store: FeatureStore) -> None:
        """Write the manifest, unless there is one that stays.

        Raises
        ------
        StoreError
            If a shard is missing or cannot be read.
        """
        store.finish(self.item, self.n_shards, self.record, parts=self.parts)
