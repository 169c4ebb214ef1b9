"""Any classifier of torchvision with named weights, ``torchvision:resnet50/IMAGENET1K_V2``: features are the input of
its last linear layer."""

from __future__ import annotations

import math
import re
import sys
from collections import OrderedDict
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from featurestore.catalogue.models import IMAGENET_MEAN, IMAGENET_STD, ModelSpec
from featurestore.errors import BackboneError, UnknownNameError
from featurestore.networks import checkpoint_fit, weights
from featurestore.networks.checkpoint_file import State, read_checkpoint
from featurestore.networks.checkpoint_fit import Fit, Target
from featurestore.networks.on_paper import on_paper, refusal

if TYPE_CHECKING:
    import torch


def resolve(spec: ModelSpec) -> ModelSpec:
    """Fill in preprocessing, width, parameters and ImageNet accuracy from the weights' own metadata."""
    import torch

    with torch.device("meta"):
        network, _, dim = _without_classifier(_create(spec), spec)
    known: dict[str, Any] = {
        "feature_dim": dim,
        "params": sum(parameter.numel() for parameter in network.parameters()),
        **(_from_metadata(_weights(spec), spec) if "/" in spec.identifier else _IMAGENET_DEFAULTS),
    }
    return spec.filled(known)


def is_of_libraries(spec: ModelSpec) -> bool:
    """Whether it is one of torchvision's own networks: others may have been added to its list by anybody's code."""
    if "torchvision" not in sys.modules:  # nobody has added any
        return True
    from torchvision import models

    name = _name(spec)
    builder = models.get_model_builder(name) if name in models.list_models() else None
    return builder is not None and builder.__module__.startswith("torchvision.")


def accuracy_note(spec: ModelSpec) -> str | None:
    """Say where a resolved record has another size or crop than its name's weights were measured with."""
    if spec.weights != "pretrained" or spec.imagenet_top1 is not None or "/" not in spec.identifier:
        return None
    own = _from_metadata(_weights(spec), replace(spec, input_size=None, crop_pct=None))
    measured = f"{own['input_size']} pixels and crop_pct {own['crop_pct']:.4g}"
    here = f"{spec.input_size} pixels and crop_pct {spec.crop_pct:.4g}"
    return (
        f"torchvision measured {spec.name} at {measured}; here it has {here}, or is prepared for otherwise. "
        "Its imagenet_top1 is not known, and correlations leave it out, unless its record states one."
    )


def weights_digest(spec: ModelSpec) -> str:
    """Return SHA-256 of the weights file; pretrained weights are downloaded for it when they are not in the cache."""
    if spec.weights == "none":
        return weights.random_digest(spec, ("torch", "torchvision"))
    return weights.file_digest(_weights_path(spec))


def build(spec: ModelSpec) -> torch.nn.Module:
    """Build the network without its classifier: features (batch, feature_dim)."""
    return _loaded(spec)[0]


def classifier(spec: ModelSpec) -> torch.nn.Module | None:
    """Build the whole network: logits of the classes that its weights know; None if they hold no classifier."""
    import torch

    network, place, width, head = _loaded(spec)
    own = {name.removeprefix(f"{place}."): value for name, value in head.items() if name.startswith(f"{place}.")}
    weight = own.get("weight")
    if weight is None or not {"weight", "bias"}.issuperset(own) or weight.shape[1:] != (width,):
        return None
    layer = torch.nn.Linear(width, len(weight), bias="bias" in own)
    layer.load_state_dict(own)
    network.set_submodule(place, layer)
    return network


def notes(spec: ModelSpec) -> tuple[str, ...]:
    """Say what had to be decided to fit a weights file to the network."""
    if spec.weights in ("none", "pretrained"):
        return ()
    with on_paper():
        network, place, _ = _without_classifier(_create(spec), spec)
        return _fit(spec, network, place).notes


def _loaded(spec: ModelSpec) -> tuple[torch.nn.Module, str, int, State]:
    """Return the network without its classifier, the name and the width of that, and its tensors."""
    import torch

    torch.manual_seed(spec.seed)  # matters when weights = "none"
    network, place, width = _without_classifier(_create(spec), spec)
    if spec.weights == "none":
        return network, place, width, {}
    found = _fit(spec, network, place)
    checkpoint_fit.load(network, _resampled(network, found))
    return network, place, width, found.head


def _fit(spec: ModelSpec, network: torch.nn.Module, place: str) -> Fit:
    """Find the tensors of a network without classifier in its file."""
    target = Target.of(
        network, (place, *_AUXILIARY), resizable=_POSITIONS, rename=lambda name: _DENSENET_NAME.sub(r"\1\2", name)
    )
    return checkpoint_fit.fit(target, read_checkpoint(_weights_path(spec)), spec.backbone)


def _resampled(network: Any, found: Fit) -> Fit:
    """Bring the position embeddings of a transformer to its input size, as torchvision does."""
    if not found.resized:
        return found
    from torchvision.models.vision_transformer import interpolate_embeddings

    state = interpolate_embeddings(network.image_size, network.patch_size, OrderedDict(found.state))
    return replace(found, state=dict(state))


