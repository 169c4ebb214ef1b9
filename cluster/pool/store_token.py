"""Does every node see the store? A token that the driver writes is read on each of them, before any work is lost."""

from __future__ import annotations

import uuid
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import ray
from ray.exceptions import RayError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from cluster.pool.nodes import NodeName, alive_nodes
from cluster.pool.ray_workers import reason
from featurestore import FeatureStore
from featurestore.errors import ConfigurationError, StoreError
from featurestore.store.commit import Storage
from featurestore.store.layout import STAGING, TOKEN_PREFIX

_MOST_NAMED = 5
_PATIENCE_SECONDS = 120.0  # a node may have to start a process first


@dataclass(frozen=True)
class StoreToken:
    """A file in a store, with a content that nobody else would write.

    It lies among what is staged for as long as the run goes on, which may be days: gc and verify know its name.
    """

    store: str
    storage_options: tuple[tuple[str, str], ...] = field(repr=False)  # it may hold credentials
    name: str

    @classmethod
    def write(cls, store: FeatureStore) -> StoreToken:
        """Put a new one into the store."""
        token = cls(store.uri, store.storage_options, f"{STAGING}/{TOKEN_PREFIX}{uuid.uuid4().hex}")
        store.storage.publish(token.name, token.name.encode())
        return token

    def remove(self) -> None:
        """Take it out again."""
        self._storage().delete(self.name)

    def complaint(self) -> str | None:
        """Why it cannot be read where this is called; None if it can."""
        try:
            storage = self._storage()
            if storage.kind(self.name) == "absent":
                return "there it is not"
            return None if storage.read_bytes(self.name) == self.name.encode() else "there it is another file"
        except StoreError as error:
            return str(error)

    def _storage(self) -> Storage:
        return Storage(self.store, dict(self.storage_options))

    def error(self, complaints: dict[NodeName, str]) -> ConfigurationError:
        """What to tell of nodes that do not see it."""
        named = [f"{node} ({why})" for node, why in list(complaints.items())[:_MOST_NAMED]]
        others = f", and {len(complaints) - len(named)} more" if len(complaints) > len(named) else ""
        return ConfigurationError(
            f"Every node must see the same store, but what this machine has just written to {self.store} cannot be "
            f"read on {', '.join(named)}{others}. Use a folder of a file system that all nodes mount at the same path, "
            "or an object store (--store s3://bucket/store) that all of them may read."
        )

    def check(self, nodes: Iterable[NodeName]) -> None:
        """Read it on every one of these nodes.

        Raises
        ------
        ConfigurationError
            Naming those that do not see it.
        """
        task: Any = ray.remote(num_cpus=0)(StoreToken.complaint)
        pinned = {node: NodeAffinitySchedulingStrategy(node.id, soft=False) for node in nodes}
        asked = {node: task.options(scheduling_strategy=there).remote(self) for node, there in pinned.items()}
        answers = {node: _answer(node, reference) for node, reference in asked.items()}
        if complaints := {node: why for node, why in answers.items() if why}:
            raise self.error(complaints)


def _answer(node: NodeName, reference: Any) -> str | None:
    try:
        why: str | None = ray.get(reference, timeout=_PATIENCE_SECONDS)
    except RayError as error:
        return reason(error) if node in alive_nodes() else None  # one that is gone needs to see nothing
    return why
