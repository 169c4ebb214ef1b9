"""A pool in this process: one unit after the other, without Ray. It suits notebooks, debuggers and small studies."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from cluster.pool.placement import Request, place_all
from cluster.pool.units import Hands, Lane, keep_freed_memory, run_unit, take
from cluster.study.cluster_settings import ClusterSettings
from featurestore.machine import available_cpus

_NODE = "this process"


class LocalPool:
    """A pool that runs units in this process, each with the device and threads of a worker on Ray on this machine.

    Parameters
    ----------
    cluster : ClusterSettings, optional
        Resources that workers ask for; by default those that suit this machine.
    """

    def __init__(self, *, cluster: ClusterSettings | None = None) -> None:
        self._cluster = cluster or ClusterSettings()
        self._hands: dict[tuple[str, int], Hands] = {}

    def __enter__(self) -> LocalPool:
        return self

    def __exit__(self, *_: object) -> None:
        self._hands.clear()

    def run(self, lanes: Sequence[Lane], *, note: Callable[[str], None] = lambda text: None) -> None:
        """Run all units of the lanes, and those that come while they run. `note` is never called."""
        if not any(lane.queue.n_waiting(1) for lane in lanes):
            return
        requests = place_all([_this_machine()], {lane.kind: self._cluster.of(lane.kind) for lane in lanes})
        keep_freed_memory()
        while any(lane.queue.n_waiting(1) for lane in lanes):
            if taken := take(lanes):
                self._run(*taken, requests[taken[0].kind])
            else:
                waits = [wait for lane in lanes if (wait := lane.queue.seconds_to_wait()) is not None]
                time.sleep(min(waits, default=0.0))

    def _run(self, lane: Lane, attempt: Any, request: Request) -> None:
        begun = time.monotonic()
        try:
            with _threads(request.cpus):
                result = run_unit(attempt.task, self._hands_for(request))
        except Exception as error:  # of the machine
            reason = f"{type(error).__name__}: {error}"
            self._hands.clear()  # a network that did not fit, a device that broke
            result = lane.queue.again(attempt, reason, node_lost=False, node=_NODE)
            if result is None:
                lane.on_retry(attempt.task, reason, _NODE)
                return
        lane.seconds += time.monotonic() - begun
        lane.on_outcome(attempt.task, result, _NODE)

    def _hands_for(self, request: Request) -> Hands:
        key = ("cuda" if request.gpus else "cpu", request.cpus)
        return self._hands.setdefault(key, Hands(*key))


def _this_machine() -> Mapping[str, float]:
    import torch

    return {"CPU": available_cpus(), "GPU": torch.cuda.device_count()}


@contextmanager
def _threads(count: int) -> Iterator[None]:
    """Use `count` threads, as a worker on Ray does, and as many as before when the block is over."""
    import torch
    from threadpoolctl import threadpool_limits

    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        with threadpool_limits(count):
            yield
    finally:
        torch.set_num_threads(before)
