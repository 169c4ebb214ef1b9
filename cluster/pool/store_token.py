"""A check that every node sees the store: the driver writes a token, and each node reads it before it gets work.

A node that does not see it would write where nobody looks. It gets no work, and is named; the others go on.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from cluster.pool.nodes import NodeName
from cluster.pool.survey import Unanswered, ask_all
from featurestore import FeatureStore
from featurestore.errors import ConfigurationError, ProbestoreError
from featurestore.networks.installation import versions
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

    def look(self, nodes: Iterable[NodeName]) -> dict[NodeName, Seen]:
        """Read the token on every one of the nodes, and ask for the versions that each has."""
        answers = ask_all(nodes, _seen, self, seconds=_PATIENCE_SECONDS)
        return {
            node: Seen(answer.why) if isinstance(answer, Unanswered) else answer for node, answer in answers.items()
        }


@dataclass(frozen=True)
class Seen:
    """What a node said: why it cannot read the token, if so, and the versions of its libraries."""

    complaint: str | None
    versions: Mapping[str, str] = field(default_factory=dict)


def _seen(token: StoreToken) -> Seen:
    return Seen(token.complaint(), versions())


def other_versions(seen: Mapping[NodeName, Seen]) -> list[str]:
    """Return a sentence about every library of which nodes have another version than this machine."""
    here, found = versions(), dict[tuple[str, str], list[NodeName]]()
    for node, said in seen.items():
        for name in sorted(here.keys() | said.versions.keys()) if said.versions else ():
            there = said.versions.get(name, "not installed")
            if there != here.get(name, "not installed"):
                found.setdefault((name, there), []).append(node)
    return [
        f"{name} {there} on {_some(nodes)}, and {here.get(name, 'not installed')} on this machine. `probestore cluster "
        "check` compares the nodes."
        for (name, there), nodes in found.items()
    ]


def _some(nodes: Sequence[NodeName]) -> str:
    more = f" and {len(nodes) - _MOST_NAMED} more" if len(nodes) > _MOST_NAMED else ""
    return f"{', '.join(map(str, nodes[:_MOST_NAMED]))}{more}"


_ADVICE = (
    "Use a folder of a file system that all nodes mount at the same path, or an object store (--store "
    "s3://bucket/store) that all nodes may read."
)


def _named(complaints: Mapping[NodeName, str]) -> str:
    named = [f"{node} ({why})" for node, why in list(complaints.items())[:_MOST_NAMED]]
    others = f", and {len(complaints) - len(named)} more" if len(complaints) > len(named) else ""
    return f"{', '.join(named)}{others}"