_POSITIONS = "encoder.pos_embedding"
_AUXILIARY = ("aux1", "aux2", "AuxLogits")  # heads that only training uses

# The published DenseNets still have the names of an older implementation: denselayer1.norm.1.weight for norm1.weight.
_DENSENET_NAME = re.compile(r"(denselayer\d+\.(?:norm|relu|conv))\.(\d\.)")

_IMAGENET_DEFAULTS = {
    "input_size": 224,
    "mean": IMAGENET_MEAN,
    "std": IMAGENET_STD,
    "interpolation": "bilinear",
    "crop_pct": 0.875,
}


def _from_metadata(entry: Any, spec: ModelSpec) -> dict[str, Any]:
    """Return what the weights' own record says; its accuracy is that of these weights, prepared for like that."""
    transform = entry.transforms()
    own = {
        "input_size": transform.crop_size[0],
        "mean": tuple(transform.mean),
        "std": tuple(transform.std),
        "interpolation": transform.interpolation.value,
        "crop_pct": _crop_pct(transform.crop_size[0], transform.resize_size[0]),
        "crop_mode": "center",
    }
    found = spec.filled(own)
    top1 = entry.meta.get("_metrics", {}).get("ImageNet-1K", {}).get("acc@1")
    measured = spec.weights == "pretrained" and found.input_size == own["input_size"] and found.prepares_as(own)
    return {**own, "imagenet_top1": top1 / 100 if top1 and measured and found.crops_as(own["crop_pct"]) else None}


def _crop_pct(size: int, resized: int) -> float:
    """Return a share of which `size` is exactly that of `resized`, also after rounding down."""
    share = size / resized
    return share if math.floor(size / share) == resized else math.nextafter(share, 0)


# A default that is said aloud, because leaving it out is a warning.
_SAID = {name: {"init_weights": True} for name in ("googlenet", "inception_v3")}


def _create(spec: ModelSpec) -> torch.nn.Module:
    from torchvision import models

    name = _name(spec)
    if name not in models.list_models(module=models):
        raise UnknownNameError("torchvision model", name, models.list_models(module=models))
    options: dict[str, Any] = dict(_SAID.get(name, {}))
    if options:  # their published weights expect inputs normalised in another way, which the network then does itself
        options["transform_input"] = spec.weights == "pretrained"
    if spec.input_size is not None:
        options.update(_size_options(name, spec.input_size))
    network: torch.nn.Module = models.get_model(name, weights=None, **options)
    return network


@cache
def _size_options(name: str, size: int) -> dict[str, Any]:
    """Return what torchvision needs to be told so that a network takes images of a size: it is tried, on paper.

    Raises
    ------
    BackboneError
        If the network cannot take them.
    """
    from torchvision import models

    reasons: list[Exception] = []
    for options in ({}, {"image_size": size}, {"input_size": (size, size)}):
        try:
            with on_paper():
                network = models.get_model(name, weights=None, **options, **_SAID.get(name, {}))
            problem = refusal(network, size)
        except Exception as error:  # each architecture refuses in its own way
            problem = error
        if problem is None:
            return options
        if not isinstance(problem, TypeError):  # it has no such option
            reasons.append(problem)
    raise BackboneError(
        f"torchvision's {name} cannot take images of {size} pixels: {reasons[-1]}. Set another input_size, or none."
    )


def _without_classifier(network: torch.nn.Module, spec: ModelSpec) -> tuple[torch.nn.Module, str, int]:
    """Replace the last linear layer by the identity; return the network, and the layer's name and input width."""
    import torch

    for auxiliary in _AUXILIARY:
        if hasattr(network, auxiliary):
            setattr(network, auxiliary, None)
    linear = [(name, module) for name, module in network.named_modules() if isinstance(module, torch.nn.Linear)]
    if not linear:
        raise BackboneError(
            f"torchvision's {_name(spec)} has no linear classifier to take features from; choose another."
        )
    name, last = linear[-1]
    network.set_submodule(name, torch.nn.Identity())
    return network, name, last.in_features


def _name(spec: ModelSpec) -> str:
    return spec.identifier.split("/", 1)[0]


def _weights(spec: ModelSpec) -> Any:
    from torchvision import models

    name, _, wanted = spec.identifier.partition("/")
    entries = models.get_model_weights(name)
    if wanted not in entries.__members__:
        raise UnknownNameError(f"weights of torchvision's {name}", wanted, entries.__members__)
    return entries[wanted]


def _weights_path(spec: ModelSpec) -> Path:
    if spec.weights != "pretrained":
        return Path(spec.weights)
    if "/" not in spec.identifier:
        raise BackboneError(
            f"Model {spec.name!r} must name its weights, torchvision:{spec.identifier}/IMAGENET1K_V1, or set "
            'weights = "none" or a file.'
        )
    return weights.download(_weights(spec).url)
