"""Panels of a figure: their widths, titles and places beside one another.

Panels are laid out by their own sizes ("flush"), so that rows and columns are in line and the width is known before
anything is drawn. Lengths are in points, 1/72 inch.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from queries.drawing.vega_lite import Spec, text_at

ONE_COLUMN, TWO_COLUMNS = 84.0, 174.0  # mm, as of most journals and of CVPR
POINTS_PER_MM = 72 / 25.4


def panel_width(panels: int, *, spacing: float, beside: float, millimetres: float = TWO_COLUMNS) -> float:
    """Return the width of each of so many panels side by side; `beside` is the room for labels and a legend."""
    return (millimetres * POINTS_PER_MM - beside - (panels - 1) * spacing) / panels


def panel(layers: Iterable[Spec], width: float, height: float, title: str = "", *, above: float = 5) -> Spec:
    """Return layers as one panel, with its title so far `above` it: Vega's own title moves with the labels."""
    named = [text_at(0, -above, title, align="left", baseline="bottom", fontWeight="bold")] if title else []
    return {"layer": [*layers, *named], "width": width, "height": height}


def side_by_side(panels: Sequence[Spec], spacing: float) -> Spec:
    """Return panels in a row."""
    return {"hconcat": list(panels), "spacing": spacing, "bounds": "flush"}


def stacked(rows: Sequence[Spec], spacing: float) -> Spec:
    """Return rows of panels one below another; Vega measures the room that they need with their titles."""
    return {"vconcat": list(rows), "spacing": spacing}


def grid(panels: Sequence[Spec], columns: int, spacing: tuple[float, float]) -> Spec:
    """Return panels in rows of `columns`, with so much room beside and below each."""
    return {"concat": list(panels), "columns": columns, "bounds": "flush",
            "spacing": {"column": spacing[0], "row": spacing[1]}}  # fmt: skip


def in_order(names: Iterable[str]) -> list[str]:
    """Return the names once each, by alphabet whatever their case."""
    return sorted(set(names), key=lambda name: (name.lower(), name))
