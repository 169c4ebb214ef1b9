"""The ImageNet accuracy of timm's pretrained networks, as timm publishes it: one number per network, size and crop."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

_TABLE = Path(__file__).with_suffix(".csv")


@dataclass(frozen=True)
class Measured:
    """Accuracy of a network at one size of its input.

    Attributes
    ----------
    input_size : int
        Side of the images, pixels.
    crop_pct : float
        Share of the resized image that the crop kept, rounded to three decimals.
    top1 : float
        A fraction.
    """

    input_size: int
    crop_pct: float
    top1: float


def measured(name: str) -> tuple[Measured, ...]:
    """Return what timm measured of a network, by size; nothing of a network that it did not measure.

    Parameters
    ----------
    name : str
        Architecture and tag, such as ``resnet50.a1_in1k``.
    """
    return _table().get(name, ())


@cache
def _table() -> dict[str, tuple[Measured, ...]]:
    found: dict[str, tuple[Measured, ...]] = {}
    for row in csv.DictReader(_lines()):
        entry = Measured(int(row["input_size"]), float(row["crop_pct"]), round(float(row["top1"]) / 100, 5))
        found[row["model"]] = (*found.get(row["model"], ()), entry)
    return found


def _lines() -> Iterator[str]:
    """Yield the table without its comment."""
    with _TABLE.open(encoding="utf-8") as file:
        yield from (line for line in file if not line.startswith("#"))
