"""A check that every node sees the store: the driver writes a token, and each node reads it before it gets work.

A node that does not see it would write where nobody looks. It gets no work, and is named; the others go on.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import ray
from ray.exceptions import RayError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from cluster.pool.nodes import NodeName, alive_nodes
from cluster.pool.ray_workers import reason
from featurestore import FeatureStore
from featurestore.errors import ConfigurationError, ProbestoreError
from featurestore.store.commit import Storage
from featurestore.store.layout import STAGING, TOKEN_PREFIX

_MOST_NAMED = 5
_PATIENCE_SECONDS = 120.0  # a node may have to start a process first


@dataclass(frozen=True)
class StoreToken:
    """A file in a store with a unique content.

    It lies among the staged files as long as the run goes on, which may be days. gc and verify know its name.
    """

    store: str
    storage_options: tuple[tuple[str, str], ...] = field(repr=False)  # it may hold credentials
    name: str

    @classmethod
    def write(cls, store: FeatureStore) -> StoreToken:
        """Write a new token into a store."""
        token = cls(store.uri, store.storage_options, f"{STAGING}/{TOKEN_PREFIX}{uuid.uuid4().hex}")
        store.storage.publish(token.name, token.name.encode())
        return token

    def remove(self) -> None:
        """Remove the token from the store."""
        self._storage().delete(self.name)

    def complaint(self) -> str | None:
        """Return the reason why the token cannot be read on this node; None if it can."""
        try:
            storage = self._storage()
            if storage.kind(self.name) == "absent":
                return "the file is not there"
            return None if storage.read_bytes(self.name) == self.name.encode() else "the file has another content there"
        except ProbestoreError as error:
            return str(error)

    def _storage(self) -> Storage:
        return Storage(self.store, dict(self.storage_options))

    def error(self, complaints: Mapping[NodeName, str]) -> ConfigurationError:
        """Return the error about nodes that cannot read the token, where there are no others."""
        return ConfigurationError(
            f"Every node must see the same store, but a file that this machine has just written to {self.store} cannot "
            f"be read on {_named(complaints)}. {_ADVICE}"
        )

    def note(self, complaints: Mapping[NodeName, str]) -> str:
        """Return a sentence about nodes that cannot read the token, while others can."""
        return (
            f"No work for nodes that cannot read what this machine writes to {self.store}: {_named(complaints)}. "
            f"The others do it. {_ADVICE}"
        )

    def complaints(self, nodes: Iterable[NodeName]) -> dict[NodeName, str]:
        """Read the token on every one of the nodes. Return those that cannot, and why."""
        task: Any = ray.remote(num_cpus=0)(StoreToken.complaint)
        pinned = {node: NodeAffinitySchedulingStrategy(node.id, soft=False) for node in nodes}
        asked = {node: task.options(scheduling_strategy=there).remote(self) for node, there in pinned.items()}
        answers = {node: _answer(node, reference) for node, reference in asked.items()}
        return {node: why for node, why in answers.items() if why}


_ADVICE = (
    "Use a folder of a file system that all nodes mount at the same path, or an object store (--store "
    "s3://bucket/store) that all nodes may read."
)


def _named(complaints: Mapping[NodeName, str]) -> str:
    named = [f"{node} ({why})" for node, why in list(complaints.items())[:_MOST_NAMED]]
    others = f", and {len(complaints) - len(named)} more" if len(complaints) > len(named) else ""
    return f"{', '.join(named)}{others}"


def _answer(node: NodeName, reference: Any) -> str | None:
    try:
        why: str | None = ray.get(reference, timeout=_PATIENCE_SECONDS)
    except RayError as error:
        return reason(error) if node in alive_nodes() else None  # one that is gone needs to see nothing
    return why
