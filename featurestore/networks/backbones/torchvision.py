"""Any classifier of torchvision with named weights, ``torchvision:resnet50/IMAGENET1K_V2``: features are the input of
its last linear layer."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from featurestore.catalogue.models import IMAGENET_MEAN, IMAGENET_STD, ModelSpec
from featurestore.errors import BackboneError, UnknownNameError
from featurestore.networks import weights

if TYPE_CHECKING:
    import torch


def resolve(spec: ModelSpec) -> ModelSpec:
    """Fill in preprocessing, width, parameters and ImageNet accuracy from the weights' own metadata."""
    import torch

    with torch.device("meta"):
        network, dim = _without_classifier(_create(spec), spec)
    known: dict[str, Any] = {
        "feature_dim": dim,
        "params": sum(parameter.numel() for parameter in network.parameters()),
        **(_from_metadata(_weights(spec)) if "/" in spec.identifier else _IMAGENET_DEFAULTS),
    }
    return spec.filled(known)


def weights_digest(spec: ModelSpec) -> str:
    """Return SHA-256 of the weights file; pretrained weights are downloaded for it when they are not in the cache."""
    if spec.weights == "none":
        return weights.random_digest(spec, ("torch", "torchvision"))
    return weights.file_digest(_weights_path(spec))


def build(spec: ModelSpec) -> torch.nn.Module:
    """Build the network without its classifier: features (batch, feature_dim)."""
    return _without_classifier(classifier(spec), spec)[0]


def classifier(spec: ModelSpec) -> torch.nn.Module:
    """Build the whole network: ImageNet logits (batch, 1000)."""
    import torch

    torch.manual_seed(spec.seed)  # matters when weights = "none"
    network = _create(spec)
    if spec.weights != "none":
        path = _weights_path(spec)
        state = {_DENSENET_NAME.sub(r"\1\2", name): value for name, value in weights.read_state(path).items()}
        weights.load_by_name(network, state, str(path))
    return network


# The published DenseNets still have the names of an older implementation: denselayer1.norm.1.weight for norm1.weight.
_DENSENET_NAME = re.compile(r"(denselayer\d+\.(?:norm|relu|conv))\.(\d\.)")

_IMAGENET_DEFAULTS = {
    "input_size": 224,
    "mean": IMAGENET_MEAN,
    "std": IMAGENET_STD,
    "interpolation": "bilinear",
    "crop_pct": 0.875,
}


def _from_metadata(entry: Any) -> dict[str, Any]:
    transform = entry.transforms()
    top1 = entry.meta.get("_metrics", {}).get("ImageNet-1K", {}).get("acc@1")
    return {
        "input_size": transform.crop_size[0],
        "mean": tuple(transform.mean),
        "std": tuple(transform.std),
        "interpolation": transform.interpolation.value,
        "crop_pct": transform.crop_size[0] / transform.resize_size[0],
        "imagenet_top1": top1 / 100 if top1 else None,
    }


def _create(spec: ModelSpec) -> torch.nn.Module:
    from torchvision import models

    name = _name(spec)
    if name not in models.list_models(module=models):
        raise UnknownNameError("torchvision model", name, models.list_models(module=models))
    options = {}
    if name in ("googlenet", "inception_v3"):
        # Their published weights expect inputs normalised in another way, which the network then does itself. The other
        # option is its default, said aloud because leaving it out is a warning.
        options = {"init_weights": True, "transform_input": spec.weights == "pretrained"}
    network: torch.nn.Module = models.get_model(name, weights=None, **options)
    return network


def _without_classifier(network: torch.nn.Module, spec: ModelSpec) -> tuple[torch.nn.Module, int]:
    """Replace the last linear layer by the identity; return the network and the width that went into the layer."""
    import torch

    for auxiliary in ("aux1", "aux2", "AuxLogits"):  # heads that only training uses
        if hasattr(network, auxiliary):
            setattr(network, auxiliary, None)
    linear = [(name, module) for name, module in network.named_modules() if isinstance(module, torch.nn.Linear)]
    if not linear:
        raise BackboneError(
            f"torchvision's {_name(spec)} has no linear classifier to take features from; choose another."
        )
    name, last = linear[-1]
    network.set_submodule(name, torch.nn.Identity())
    return network, last.in_features


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
