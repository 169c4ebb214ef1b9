"""Any network of timm by its name, ``timm:resnet50.a1_in1k``, with the preprocessing that timm tests it with; features
are pooled, before the classifier."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Mapping
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from featurestore.catalogue import timm_accuracy
from featurestore.catalogue.models import ModelSpec
from featurestore.errors import BackboneError, UnknownNameError
from featurestore.networks import checkpoint_fit, remembered, user_modules, weights
from featurestore.networks.checkpoint_file import read_checkpoint
from featurestore.networks.checkpoint_fit import Fit, Target
from featurestore.networks.on_paper import on_paper, refusal
from featurestore.plain_text import shortly

if TYPE_CHECKING:
    import torch

_HUB_FILES = ("model.safetensors", "pytorch_model.bin")  # in order of preference; the first needs no unpickling


def resolve(spec: ModelSpec) -> ModelSpec:
    """Fill in preprocessing, width and parameters; the network is laid out without memory, no weights are read.

    The preprocessing is timm's own for testing, for which its accuracies hold: the test size, where a network has one
    beside that of training. Other than timm's command line, a record that states the size of training gets the crop
    of training, too; at any other size the crop is that of testing. `imagenet_top1` is what timm publishes of that
    name at that size; a record that states another crop or normalisation than that was measured with has none.

    Raises
    ------
    BackboneError
        If timm knows no such network, or its images are not square or have not three channels.
    """
    import torch

    config = _config(spec)
    own = preprocessing_of(config, spec)
    found = spec.filled(own)
    with torch.device("meta"):
        network: Any = _create(found)
    known = {
        "feature_dim": network.head_hidden_size if hasattr(network, "head_hidden_size") else network.num_features,
        "params": sum(parameter.numel() for parameter in network.parameters()),
        "imagenet_top1": _top1(spec, found, config) if found.prepares_as(own) else None,
    }
    return found.filled(known)


def preprocessing_of(config: Mapping[str, Any], spec: ModelSpec) -> dict[str, Any]:
    """Return the fields of a record that say how timm prepares images for a network.

    Parameters
    ----------
    config : mapping
        timm's record of the weights, its `pretrained_cfg`.
    spec : ModelSpec
        Its `input_size`, where it states one, decides about the crop.

    Raises
    ------
    BackboneError
        If the images are not square or have not three channels.
    """
    from timm.data import resolve_data_config

    test, train = (resolve_data_config({}, pretrained_cfg=config, use_test_size=use) for use in (True, False))
    channels, height, width = test["input_size"]
    if channels != 3 or len(test["mean"]) != 3:
        raise BackboneError(f"timm's {spec.identifier} takes images of {channels} channels; probestore gives it three.")
    if height != width and spec.input_size is None:
        raise BackboneError(
            f"timm's {spec.identifier} takes images of {width} x {height} pixels; probestore makes square ones. Set "
            f"input_size, for example input_size = {min(width, height)}, to have it take those."
        )
    as_in_training = spec.input_size == train["input_size"][-1] != width
    return {
        "input_size": width,
        "mean": tuple(test["mean"]),
        "std": tuple(test["std"]),
        "interpolation": test["interpolation"],
        "crop_pct": (train if as_in_training else test)["crop_pct"],
        "crop_mode": test["crop_mode"],
    }


def _config(spec: ModelSpec) -> Mapping[str, Any]:
    """Return timm's record of the weights: what it trained them on, and how it prepares images for them."""
    import timm
    import torch

    _check_name(spec)
    found = None if _place(spec) else timm.get_pretrained_cfg(spec.identifier)
    if found is not None:
        return found.to_dict()  # type: ignore[no-any-return]
    with torch.device("meta"):
        network: Any = _create(replace(spec, input_size=None))
    return network.pretrained_cfg  # type: ignore[no-any-return]


def _top1(spec: ModelSpec, found: ModelSpec, config: Mapping[str, Any]) -> float | None:
    """Return the published accuracy of a name's own weights at a size; None with another crop than it was measured."""
    if spec.weights != "pretrained":
        return None
    for entry in timm_accuracy.measured(f"{config.get('architecture')}.{config.get('tag')}"):
        if entry.input_size == found.input_size and (spec.crop_pct is None or spec.crops_as(entry.crop_pct)):
            return entry.top1
    return None


