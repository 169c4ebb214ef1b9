"""The same question to every node of a cluster, at once."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import ray
from ray.exceptions import RayError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from cluster.pool.nodes import NodeName, alive_nodes
from cluster.pool.ray_workers import reason


@dataclass(frozen=True)
class Unanswered:
    """Why a node gave no answer."""

    why: str


def ask_all(
    nodes: Iterable[NodeName], question: Callable[[Any], Any], about: Any, *, seconds: float
) -> dict[NodeName, Any]:
    """Call a function on every node. Return what each said; `Unanswered` for one that failed or had not enough time.

    Nodes that are gone meanwhile are left out.
    """
    task: Any = ray.remote(num_cpus=0)(question)
    pinned = {node: NodeAffinitySchedulingStrategy(node.id, soft=False) for node in nodes}
    asked = {node: task.options(scheduling_strategy=there).remote(about) for node, there in pinned.items()}
    if not asked:
        return {}
    ready, _ = ray.wait(list(asked.values()), num_returns=len(asked), timeout=seconds)
    there, answered = alive_nodes(), set(ready)
    answers = {
        node: _answer(reference) if reference in answered else Unanswered(f"no answer within {seconds:.0f} seconds")
        for node, reference in asked.items()
    }
    return {node: answer for node, answer in answers.items() if node in there or not isinstance(answer, Unanswered)}


def _answer(reference: Any) -> Any:
    try:
        return ray.get(reference)
    except RayError as error:
        return Unanswered(reason(error))
