"""How often a test of chance is repeated: a few times whenever tests run, many times in `make long`."""

from __future__ import annotations

import pytest


def seeds(usual: int, long: int) -> list[object]:
    """Values of the parameter `seed`: 0, 1, ..., of which the first `usual` are for every run of the tests.

    The others, up to `long` in all, have the marker `long`.
    """
    return [seed if seed < usual else pytest.param(seed, marks=pytest.mark.long) for seed in range(long)]