def is_of_libraries(spec: ModelSpec) -> bool:
    """Whether it is one of timm's own networks: others may have been added to its list by anybody's code."""
    if _place(spec) is not None:
        return False
    if "timm" not in sys.modules:  # nobody has added any
        return True
    import timm

    architecture = spec.identifier.partition(".")[0]
    return bool(timm.is_model(architecture) and timm.model_entrypoint(architecture).__module__.startswith("timm."))


def accuracy_note(spec: ModelSpec) -> str | None:
    """Say where the accuracy that timm publishes is that of another size or crop than a resolved record's."""
    config = _config(spec)
    known = timm_accuracy.measured(f"{config.get('architecture')}.{config.get('tag')}")
    here = f"{spec.input_size} pixels and crop_pct {spec.crop_pct:.4g}"
    measured = " and ".join(f"{entry.input_size} pixels and crop_pct {entry.crop_pct:g}" for entry in known)
    if spec.weights != "pretrained" or not known:
        return None
    if spec.imagenet_top1 is None:
        return (
            f"timm measured {spec.name} at {measured}; here it has {here}, or is prepared for otherwise. "
            "Its imagenet_top1 is not known, and correlations leave it out, unless its record states one."
        )
    entry = next((entry for entry in known if entry.input_size == spec.input_size), None)
    if entry is None or entry.top1 != spec.imagenet_top1 or spec.crops_as(entry.crop_pct):
        return None
    return (
        f"imagenet_top1 of {spec.name} was measured with crop_pct {entry.crop_pct:g}; timm has set {here} since then."
    )


def weights_digest(spec: ModelSpec) -> str:
    """Return SHA-256 of the weights file; pretrained weights are downloaded for it when they are not in the cache.

    A network that is made for another size than its own is another one: the digest says the size.
    """
    return "".join([_digest_of_file(spec), *(f"+{option}:{size}" for option, size in _made_for(spec).items())])


def _made_for(spec: ModelSpec) -> dict[str, int]:
    """Return what timm is told of the size of a record's images, where a network is made for one size."""
    if spec.input_size is None:
        return {}
    place = (_timm_name(spec), spec.input_size)
    if not is_of_libraries(spec):
        return _size_options(*place)
    found: dict[str, int] = remembered.of_versions("timm's size", {"place": place}, lambda: _size_options(*place))
    return found


def _digest_of_file(spec: ModelSpec) -> str:
    if spec.weights == "none":
        return weights.random_digest(spec, ("torch", "timm"))
    digest = weights.file_digest(_weights_path(spec))
    config = _config_path(spec)
    return f"{digest}+config:{weights.file_digest(config).removeprefix('sha256:')}" if config else digest


def build(spec: ModelSpec) -> torch.nn.Module:
    """Build the network without its classifier: features (batch, feature_dim)."""
    import torch

    torch.manual_seed(spec.seed)  # matters when weights = "none"
    if spec.weights == "pretrained":
        return _pretrained(spec, num_classes=0)
    network = _create(spec)
    if spec.weights == "none":
        return network
    found = _fit(spec, network)
    if found.resized:
        return _resampled(spec, network, found)
    checkpoint_fit.load(network, found)
    return network


def classifier(spec: ModelSpec) -> torch.nn.Module | None:
    """Build the whole network: logits of the classes that its weights know; None if they hold no classifier."""
    if spec.weights == "pretrained":
        return _pretrained(spec, num_classes=None)
    headless = build(spec)
    head = _fit(spec, headless).head
    weights_of_heads = [head[f"{name}.weight"] for name in _head_names(headless) if f"{name}.weight" in head]
    if not weights_of_heads:
        return None
    network = _create(spec, num_classes=len(weights_of_heads[0]))
    state = {**headless.state_dict(), **head}
    own = network.state_dict()
    if state.keys() != own.keys() or any(state[name].shape != own[name].shape for name in own):
        return None  # a head that the file's owner made
    network.load_state_dict(state)
    return network


