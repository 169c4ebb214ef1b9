"""What a machine has of all that a run needs: libraries, devices, room, and what a study names. It needs no Ray."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from importlib.metadata import version
from pathlib import Path

from featurestore import FeatureStore
from featurestore.catalogue.datasets import DatasetSpec
from featurestore.errors import ProbestoreError
from featurestore.images.splits import Dataset
from featurestore.networks.installation import versions
from featurestore.networks.shipped_modules import Shipment
from featurestore.networks.weights import file_digest
from featurestore.store import node_cache

_SECONDS_FOR_DRIVER = 20


@dataclass(frozen=True)
class Needs:
    """What a study needs on every node.

    Attributes
    ----------
    store : str
        Store that is read and written; empty if there is none.
    options : tuple of (str, str)
        Its options. They may hold credentials.
    modules : Shipment, optional
        Modules beside the study.
    datasets : tuple of DatasetSpec
    weights : tuple of (str, str)
        Names of models, and paths of their weights files.
    """

    store: str = ""
    options: tuple[tuple[str, str], ...] = field(default=(), repr=False)
    modules: Shipment | None = None
    datasets: tuple[DatasetSpec, ...] = ()
    weights: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class Facts:
    """The facts about a machine.

    Attributes
    ----------
    values : dict of str to str
        What must be the same on all nodes, by name: versions, fingerprints of datasets, digests of weights.
    room : dict of str to str
        What may differ: devices and free space.
    problems : tuple of str
        Why it cannot work, one sentence each.
    """

    values: dict[str, str]
    room: dict[str, str]
    problems: tuple[str, ...]


def facts(needs: Needs) -> Facts:
    """Gather the facts about this machine. Nothing is computed, and nothing stays in the store."""
    problems: list[str] = []

    def tried(what: str, look: Callable[[], str]) -> str:
        try:
            return look()
        except Exception as error:  # a broken installation may raise anything
            problems.append(f"{what}: {error if isinstance(error, ProbestoreError) else repr(error)}")
            return "cannot be used"

    values = {**versions(), "ray": version("ray")}
    tried("its libraries", _libraries)
    for spec in needs.datasets:
        values[f"dataset {spec.name}"] = tried(f"dataset {spec.name}", partial(_fingerprint, spec))
    for model, path in needs.weights:
        values[f"weights of {model}"] = tried(f"weights of {model}", partial(file_digest, Path(path)))
    room = {"devices": _devices(), "cache_gb": _free(node_cache.folder()), "shm_gb": _free(Path("/dev/shm"))}
    if needs.modules:
        room["modules"] = _modules(needs.modules)
    if needs.store:
        room["store"] = tried("store", partial(_store, needs))
    return Facts(values, room, tuple(problems))


def _fingerprint(spec: DatasetSpec) -> str:
    return Dataset(spec).fingerprint


def _libraries() -> str:
    """Import what every unit needs: libraries that do not fit each other show it then."""
    import timm
    import torch
    import torchvision

    return " ".join(str(package.__version__) for package in (torch, torchvision, timm))


def _devices() -> str:
    """Return the cards and their driver; nothing where there are none."""
    question = ["nvidia-smi", "--query-gpu=name,driver_version", "--format=csv,noheader"]
    try:
        said = subprocess.run(question, capture_output=True, text=True, timeout=_SECONDS_FOR_DRIVER, check=True).stdout
    except (OSError, subprocess.SubprocessError):
        return ""
    cards = [line.strip() for line in said.splitlines() if line.strip()]
    return "; ".join(f"{cards.count(card)} x {card}" for card in dict.fromkeys(cards))


def _free(folder: Path) -> str:
    """Return the free space where a folder is or would be, in GB (10^9 bytes)."""
    there = next((place for place in (folder, *folder.absolute().parents) if place.exists()), None)
    return f"{shutil.disk_usage(there).free / 1e9:.1f}" if there else ""


def _modules(modules: Shipment) -> str:
    differing = modules.differing()
    return f"sent along ({', '.join(differing[:3])})" if differing else "as here"


def _store(needs: Needs) -> str:
    """Read and write the store."""
    FeatureStore.open(needs.store, storage_options=dict(needs.options)).storage.check_usable()
    return "usable"
