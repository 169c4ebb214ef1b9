"""Name weights files by their digests, and load them without trusting them.

Only tensors come in: safetensors, or ``torch.load(weights_only=True)``. No pickled code is ever run.
"""

from __future__ import annotations

import hashlib
import json
import pickle
import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from featurestore.catalogue.models import ModelSpec
from featurestore.errors import BackboneError

if TYPE_CHECKING:
    import torch

_HASH_IN_NAME = re.compile(r"-([0-9a-f]{8,})\.")  # torch's convention: the file name carries the start of its SHA-256


def file_digest(path: Path) -> str:
    """Return ``sha256:`` and the digest of a file's content.

    Raises
    ------
    BackboneError
        If there is no such file.
    """
    try:
        with path.open("rb") as file:
            return f"sha256:{hashlib.file_digest(file, 'sha256').hexdigest()}"
    except OSError as error:
        raise BackboneError(f"Cannot read the weights file {path}: {error.strerror}.") from error


def random_digest(spec: ModelSpec, packages: tuple[str, ...]) -> str:
    """Return ``random:`` and a digest of what decides random weights: backbone, seed, versions of `packages`."""
    from importlib.metadata import version

    parts = {"backbone": spec.backbone, "seed": spec.seed, "versions": {name: version(name) for name in packages}}
    return f"random:{hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()}"


def read_state(path: Path) -> dict[str, torch.Tensor]:
    """Read a state dict from a ``.safetensors`` or torch file; tensors only.

    Raises
    ------
    BackboneError
        If the file cannot be read, or holds anything but tensors by name.
    """
    import torch

    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            return dict(load_file(path))
        state = torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, RuntimeError, EOFError, ValueError, pickle.UnpicklingError, _safetensors_error()) as error:
        raise BackboneError(
            f"Cannot read weights from {path}: {_first_line(error)}. They must be a state dict of tensors, as "
            "safetensors or as saved by torch.save(model.state_dict(), path)."
        ) from error
    state = _unwrapped(state)
    if not isinstance(state, Mapping) or not all(isinstance(value, torch.Tensor) for value in state.values()):
        raise BackboneError(
            f"{path} must hold a state dict (tensors by name), as torch.save(model.state_dict(), path) writes."
        )
    return dict(state)


def load_by_name(module: torch.nn.Module, state: Mapping[str, torch.Tensor], origin: str) -> None:
    """Load `state` into `module`; every name and shape must fit.

    Raises
    ------
    BackboneError
        If they do not; the message names the first differences.
    """
    target = module.state_dict()
    # Batch norm counts its training steps since torch 0.4; files from before do not, and nothing here needs the count.
    state = {**{name: value for name, value in target.items() if name.endswith(".num_batches_tracked")}, **state}
    problems = [f"missing {name}" for name in target if name not in state]
    problems += [f"unexpected {name}" for name in state if name not in target]
    problems += [
        f"{name} is {tuple(state[name].shape)} where the network has {tuple(target[name].shape)}"
        for name in target
        if name in state and state[name].shape != target[name].shape
    ]
    if problems:
        raise _other_architecture(origin, problems)
    module.load_state_dict(dict(state))


def load_by_key_order(module: torch.nn.Module, state: Mapping[str, torch.Tensor], origin: str) -> None:
    """Load `state` into `module` in the order of its keys: for two codes that name the same tensors differently.

    Raises
    ------
    BackboneError
        Unless there are as many tensors on both sides, each of the same shape.
    """
    target = module.state_dict()
    if len(target) != len(state):
        raise _other_architecture(origin, [f"{len(state)} tensors where the network has {len(target)}"])
    pairs = list(zip(target.items(), state.items(), strict=True))
    problems = [
        f"{theirs} is {tuple(value.shape)} where {ours} is {tuple(wanted.shape)}"
        for (ours, wanted), (theirs, value) in pairs
        if wanted.shape != value.shape
    ]
    if problems:
        raise _other_architecture(origin, problems)
    module.load_state_dict({ours: value for (ours, _), (_, value) in pairs})


def _other_architecture(origin: str, problems: list[str]) -> BackboneError:
    more = f" and {len(problems) - 3} more differences" if len(problems) > 3 else ""
    return BackboneError(f"The weights of {origin} belong to another architecture: {'; '.join(problems[:3])}{more}.")


def _unwrapped(state: Any) -> Any:
    """Return the state dict of a checkpoint, which often keeps it one level down, under one of these names."""
    if isinstance(state, Mapping):
        for name in ("state_dict", "model", "model_state_dict"):
            if isinstance(state.get(name), Mapping):
                return state[name]
    return state


def _safetensors_error() -> type[Exception]:
    from safetensors import SafetensorError

    error: type[Exception] = SafetensorError
    return error


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".")


def download(url: str) -> Path:
    """Return the local copy of a checkpoint, fetching it into torch's hub cache when absent.

    Raises
    ------
    BackboneError
        If it cannot be fetched.
    """
    import torch

    target = Path(torch.hub.get_dir()) / "checkpoints" / url.rsplit("/", 1)[1]
    if not target.is_file():
        target.parent.mkdir(parents=True, exist_ok=True)
        prefix = _HASH_IN_NAME.search(target.name)
        try:
            torch.hub.download_url_to_file(url, str(target), prefix[1] if prefix else None, progress=False)
        except (OSError, RuntimeError) as error:
            raise _not_fetched(url, error) from error
    return target


def download_from_hub(repository: str, names: tuple[str, ...]) -> Path:
    """Return the local copy of the first of `names` that a Hugging Face repository holds (``owner/name[@revision]``).

    Raises
    ------
    BackboneError
        If it cannot be fetched.
    """
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import EntryNotFoundError, HfHubHTTPError, LocalEntryNotFoundError

    repo_id, _, revision = repository.partition("@")
    for name in names:
        try:
            return Path(hf_hub_download(repo_id, name, revision=revision or None))
        except LocalEntryNotFoundError as error:  # offline: other names would fail in the same way
            raise _not_fetched(f"{name} of {repository}", error) from error
        except EntryNotFoundError:
            continue
        except (OSError, HfHubHTTPError) as error:
            raise _not_fetched(f"{name} of {repository}", error) from error
    raise BackboneError(f"The repository {repository} holds none of {', '.join(names)}.")


def _not_fetched(what: str, error: Exception) -> BackboneError:
    return BackboneError(
        f"Cannot fetch the weights {what}: {_first_line(error)}. Connect to the network once (the file is then kept in "
        "the cache), or give a local file with weights = FILE."
    )
