"""The facts about every node of a cluster, and about this machine."""

from __future__ import annotations

from collections.abc import Callable

from cluster.pool.node_facts import Facts, Needs, facts
from cluster.pool.ray_session import RaySession

_PATIENCE_SECONDS = 120.0  # a node may have to start a process, and read large files


def gathered(address: str, needs: Needs, note: Callable[[str], None]) -> tuple[Facts, dict[str, Facts]]:
    """Return the facts about this machine and about each node that has CPUs or GPUs.

    A node that gives no answer has a problem that says so.

    Raises
    ------
    ConfigurationError
        If the cluster cannot be joined.
    """
    session = RaySession(address)
    try:
        session.start(note)
        from cluster.pool.nodes import alive_nodes
        from cluster.pool.survey import Unanswered, ask_all

        nodes = sorted((node for node, has in alive_nodes().items() if has.get("CPU") or has.get("GPU")), key=str)
        said = ask_all(nodes, facts, needs, seconds=_PATIENCE_SECONDS)
        return facts(needs), {
            str(node): Facts({}, {}, (answer.why,)) if isinstance(answer, Unanswered) else answer
            for node, answer in said.items()
        }
    finally:
        session.end()
