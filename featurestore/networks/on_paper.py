"""Networks without memory: laid out on torch's meta device, to learn what they take and give before work starts."""

from __future__ import annotations

import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch


_one_at_a_time = threading.RLock()


@contextmanager
def on_paper() -> Iterator[None]:
    """Make every tensor of the block without memory; loading weights then checks names and shapes only."""
    import torch

    with (
        _one_at_a_time,  # filters of warnings and seeds belong to the whole process
        torch.device("meta"),
        torch.inference_mode(),
        torch.random.fork_rng(devices=[]),  # seeds of what is made later stay as they are
        warnings.catch_warnings(),
    ):
        warnings.simplefilter("ignore")  # copies into tensors without memory do nothing, which torch warns of
        yield


def images_on_paper(size: int, n: int = 2) -> torch.Tensor:
    """Return images (n, 3, size, size) without memory."""
    import torch

    return torch.empty(n, 3, size, size, device="meta")


def refusal(network: Any, size: int) -> Exception | None:
    """Return what a network on paper raises for images of this size; None if it takes them, or that cannot be seen."""
    try:
        with on_paper():
            network.eval()(images_on_paper(size))
    except Exception as error:  # a network may raise anything
        return None if is_of_paper(error) else error
    return None


def is_of_paper(error: BaseException) -> bool:
    """Return whether an error may come of tensors that have no memory, and not of the network."""
    return isinstance(error, NotImplementedError) or "meta" in str(error).lower()
