"""The Ray actor that runs units. It knows no kind of work.

A worker returns a few numbers or a `Failure`; it writes features and results into the store itself. An exception that
a unit raises is caught. So everything that Ray reports is a fault of the machine, and worth another try.
"""

from __future__ import annotations

import os
from typing import Any

import ray

from cluster.pool.nodes import NodeName, this_node
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
        import torch
        from threadpoolctl import threadpool_limits

        layout.stage_as(writer)
        if folder:
            os.chdir(folder)
        torch.set_num_threads(threads)
        threadpool_limits(threads)
        keep_freed_memory()
        if modules:
            modules.arrive()
        self._hands = Hands(device, threads, str(this_node()))
        self._token = token

    def ready(self) -> NodeName:
        """Return the node of this worker, once it can work. Raise ConfigurationError if its node lacks the store."""
        node = this_node()
        if self._token and (complaint := self._token.complaint()):
            raise self._token.error({node: complaint})
        return node

    def run(self, unit: Unit) -> Any:
        """Run a unit. Return its report, or its error as a `Failure`."""
        return run_unit(unit, self._hands)
