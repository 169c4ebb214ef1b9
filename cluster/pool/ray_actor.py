"""The Ray actor that runs units. It knows no kind of work.

A worker returns a few numbers or a `Failure`; it writes features and results into the store itself. An exception that
a unit raises is caught. So everything that Ray reports is a fault of the machine, and worth another try.
"""

from __future__ import annotations

import os
from typing import Any

import ray

from cluster.pool.nodes import NodeName, UnfitNodeError, this_node
from cluster.pool.store_token import StoreToken
from cluster.pool.units import Hands, Unit, keep_freed_memory, run_unit
from featurestore.networks.shipped_modules import Shipment
from featurestore.store import layout


@ray.remote
class Worker:
    """A worker that runs any unit of any run on one device, with `threads` threads.

    It serves all kinds of work that ask for the same resources, because importing torch takes longer than many units.
    With a `token`, it checks that its node sees the store. With a `folder`, it works in that one. With `modules`, it
    has the user's modules, whatever its node has. Files that it stages begin with `writer`.
    """

    def __init__(
        self,
        device: str,
        threads: int,
        writer: str,
        token: StoreToken | None = None,
        folder: str | None = None,
        modules: Shipment | None = None,
    ) -> None:
        layout.stage_as(writer)
        if folder:
            os.chdir(folder)
        self._broken = _broken_libraries()
        if not self._broken:
            _use_threads(threads)
        keep_freed_memory()
        if modules:
            modules.arrive()
        self._hands = Hands(device, threads, str(this_node()))
        self._token = token

    def ready(self) -> NodeName:
        """Return the node of this worker, once it can work.

        Raises
        ------
        UnfitNodeError
            If its node does not see the store, or libraries cannot be imported there.
        """
        node = this_node()
        if self._broken:
            raise UnfitNodeError(node, f"{node} cannot work: {self._broken} Install probestore anew there.")
        if self._token and (complaint := self._token.complaint()):
            raise UnfitNodeError(node, str(self._token.error({node: complaint})))
        return node

    def run(self, unit: Unit) -> Any:
        """Run a unit. Return its report, or its error as a `Failure`."""
        return run_unit(unit, self._hands)


def _broken_libraries() -> str:
    """Import what every worker needs, and return why that is not possible; nothing if it is."""
    try:
        import torch  # noqa: F401
    except Exception as error:  # a broken installation may raise anything
        return f"torch cannot be imported ({type(error).__name__}: {error})."
    return ""


def _use_threads(count: int) -> None:
    import torch
    from threadpoolctl import threadpool_limits

    torch.set_num_threads(count)
    threadpool_limits(count)
