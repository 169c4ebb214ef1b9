"""What Ray knows of the nodes of its cluster."""

from __future__ import annotations

import json
import socket
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import ray


@dataclass(frozen=True)
class NodeName:
    """A node as people and Ray name it."""

    host: str = field(compare=False)
    id: str

    def __str__(self) -> str:
        return f"{self.host}/{self.id[:6]}"  # several nodes of one Ray can live on one machine


def this_node() -> NodeName:
    """The node that the calling worker runs on."""
    node_id = ray.get_runtime_context().get_node_id()
    return NodeName(socket.gethostname(), node_id)


def alive_nodes() -> dict[NodeName, Mapping[str, float]]:
    """The nodes that are alive, and their resources."""
    nodes: list[dict[str, Any]] = ray.nodes()  # type: ignore[no-untyped-call]
    return {NodeName(node["NodeManagerHostname"], node["NodeID"]): node["Resources"] for node in nodes if node["Alive"]}


def autoscales() -> bool:
    """Whether nodes come and go by themselves; asked on the cluster, as a client of it cannot tell."""
    return bool(ray.get(ray.remote(num_cpus=0)(_has_autoscaler).remote()))


def _has_autoscaler() -> bool:
    """Both versions of Ray's autoscaler leave their traces with the cluster's head; neither has a public question."""
    from ray._private.state import state
    from ray._private.worker import global_worker

    config = state.get_cluster_config()
    if config is not None and config.node_group_configs:
        return True
    client: Any = global_worker
    status = client.gcs_client.internal_kv_get(b"__autoscaling_status", None, timeout=10)
    if not status:
        return False
    groups = json.loads(status).get("autoscaler_report", {}).get("active_nodes") or {}
    return any(not group.startswith("node_") for group in groups)  # so named where no autoscaler has a configuration
