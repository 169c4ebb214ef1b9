"""Any network of timm by its name, ``timm:resnet50.a1_in1k``, with the preprocessing of timm's own data config;
features are pooled, before the classifier."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from featurestore.catalogue.models import ModelSpec
from featurestore.errors import BackboneError, UnknownNameError
from featurestore.networks import weights

if TYPE_CHECKING:
    import torch

_HUB_FILES = ("model.safetensors", "pytorch_model.bin")  # in order of preference; the first needs no unpickling


def resolve(spec: ModelSpec) -> ModelSpec:
    """Fill in preprocessing, width and parameters; the network is laid out without memory, no weights are read."""
    import torch
    from timm.data import resolve_data_config

    with torch.device("meta"):
        network: Any = _create(spec)
    data = resolve_data_config({}, pretrained_cfg=network.pretrained_cfg)
    known = {
        "input_size": data["input_size"][-1],
        "mean": tuple(data["mean"]),
        "std": tuple(data["std"]),
        "interpolation": data["interpolation"],
        "crop_pct": data["crop_pct"],
        "feature_dim": network.head_hidden_size if hasattr(network, "head_hidden_size") else network.num_features,
        "params": sum(parameter.numel() for parameter in network.parameters()),
    }
    return spec.filled(known)


def weights_digest(spec: ModelSpec) -> str:
    """Return SHA-256 of the weights file; pretrained weights are downloaded for it when they are not in the cache."""
    if spec.weights == "none":
        return weights.random_digest(spec, ("torch", "timm"))
    return weights.file_digest(_weights_path(spec))


def build(spec: ModelSpec) -> torch.nn.Module:
    """Build the network without its classifier: features (batch, feature_dim)."""
    import torch

    if spec.weights == "none":
        torch.manual_seed(spec.seed)
        return _create(spec)
    if spec.weights == "pretrained":
        return _pretrained(spec, num_classes=0)
    network = _create(spec)
    heads = tuple(f"{name}." for name in _head_names(network))
    state = weights.read_state(Path(spec.weights))
    weights.load_by_name(
        network, {name: value for name, value in state.items() if not name.startswith(heads)}, spec.weights
    )
    return network


def classifier(spec: ModelSpec) -> torch.nn.Module | None:
    """Build the whole network: logits of the classes that its weights know; None if they hold no classifier."""
    if spec.weights == "pretrained":
        return _pretrained(spec, num_classes=None)
    state = weights.read_state(Path(spec.weights))
    names = [f"{name}.weight" for name in _head_names(_create(spec)) if f"{name}.weight" in state]
    if not names:
        return None
    network = _create(spec, num_classes=len(state[names[0]]))
    weights.load_by_name(network, state, spec.weights)
    return network


def _pretrained(spec: ModelSpec, num_classes: int | None) -> torch.nn.Module:
    """Read weights as timm does, which knows its oldest formats; with None, as many classes as the weights have."""
    overlay = {"file": str(_weights_path(spec)), "hf_hub_id": None}
    return _create(spec, num_classes=num_classes, pretrained=True, pretrained_cfg_overlay=overlay)


def _head_names(network: Any) -> list[str]:
    """Return the names of the network's classifiers, by timm's own record."""
    names = network.pretrained_cfg.get("classifier") or ()
    return [names] if isinstance(names, str) else list(names)


def _create(spec: ModelSpec, *, num_classes: int | None = 0, **options: Any) -> torch.nn.Module:
    import timm

    _check_name(spec)
    try:
        network: torch.nn.Module = timm.create_model(spec.identifier, num_classes=num_classes, **options)
    except RuntimeError as error:
        raise BackboneError(f"timm cannot make {spec.identifier!r}: {error}") from error
    return network


def _check_name(spec: ModelSpec) -> None:
    import timm

    architecture, _, tag = spec.identifier.partition(".")
    hint = f"timm.list_models('*{architecture[:6]}*', pretrained=True) finds names."
    if not timm.is_model(architecture):
        raise UnknownNameError("timm model", architecture, timm.list_models(), hint)
    tags = timm.list_models(f"{architecture}.*", pretrained=True)
    if tag and spec.identifier not in tags:
        raise UnknownNameError("timm model", spec.identifier, tags, hint)
    if spec.weights == "pretrained" and not tags:
        raise BackboneError(f'timm has no pretrained weights for {architecture!r}; set weights = "none" or a file.')


def _weights_path(spec: ModelSpec) -> Path:
    if spec.weights != "pretrained":
        return Path(spec.weights)
    import timm

    config = timm.get_pretrained_cfg(spec.identifier)
    if config.hf_hub_id:
        names = (config.hf_hub_filename,) if config.hf_hub_filename else _HUB_FILES
        return weights.download_from_hub(config.hf_hub_id, names)
    if config.url:
        return weights.download(config.url)
    raise BackboneError(f"timm knows no place to get the weights of {spec.identifier!r} from; give weights = FILE.")
