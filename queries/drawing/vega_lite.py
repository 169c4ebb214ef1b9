"""Charts as Vega-Lite: marks, places of text, ticks, and the picture that a chart becomes.

A chart is a dictionary that follows the grammar of Vega-Lite. Its unit of length is a pixel on a page and a point in
print.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import vl_convert

from featurestore.plain_text import visible

Row = dict[str, Any]
Spec = dict[str, Any]


def mark(rows: Iterable[Row], kind: str, encoding: Spec, **how: object) -> Spec:
    """Return one layer: a mark of this kind for each row."""
    return {"data": {"values": list(rows)}, "mark": {"type": kind, **how}, "encoding": encoding}


def text_at(x: float, y: float, text: str, **how: object) -> Spec:
    """Return text at a place of a panel, measured from the upper left corner."""
    return mark([{"text": text}], "text", {"x": {"value": x}, "y": {"value": y}, "text": {"field": "text"}}, **how)


def number(field: str, **channel: object) -> Spec:
    """Return a channel that shows a column of numbers."""
    return {"field": field, "type": "quantitative", **channel}


def name(field: str, **channel: object) -> Spec:
    """Return a channel that shows a column of names."""
    return {"field": field, "type": "nominal", **channel}


def log_ticks(values: Iterable[float], base: float, most: int) -> list[float]:
    """Return at most `most` whole powers of `base` around `values`, evenly spread."""
    exponents = [math.log(value, base) for value in values]
    low, high = math.floor(min(exponents) + 1e-9), math.ceil(max(exponents) - 1e-9)
    step = max(1, math.ceil((high - low + 1) / most))
    return [base**power for power in range(low, high + 1, step)]


def to_svg(chart: Spec) -> str:
    """Draw a chart as SVG. The names in it are escaped, and their control characters, which XML lacks, written out."""
    svg: str = vl_convert.vegalite_to_svg(_visible(chart))
    return svg


def to_png(chart: Spec, *, scale: float) -> bytes:
    """Draw a chart as PNG with `scale` pixels per unit."""
    return bytes(vl_convert.vegalite_to_png(_visible(chart), scale=scale))


def _visible(part: Any) -> Any:
    """Return a part of a chart with the control characters of all its texts written out."""
    if isinstance(part, dict):
        return {key: _visible(value) for key, value in part.items()}
    if isinstance(part, list | tuple):
        return [_visible(value) for value in part]
    return visible(part) if isinstance(part, str) else part
