"""The ``[cluster]`` table of a study: the resources that its workers ask for.

[cluster]
features = { gpus = 0.5, cpus = 4, memory_gb = 8, resources = { a100 = 0.5 }, max_workers = 64 }
probes = { gpus = 0, cpus = 2 }
autoscaling = true
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.util import find_spec
from pkgutil import iter_modules

from featurestore.errors import ConfigurationError

FORMER_NAMES = {"extract": "features", "probe": "probes"}
"""Keys by which study files of earlier versions call two kinds of work."""

_OWN_KEYS = {"CPU": "cpus", "GPU": "gpus", "memory": "memory_gb"}


@dataclass(frozen=True, kw_only=True)
class WorkerSettings:
    """The resources that one worker asks for. For those that are left out, it asks for what suits the nodes.

    Attributes
    ----------
    gpus : float, optional
        GPUs of a worker. A fraction lets several workers share a GPU; 0 is a worker on CPUs.
    cpus : int, optional
        CPUs of a worker, and the number of its threads.
    memory_gb : float, optional
        Memory of a worker, in units of 10^9 bytes. Ray places no more workers on a node than have room by this number.
    resources : mapping of str to float
        Amounts of resources that have names of their own (``ray start --resources``).
    max_workers : int, optional
        Most workers at a time; by default as many as find a place.
    """

    gpus: float | None = None
    cpus: int | None = None
    memory_gb: float | None = None
    resources: Mapping[str, float] = field(default_factory=dict)
    max_workers: int | None = None

    def __post_init__(self) -> None:
        if self.gpus is not None and (self.gpus < 0 or (self.gpus > 1 and self.gpus % 1)):
            raise ConfigurationError(f"gpus must be a fraction of one GPU or a whole number. Got {self.gpus}.")
        for name in ("cpus", "max_workers"):
            if (value := getattr(self, name)) is not None and value < 1:
                raise ConfigurationError(f"{name} must be at least 1. Got {value}.")
        if self.memory_gb is not None and self.memory_gb <= 0:
            raise ConfigurationError(f"memory_gb must be more than 0. Got {self.memory_gb}.")
        for name, amount in self.resources.items():
            if name in _OWN_KEYS:
                raise ConfigurationError(f"resources has {name!r}, which has a key of its own: {_OWN_KEYS[name]}.")
            if amount <= 0:
                raise ConfigurationError(f"resources: the amount of {name!r} must be more than 0. Got {amount}.")


@dataclass(frozen=True, kw_only=True)
class ClusterSettings:
    """The ``[cluster]`` table.

    Attributes
    ----------
    workers : mapping of str to WorkerSettings
        Kind of work -> the resources that each of its workers asks for.
    autoscaling : bool
        Whether the cluster starts nodes on demand. If so, workers that no node can carry yet wait for a node.
    """

    workers: Mapping[str, WorkerSettings] = field(default_factory=dict)
    autoscaling: bool = False

    def of(self, kind: str) -> WorkerSettings:
        """Return the resources that a worker of a kind of work asks for."""
        return self.workers.get(kind, WorkerSettings())


def kinds_of_work() -> list[str]:
    """Return the names of the kinds of work, which are the files of one folder.

    The files are listed and not loaded, because this package stands below the kinds of work.
    """
    found = find_spec("cluster.work.kinds")
    return sorted(module.name for module in iter_modules(found.submodule_search_locations if found else None))
