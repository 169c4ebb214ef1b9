"""The user's own network, ``python:package.module:function``: a function of no arguments that returns a torch module
mapping images (batch, 3, size, size) to features (batch, feature_dim)."""

from __future__ import annotations

import hashlib
import inspect
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from featurestore.catalogue.models import IMAGENET_MEAN, IMAGENET_STD, ModelSpec
from featurestore.errors import BackboneError, did_you_mean
from featurestore.networks import checkpoint_fit, user_modules, weights
from featurestore.networks.checkpoint_file import read_checkpoint
from featurestore.networks.checkpoint_fit import Fit, Target, vacant_places
from featurestore.networks.kept_running import printing_aside
from featurestore.networks.on_paper import on_paper

if TYPE_CHECKING:
    import torch


def resolve(spec: ModelSpec) -> ModelSpec:
    """Fill in ImageNet's mean and standard deviation and bicubic resizing, unless the record says otherwise.

    Raises
    ------
    BackboneError
        If the record does not say the input size, or asks for pretrained weights without naming a file.
    """
    if spec.input_size is None:
        raise BackboneError(f"Model {spec.name!r} must say its input_size (pixels), for example input_size = 224.")
    if spec.weights == "pretrained":
        raise BackboneError(
            f"Model {spec.name!r} must say where its weights are: weights = a .safetensors or .pth file, or "
            '"none" for random initialisation.'
        )
    _factory(spec)
    known = {"mean": IMAGENET_MEAN, "std": IMAGENET_STD, "interpolation": "bicubic", "crop_pct": 1.0}
    return spec.filled(known)


def weights_digest(spec: ModelSpec) -> str:
    """Return a digest of the weights file and of the network's code: its package, or all modules beside its file."""
    weights_part = (
        weights.random_digest(spec, ("torch",)) if spec.weights == "none" else weights.file_digest(Path(spec.weights))
    )
    return f"{weights_part}+code:{_code_digest(spec)}"


def build(spec: ModelSpec) -> torch.nn.Module:
    """Call the function and load the weights; every name and shape must fit."""
    import torch

    torch.manual_seed(spec.seed)  # matters when weights = "none"
    network = _factory(spec)()
    if not isinstance(network, torch.nn.Module):
        raise BackboneError(f"{spec.identifier} must return a torch.nn.Module. Got {type(network).__name__}.")
    if spec.weights != "none":
        checkpoint_fit.load(network, _fit(spec, network))
    return network


def notes(spec: ModelSpec) -> tuple[str, ...]:
    """Say what had to be decided to fit a weights file to the network."""
    if spec.weights == "none":
        return ()
    with on_paper():
        return _fit(spec, _factory(spec)()).notes


def _fit(spec: ModelSpec, network: torch.nn.Module) -> Fit:
    target = Target.of(network, vacant_places(network))
    return checkpoint_fit.fit(target, read_checkpoint(Path(spec.weights)), spec.identifier)


def _module_name(spec: ModelSpec) -> str:
    return spec.identifier.split(":", 1)[0]


def _source_files(spec: ModelSpec) -> list[Path]:
    """List every file of the user's own code that the network's module is likely to import."""
    top = _module_name(spec).split(".")[0]
    found = user_modules.find(top)
    if found is None:
        why = ModuleNotFoundError(f"No module named {top!r}")
        raise _not_importable(spec, why) from why
    if found.submodule_search_locations is not None:
        return sorted(path for folder in found.submodule_search_locations for path in Path(folder).rglob("*.py"))
    return sorted(Path(str(found.origin)).parent.glob("*.py"))


def _code_digest(spec: ModelSpec) -> str:
    code = hashlib.sha256()
    for path in _source_files(spec):
        code.update(f"{path.name}\0".encode() + path.read_bytes())
    return code.hexdigest()


def _forget_what_has_changed(spec: ModelSpec) -> None:
    """Forget modules whose code has changed: a notebook or a worker lives longer than the code that it imported."""
    top, digest = _module_name(spec).split(".")[0], _code_digest(spec)
    name = user_modules.registered_name(top)
    if _imported.setdefault(name, digest) != digest:
        user_modules.forget(top)
        _imported[name] = digest


_imported: dict[str, str] = {}  # digest of the code of every module that was imported here


def _not_importable(spec: ModelSpec, why: object) -> BackboneError:
    return BackboneError(
        f"Cannot import {_module_name(spec)!r} for model {spec.name!r}: {why}. Install its package, or put the file "
        "beside the study file."
    )


def _place_of(error: Exception) -> str:
    """Say which line of a file raised an error; those of a syntax error say it themselves."""
    frame = traceback.extract_tb(error.__traceback__)[-1]
    return "" if isinstance(error, SyntaxError) else f" ({Path(frame.filename).name}, line {frame.lineno})"


def _factory(spec: ModelSpec) -> Callable[[], Any]:
    module_name, _, function = spec.identifier.partition(":")
    if not function:
        raise BackboneError(f"A python backbone must be python:package.module:function. Got {spec.backbone!r}.")
    _forget_what_has_changed(spec)
    try:
        with printing_aside():
            module = user_modules.import_named(module_name)
    except ImportError as error:
        raise _not_importable(spec, error) from error
    except SystemExit as error:
        raise BackboneError(
            f"The module {module_name!r} of model {spec.name!r} ends the program when it is imported; put what it runs "
            'under `if __name__ == "__main__":`.'
        ) from error
    except Exception as error:  # a user's code may raise anything
        raise BackboneError(
            f"The module {module_name!r} of model {spec.name!r} cannot be imported: {type(error).__name__}: {error}"
            f"{_place_of(error)}."
        ) from error
    found = getattr(module, function, None)
    if not callable(found):
        raise BackboneError(f"{module_name} has no function {function!r}.{did_you_mean(function, vars(module))}")
    _check_takes_nothing(found, module_name, function)
    return found  # type: ignore[no-any-return]


def _check_takes_nothing(found: Callable[..., Any], module_name: str, function: str) -> None:
    """Refuse a function that cannot be called without arguments, before work starts."""
    try:
        signature = inspect.signature(found)
    except (TypeError, ValueError):  # some callables do not say what they take
        return
    try:
        signature.bind()
    except TypeError as error:
        raise BackboneError(
            f"{module_name}:{function} is called without arguments and must return the network, but: {error}. Give "
            "each argument a default, or write a function without arguments that calls it."
        ) from error
