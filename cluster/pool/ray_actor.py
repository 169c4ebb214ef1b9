"""The Ray actor: thin. It runs units with what it has in its hands, and knows no kind of work.

A worker returns a few numbers or a `Failure`; features and results go to the store from where they are made. What a
unit raises is caught, so everything that Ray itself reports is a fault of the machine and worth another try.
"""

from __future__ import annotations

from typing import Any

import ray

from cluster.pool.nodes import NodeName, this_node
from cluster.pool.store_token import StoreToken
from cluster.pool.units import Hands, Unit, keep_freed_memory, run_unit


@ray.remote
class Worker:
    """Runs any unit of any run on one device, with `threads` threads.

    It serves all kinds of work that ask for the same: importing torch takes longer than many a unit. With a `token` it
    makes sure that its node sees the store.
    """

    def __init__(self, device: str, threads: int, token: StoreToken | None = None) -> None:
        import torch
        from threadpoolctl import threadpool_limits

        torch.set_num_threads(threads)
        threadpool_limits(threads)
        keep_freed_memory()
        self._hands = Hands(device, threads)
        self._token = token

    def ready(self) -> NodeName:
        """Return where this worker is, once it can work; raise if it cannot work there."""
        node = this_node()
        if self._token and (complaint := self._token.complaint()):
            raise self._token.error({node: complaint})
        return node

    def run(self, unit: Unit) -> Any:
        """Do a unit; its own errors come back as a `Failure`."""
        return run_unit(unit, self._hands)
