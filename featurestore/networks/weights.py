"""Weights files: their digests, and where they come from."""

from __future__ import annotations

import errno
import hashlib
import json
import re
from functools import cache
from importlib.metadata import version
from pathlib import Path

from featurestore.catalogue.models import ModelSpec
from featurestore.errors import BackboneError, did_you_mean
from featurestore.networks import remembered

_NOT_WRITTEN = (errno.EACCES, errno.EPERM, errno.ENOTDIR, errno.EROFS, errno.ENOSPC, errno.EDQUOT)
_HASH_IN_NAME = re.compile(r"-([0-9a-f]{8,})\.")  # torch's convention: the file name carries the start of its SHA-256


def file_digest(path: Path) -> str:
    """Return ``sha256:`` and the digest of a file's content.

    Raises
    ------
    BackboneError
        If there is no such file, or it is no regular one: a device may have no end.
    """
    try:
        if path.exists() and not path.is_file():
            raise BackboneError(f"The weights {path} must be a regular file. It is a folder, a device or a pipe.")
        with path.open("rb") as file:
            found = remembered.of_file("sha256", path, file, lambda: hashlib.file_digest(file, "sha256").hexdigest())
    except OSError as error:
        raise BackboneError(f"Cannot read the weights file {path}: {error.strerror}.{_word_meant(path)}") from error
    return f"sha256:{found}"


def _word_meant(path: Path) -> str:
    """Ask whether a file that is not there was one of the two words that stand for no file."""
    return "" if path.suffix else did_you_mean(path.name, ("pretrained", "none"))


def random_digest(spec: ModelSpec, packages: tuple[str, ...]) -> str:
    """Return ``random:`` and a digest of what decides random weights: backbone, seed, versions of `packages`."""
    parts = {"backbone": spec.backbone, "seed": spec.seed, "versions": dict(_versions(packages))}
    return f"random:{hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()}"


@cache
def _versions(packages: tuple[str, ...]) -> tuple[tuple[str, str], ...]:
    return tuple((name, version(name)) for name in packages)


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
        prefix = _HASH_IN_NAME.search(target.name)
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
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
    if isinstance(error, OSError) and error.errno in _NOT_WRITTEN:
        return BackboneError(
            f"Cannot keep the weights {what}: {_first_line(error)}. Their cache must be a folder that can be written: "
            "set HOME, or HF_HOME and TORCH_HOME, to one, or give a local file with weights = FILE."
        )
    return BackboneError(
        f"Cannot fetch the weights {what}: {_first_line(error)}. Connect to the network once (the file is then kept in "
        "the cache), or give a local file with weights = FILE."
    )