def notes(spec: ModelSpec) -> tuple[str, ...]:
    """Say what had to be decided to fit a weights file to the network."""
    if spec.weights in ("none", "pretrained"):
        return ()
    with on_paper():
        return _fit(spec, _create(spec)).notes


def _pretrained(spec: ModelSpec, num_classes: int | None) -> torch.nn.Module:
    """Read weights as timm does, which knows its oldest formats; with None, as many classes as the weights have."""
    overlay = {"file": str(_weights_path(spec)), "hf_hub_id": None, "source": ""}
    return _create(spec, num_classes=num_classes, pretrained=True, pretrained_cfg_overlay=overlay)


def _fit(spec: ModelSpec, network: torch.nn.Module) -> Fit:
    """Find the tensors of a network without classifier in the record's file."""
    target = Target.of(network, _places_of_heads(network), resizable="pos")
    return checkpoint_fit.fit(target, read_checkpoint(Path(spec.weights)), spec.backbone)


def _resampled(spec: ModelSpec, fresh: torch.nn.Module, found: Fit) -> torch.nn.Module:
    """Let timm load tensors that were made at another input size; it resamples what depends on the size.

    Raises
    ------
    BackboneError
        If timm cannot, or leaves one of them as it was before loading.
    """
    import torch

    torch.manual_seed(spec.seed)
    overlay = {"state_dict": found.state, "custom_load": False}
    network = _create(spec, pretrained=True, pretrained_cfg_overlay=overlay)
    before, after = fresh.state_dict(), network.state_dict()
    if any(value.is_meta for value in after.values()):
        return network
    left = [name for name in found.resized if torch.equal(before[name], after[name])]
    left += [
        name for name, value in found.state.items() if name not in found.resized and not torch.equal(after[name], value)
    ]
    if left:
        raise BackboneError(
            f"timm cannot bring the weights of {spec.weights} to images of {spec.input_size} pixels: it does not load "
            f"{shortly(left)}. Take the input size that they were made with."
        )
    return network


def _places_of_heads(network: Any) -> tuple[str, ...]:
    """Return the modules at which the whole network has classifiers: by timm's own record, as far as they are empty."""
    import torch

    found, modules = [], dict(network.named_modules())
    for name in _head_names(network):
        parts = name.split(".")
        paths = [".".join(parts[: count + 1]) for count in range(len(parts))]
        empty = (path for path in paths if isinstance(modules.get(path), torch.nn.Identity) or path not in modules)
        found.append(next(empty, name))
    return tuple(found)


def _head_names(network: Any) -> list[str]:
    """Return the names of the network's classifiers, by timm's own record."""
    names = network.pretrained_cfg.get("classifier") or ()
    return [names] if isinstance(names, str) else list(names)


def _create(spec: ModelSpec, *, num_classes: int | None = 0, **options: Any) -> torch.nn.Module:
    _check_name(spec)
    if spec.input_size is not None:
        options.update(_size_options(_timm_name(spec), spec.input_size))
    try:
        network: torch.nn.Module = _made(_timm_name(spec), num_classes=num_classes, **options)
    except Exception as error:  # each architecture fails in its own way
        raise BackboneError(f"timm cannot make {spec.identifier!r}: {error}") from error
    return network


def _made(name: str, **options: Any) -> Any:
    import timm

    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", category=UserWarning, module=r"timm\.layers")  # its resampling: of its speed
        return timm.create_model(name, **options)


@cache
def _size_options(name: str, size: int) -> dict[str, int]:
    """Return what timm needs to be told so that a network takes images of a size: it is tried, on paper.

    Some of those that timm calls fixed take other images without a word, by tables of positions that belong to their
    own size. They are told, too.

    Raises
    ------
    BackboneError
        If the network cannot take them.
    """
    import timm

    config = None if ":" in name else timm.get_pretrained_cfg(name, allow_unregistered=True)
    if config is not None and config.input_size[-1] == size:
        return {}  # the size that it is made for
    with on_paper():
        network = _made(name, num_classes=0)
    first = refusal(network, size)
    if first is None and not network.pretrained_cfg.get("fixed_input_size"):
        return {}
    try:
        with on_paper():
            network = _made(name, num_classes=0, img_size=size)
        second = refusal(network, size) or _left_over(network, size)
    except Exception as error:  # each architecture refuses in its own way
        second = error
    if second is None:
        return {"img_size": size}
    if first is None and isinstance(second, TypeError):  # it knows no img_size, and takes any
        return {}
    native = network.pretrained_cfg["input_size"][-1]
    reason = first if first is not None and isinstance(second, TypeError) else second
    raise BackboneError(
        f"timm's {name} cannot take images of {size} pixels: {reason}. It was made for {native}; set another "
        "input_size, or none."
    )


