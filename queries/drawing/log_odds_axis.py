"""A linear axis of log-odds that is labelled in percent."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

from queries.drawing.vega_lite import Spec

_AS_PERCENT = "format(100 / (1 + exp(-datum.value)), '.4~r') + '%'"


@dataclass(frozen=True)
class LogOddsAxis:
    """An axis from `low` to `high` on `pixels`.

    Attributes
    ----------
    low, high : float
        Log-odds at its ends.
    pixels : float
        Its length.
    title : str
        Empty for none.
    ticks : int
        About so many labels have room on it.
    """

    low: float
    high: float
    pixels: float
    title: str
    ticks: int = 6

    @classmethod
    def around(cls, values: Iterable[float], pixels: float, title: str, ticks: int = 6) -> LogOddsAxis:
        """Return the axis that holds `values`, of which there must be at least one, with a margin."""
        values = list(values)
        low, high = min(values), max(values)
        margin = 0.08 * (high - low) or 0.1
        return cls(low - margin, high + margin, pixels, title, ticks)

    def pixel(self, value: float) -> float:
        """Return the place of a value, in pixels from the low end."""
        return (value - self.low) / (self.high - self.low) * self.pixels

    def value(self, pixel: float) -> float:
        """Return the value at a place, which is in pixels from the low end."""
        return self.low + pixel / self.pixels * (self.high - self.low)

    def specification(self, field: str) -> Spec:
        """Return the channel that shows `field` on this axis. Layers share it, so each must say the same of it."""
        return {
            "field": field,
            "type": "quantitative",
            "title": self.title or None,
            "scale": {"domain": [self.low, self.high], "nice": False, "zero": False},
            "axis": {"values": percent_ticks(self.low, self.high, self.ticks), "labelExpr": _AS_PERCENT},
        }


def percent_ticks(low: float, high: float, most: int = 6) -> list[float]:
    """Return log-odds of round percentages inside an axis, the roundest first.

    No two are closer together than 1/`most` of its length.
    """
    ticks: list[float] = []
    for per_cent in (50, 10, 5, 1, 0.5, 0.1, 0.05, 0.01):
        count = round(100 / per_cent)
        for share in (step / count for step in range(1, count)):
            tick = log_odds(share)
            inside = low <= tick <= high
            if inside and all(abs(tick - other) > (high - low) / most for other in ticks):
                ticks.append(tick)
        if len(ticks) >= 2 * most / 3:
            break
    return sorted(ticks)


def log_odds(share: float) -> float:
    """Return ln(p / (1 - p)) of a share p between 0 and 1."""
    return math.log(share / (1 - share))
