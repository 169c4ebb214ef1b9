"""The layout of workers on nodes: what each worker asks for, and how many of each kind find a place. Pure."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from cluster.study.cluster_settings import WorkerSettings
from featurestore.plain_text import counted

_GB = 10**9
_ROUNDING = 1e-9
_MOST_KINDS_NAMED = 8
_LEAST_SPARE = 4  # workers that may wait for nodes to come; as many as there are, where that is more
Node = Mapping[str, float]  # resources of a node, by Ray's names for them: CPU, GPU, memory, and its own


@dataclass(frozen=True)
class Request:
    """The resources that one worker asks for.

    Attributes
    ----------
    cpus : int
        Number of CPUs, and of threads.
    gpus : float
        Number or share of GPUs; 0 for a worker on CPUs.
    memory : int
        Memory in bytes; 0 if it does not matter.
    resources : tuple of (str, float)
        Names and amounts of resources that the nodes were started with.
    """

    cpus: int
    gpus: float = 0.0
    memory: int = 0
    resources: tuple[tuple[str, float], ...] = ()

    def __str__(self) -> str:
        own = [f"{amount:g} {name}" for name, amount in self.resources]
        return _in_words(self.cpus, self.gpus, self.memory, own)


def place(nodes: Sequence[Node], settings: WorkerSettings | None = None, *, beside: int = 0) -> Request:
    """Decide what a worker asks for: what the settings say, and otherwise what suits the nodes.

    There is one worker per GPU if there are GPUs, else as many workers as the CPUs carry. Several workers of few
    threads are faster than one of many, because small networks on small batches fill only a few cores. A worker asks
    for no more CPUs than it can have on the poorest node that can carry it, so that every worker finds a place.

    Parameters
    ----------
    nodes : sequence of mapping
        Resources of each node.
    settings : WorkerSettings, optional
        Resources that the study asks for.
    beside : int
        CPUs of a node that workers on its GPUs leave to others, as long as each of them keeps one.
    """
    settings = settings or WorkerSettings()
    gpus = settings.gpus
    if gpus is None:
        gpus = 1.0 if any(node.get("GPU", 0) >= 1 for node in nodes) else 0.0
    resources = tuple(sorted(settings.resources.items()))
    least = Request(settings.cpus or 1, gpus, round((settings.memory_gb or 0) * _GB), resources)
    if settings.cpus is not None:
        return least
    cpus = _cpus([node for node in nodes if _fitting(least, node)], gpus, beside)
    return Request(cpus, gpus, least.memory, resources)


def place_all(nodes: Sequence[Node], settings: Mapping[str, WorkerSettings]) -> dict[str, Request]:
    """Decide what the workers of several kinds of work ask for, which are to run side by side.

    Workers on GPUs leave room for one worker that needs no GPU, so that no kind waits until another has ended.
    """
    alone = {kind: place(nodes, own) for kind, own in settings.items()}
    beside = max((request.cpus for request in alone.values() if not request.gpus), default=0)
    return {kind: place(nodes, own, beside=beside) for kind, own in settings.items()}


def capacity(request: Request, nodes: Sequence[Node]) -> int:
    """Return how many workers find a place on the nodes if no others are there."""
    return sum(_fitting(request, node) for node in nodes)


def divided(
    requests: Sequence[Request], nodes: Sequence[Node], limits: Sequence[int | None], first: int = 0
) -> list[int]:
    """Return how many workers of each kind find a place beside each other. On every node they take places in turn.

    Parameters
    ----------
    requests : sequence of Request
        Resources that a worker of each kind asks for.
    nodes : sequence of mapping
        Resources of each node.
    limits : sequence of int or None
        Most workers of each kind.
    first : int
        Kind that takes the first place on each node. Where only one kind finds a place, another one comes first later.
    """
    counts = [0] * len(requests)
    order = [*range(first, len(requests)), *range(first)]
    for node in nodes:
        free, turn = _Free(node), order
        while turn:
            turn = [kind for kind in turn if counts[kind] != limits[kind] and free.take(requests[kind])]
            for kind in turn:
                counts[kind] += 1
    return counts


def room_for(fit: int, max_workers: int | None, *, grows: bool) -> tuple[int, int]:
    """Return how many workers find a place, and how many more may wait for nodes to come.

    If nodes may come, as many workers wait as find a place, so that their number can double each time.
    """
    most = fit + max(_LEAST_SPARE, fit) if grows else fit
    if max_workers is not None:
        fit, most = min(fit, max_workers), min(most, max_workers)
    return fit, most - fit


class _Free:
    """The resources of a node that are still free."""

    def __init__(self, node: Node) -> None:
        self._amounts = dict(node)
        self._gpus = [1.0] * int(node.get("GPU", 0))

    def take(self, request: Request) -> bool:
        """Take the resources that a worker asks for. Return False, and take nothing, if they are not there."""
        asked = {"CPU": request.cpus, "memory": request.memory, **dict(request.resources)}
        gpus = self._gpus_for(request.gpus)
        if gpus is None or any(self._amounts.get(name, 0) + _ROUNDING < amount for name, amount in asked.items()):
            return False
        for name, amount in asked.items():
            self._amounts[name] = self._amounts.get(name, 0) - amount
        for gpu in gpus:
            self._gpus[gpu] -= min(1.0, request.gpus)
        return True

    def _gpus_for(self, gpus: float) -> list[int] | None:
        """Return GPUs that have room: one for a share of a GPU, else as many whole ones as are asked for."""
        share, count = (gpus, 1) if 0 < gpus < 1 else (1.0, round(gpus))
        there = [number for number, left in enumerate(self._gpus) if left + _ROUNDING >= share]
        return there[:count] if len(there) >= count else None


def inventory(nodes: Sequence[Node], request: Request) -> str:
    """Describe nodes: ``2 nodes of 8 CPUs, 1 GPU; 1 node of 4 CPUs``. Memory is named only if it is asked for."""
    kinds = Counter(_describe(node, memory=bool(request.memory)) for node in nodes)
    named = [f"{counted(count, 'node')} of {kind}" for kind, count in kinds.most_common(_MOST_KINDS_NAMED)]
    others = kinds.total() - sum(count for _, count in kinds.most_common(_MOST_KINDS_NAMED))
    return "; ".join([*named, *([f"{others} others"] if others else [])]) or "no node at all"


def _cpus(nodes: Sequence[Node], gpus: float, beside: int) -> int:
    if not nodes:
        return 1
    if gpus:
        return max(1, min((int(node["CPU"]) - beside) // _gpu_places(node, gpus) for node in nodes))
    return max(1, min(4, min(int(node["CPU"]) for node in nodes) // 4))


def _fitting(request: Request, node: Node) -> int:
    asked = {"CPU": request.cpus, "memory": request.memory, **dict(request.resources)}
    places = [_whole(node.get(name, 0) / amount) for name, amount in asked.items() if amount]
    return min([*places, _gpu_places(node, request.gpus)] if request.gpus else places)


def _gpu_places(node: Node, gpus: float) -> int:
    """Return how many workers the GPUs of a node carry. A share is of one GPU: three workers of 0.4 need two GPUs."""
    there = node.get("GPU", 0)
    return int(there) * _whole(1 / gpus) if gpus < 1 else _whole(there / gpus)


def _whole(quotient: float) -> int:
    return math.floor(quotient + _ROUNDING)  # 1 / 0.1 and the like fall short by a rounding error


def _describe(node: Node, *, memory: bool) -> str:
    hidden = ("CPU", "GPU", "memory", "object_store_memory")
    own = [
        f"{amount:g} {name}"
        for name, amount in sorted(node.items())
        if name not in hidden and not name.startswith("node:")
    ]
    there = node.get("memory", 0) // _GB * _GB if memory else 0  # whole GB: no two nodes have the same to the byte
    return _in_words(node.get("CPU", 0), node.get("GPU", 0), there, own)


def _in_words(cpus: float, gpus: float, memory: float, own: Sequence[str]) -> str:
    words = [f"{cpus:g} CPU{'' if cpus == 1 else 's'}"]
    if gpus:
        words.append(f"{gpus:g} GPU{'s' if gpus > 1 else ''}")
    if memory:
        words.append(f"{memory / _GB:.3g} GB of memory")
    return ", ".join([*words, *own])
