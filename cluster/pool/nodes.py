"""The nodes of a Ray cluster, by their names."""

from __future__ import annotations

import socket
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

import ray
from ray.util.scheduling_strategies import NodeLabelSchedulingStrategy, NotIn

from cluster.pool.head import check_head
from featurestore.errors import ConfigurationError


@dataclass(frozen=True)
class NodeName:
    """The name of a node for people, and its name for Ray."""

    host: str = field(compare=False)
    id: str

    def __str__(self) -> str:
        return f"{self.host}/{self.id[:6]}"  # several nodes of one Ray can live on one machine


class UnfitNodeError(ConfigurationError):
    """A node on which no worker can work.

    Parameters
    ----------
    node : NodeName
    why : str
        In a sentence.
    """

    def __init__(self, node: NodeName, why: str) -> None:
        super().__init__(node, why)
        self.node = node
        self.why = why

    def __str__(self) -> str:
        return self.why


def this_node() -> NodeName:
    """Return the node that the calling worker runs on."""
    node_id = ray.get_runtime_context().get_node_id()
    return NodeName(socket.gethostname(), node_id)


def alive_nodes() -> dict[NodeName, Mapping[str, float]]:
    """Return the nodes that are alive, with their resources.

    Raises
    ------
    ClusterLostError
        If the head of a joined cluster answers no more.
    """
    check_head()
    nodes: list[dict[str, Any]] = ray.nodes()  # type: ignore[no-untyped-call]
    return {NodeName(node["NodeManagerHostname"], node["NodeID"]): node["Resources"] for node in nodes if node["Alive"]}


def elsewhere(ids: Collection[str]) -> NodeLabelSchedulingStrategy:
    """Return the strategy that places a worker on any node but those with these ids."""
    return NodeLabelSchedulingStrategy(hard={"ray.io/node-id": NotIn(*ids)})  # type: ignore[no-untyped-call]
