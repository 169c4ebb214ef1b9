"""One way of loading a network per file. A family is a module with three functions:

``resolve(spec) -> ModelSpec``
    The record with what it left open filled in, as far as that is known without loading weights.
``weights_digest(spec) -> str``
    A name for the exact weights, from the file that holds them or, for random ones, from all that determines them.
``build(spec) -> torch.nn.Module``
    The network with its weights, mapping normalised images (batch, 3, size, size) to features (batch, feature_dim).

and, where its networks come with a classifier of their own, a fourth:

``classifier(spec) -> torch.nn.Module | None``
    The whole network, mapping the same images to logits (batch, n_source_classes); None where the weights hold none.

A family that reads weights files has a fifth:

``notes(spec) -> tuple[str, ...]``
    What had to be decided to fit the record's file to the network, in words.

one that knows accuracies that were published has a sixth:

``accuracy_note(spec) -> str | None``
    A sentence where a published accuracy belongs to another size or crop than the record's.

and one whose answers a node may remember has a seventh:

``is_of_libraries(spec) -> bool``
    Whether the network is code of libraries alone, so that their versions, the record and its weights decide all else.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import asdict
from types import ModuleType
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import numpy.typing as npt

from featurestore import registry
from featurestore.catalogue.models import ModelSpec
from featurestore.errors import BackboneError
from featurestore.networks import remembered
from featurestore.networks.kept_running import kept_running, printing_aside

if TYPE_CHECKING:
    import torch

Head = tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]
"""Weights (n_source_classes, feature_dim) and biases (n_source_classes,) of a linear classifier."""


def family(name: str) -> ModuleType:
    """Import a backbone family by its file name."""
    return registry.load(sys.modules[__name__], "backbone family", name)


def resolve(spec: ModelSpec) -> ModelSpec:
    """Fill in what the record left open, as far as the family knows it without loading weights."""
    resolved: ModelSpec = _remembered(
        "record", spec, lambda: family(spec.family).resolve(spec), read=_record, write=asdict
    )
    missing = [field for field in ("input_size", "mean", "std", "interpolation") if getattr(resolved, field) is None]
    if missing:
        raise BackboneError(f"Model {spec.name!r} needs {', '.join(missing)}: {spec.family} does not know them.")
    return resolved


def weights_digest(spec: ModelSpec) -> str:
    """Name the exact weights of a record: ``sha256:...`` of their file, or ``random:...``."""
    digest: str = family(spec.family).weights_digest(spec)
    return digest


def build(spec: ModelSpec) -> torch.nn.Module:
    """Load the network of a record, in evaluation mode, up to its penultimate layer."""
    with printing_aside(), kept_running("when it is built"):
        network: torch.nn.Module = family(spec.family).build(spec)
    return network.eval().requires_grad_(False)


def notes(spec: ModelSpec) -> tuple[str, ...]:
    """Say what had to be decided to fit a weights file to its network: which entry, which prefix, what is left out."""
    of_family = getattr(family(spec.family), "notes", None)
    return of_family(spec) if of_family else ()


def accuracy_note(spec: ModelSpec) -> str | None:
    """Say where the published accuracy of a resolved record's weights does not belong to its size or crop."""
    of_family = getattr(family(spec.family), "accuracy_note", None)
    if of_family is None:
        return None
    found: list[str | None] = _remembered("accuracy", spec, lambda: [of_family(spec)])
    return found[0]


def is_of_libraries(spec: ModelSpec) -> bool:
    """Whether the versions of libraries, the record and its weights decide what a network takes and gives."""
    of_family = getattr(family(spec.family), "is_of_libraries", None)
    return bool(of_family(spec)) if of_family else False


def _remembered(kind: str, spec: ModelSpec, find: Callable[[], Any], **form: Callable[[Any], Any]) -> Any:
    return remembered.of_versions(kind, {"spec": asdict(spec)}, find, **form) if is_of_libraries(spec) else find()


def _record(plain: dict[str, Any]) -> ModelSpec:
    tuples = {name: tuple(plain[name]) for name in ("mean", "std") if plain[name] is not None}
    return ModelSpec(**plain | tuples)


def head(spec: ModelSpec) -> Head | None:
    """Return the network's own classifier if one linear layer is all that lies between its features and its logits.

    That is tried out, on random images: a second layer, a second head or a rescaling would show.
    """
    classifier = getattr(family(spec.family), "classifier", None)
    whole: torch.nn.Module | None = classifier(spec) if classifier and spec.weights != "none" else None
    if whole is None:
        return None
    import torch

    size = cast(int, spec.input_size)  # of a resolved record
    images = torch.rand(2, 3, size, size, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        features, logits = build(spec)(images), whole.eval()(images)
        for layer in whole.modules():
            if isinstance(layer, torch.nn.Linear) and _maps(layer, features, logits):
                bias = torch.zeros(layer.out_features) if layer.bias is None else layer.bias
                return layer.weight.float().numpy(), bias.float().numpy()
    return None


def _maps(layer: torch.nn.Linear, features: torch.Tensor, logits: torch.Tensor) -> bool:
    """Return whether a layer turns these features into these logits, up to rounding."""
    if layer.in_features != features.shape[-1] or layer.out_features != logits.shape[-1]:
        return False
    return bool((layer(features) - logits).abs().max() <= 1e-4 * logits.abs().max())
