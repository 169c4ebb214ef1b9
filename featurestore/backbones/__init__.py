"""One way of loading a network per file. A family is a module with three functions:

``resolve(spec) -> ModelSpec``
    The record with what it left open filled in, as far as that is known without loading weights.
``weights_digest(spec) -> str``
    A name for the exact weights, from the file that holds them or, for random ones, from all that determines them.
``build(spec) -> torch.nn.Module``
    The network with its weights, mapping normalised images (batch, 3, size, size) to features (batch, feature_dim).
"""

from __future__ import annotations

import sys
from types import ModuleType
from typing import TYPE_CHECKING

from featurestore import registry
from featurestore.errors import BackboneError
from featurestore.models import ModelSpec

if TYPE_CHECKING:
    import torch


def family(name: str) -> ModuleType:
    """Import a backbone family by its file name."""
    return registry.load(sys.modules[__name__], "backbone family", name)


def resolve(spec: ModelSpec) -> ModelSpec:
    """Fill in what the record left open, as far as the family knows it without loading weights."""
    resolved: ModelSpec = family(spec.family).resolve(spec)
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
    network: torch.nn.Module = family(spec.family).build(spec)
    return network.eval().requires_grad_(False)