def _left_over(network: Any, size: int) -> Exception | None:
    """Return why a size does not divide into the patches of a transformer, which would ignore the last pixels."""
    patch = getattr(getattr(network, "patch_embed", None), "patch_size", None)
    side = patch[0] if isinstance(patch, tuple) else patch
    if not isinstance(side, int) or size % side == 0:
        return None
    near = f"{size // side * side} or {(size // side + 1) * side}"
    return BackboneError(f"input_size must be a multiple of its patches' {side}, such as {near}")


_SOURCES = ("hf-hub", "local-dir")
"""Prefixes by which timm finds a network's description, ``config.json``, beside its weights."""


def _place(spec: ModelSpec) -> tuple[str, str] | None:
    """Return the source of a network and its place there; None for one of timm's own names."""
    source, colon, place = spec.identifier.partition(":")
    if not colon:
        return None
    if source not in _SOURCES:
        raise UnknownNameError("source of timm's networks", source, _SOURCES, "Write timm:hf-hub:OWNER/NAME.")
    return source, str(user_modules.beside_a_study(place)) if source == "local-dir" else place


def _timm_name(spec: ModelSpec) -> str:
    return ":".join(_place(spec) or (spec.identifier,))


def _config_path(spec: ModelSpec) -> Path | None:
    """Return the description of a network that is none of timm's own; a hub's is fetched if the cache lacks it."""
    found = _place(spec)
    if found is None:
        return None
    source, place = found
    if source == "hf-hub":
        return weights.download_from_hub(place, ("config.json",))
    path = Path(place) / "config.json"
    if not path.is_file():
        raise BackboneError(
            "timm:local-dir: must name a folder with config.json and weights, as timm saves them; its path is relative "
            f"to the study file. There is no {path}."
        )
    return path


def _check_name(spec: ModelSpec) -> None:
    import timm

    if _config_path(spec) is not None:
        return
    architecture, _, tag = spec.identifier.partition(".")
    hint = f"timm.list_models('*{architecture[:6]}*', pretrained=True) finds names."
    if not timm.is_model(architecture):
        raise UnknownNameError("timm model", architecture, timm.list_models(), hint)
    tags = timm.list_models(f"{architecture}.*", pretrained=True)
    if tag and spec.identifier not in tags:
        raise UnknownNameError("timm model", spec.identifier, tags, hint)
    renamed = timm.models.get_deprecated_models().get(architecture)
    if spec.weights == "pretrained" and renamed:
        raise BackboneError(f"timm has renamed {architecture!r}; write timm:{renamed}.")
    if spec.weights == "pretrained" and not tags:
        raise BackboneError(f'timm has no pretrained weights for {architecture!r}; set weights = "none" or a file.')


def _weights_path(spec: ModelSpec) -> Path:
    if spec.weights != "pretrained":
        return Path(spec.weights)
    found = _place(spec)
    if found is not None and found[0] == "hf-hub":
        return weights.download_from_hub(found[1], _HUB_FILES)
    if found is not None:
        paths = [Path(found[1]) / name for name in _HUB_FILES]
        return next((path for path in paths if path.is_file()), paths[0])
    import timm

    config = timm.get_pretrained_cfg(spec.identifier)
    if config.hf_hub_id:
        names = (config.hf_hub_filename,) if config.hf_hub_filename else _HUB_FILES
        return weights.download_from_hub(config.hf_hub_id, names)
    if config.url:
        return weights.download(config.url)
    raise BackboneError(f"timm knows no place to get the weights of {spec.identifier!r} from; give weights = FILE.")
