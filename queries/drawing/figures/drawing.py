"""The look of a printed figure, and its files: SVG, PDF and PNG of a width in millimetres.

Figures are Vega-Lite written out, one unit being one point (1/72 inch), so that font sizes are those of the page. Their
panels are laid out by their own sizes ("flush"), so that rows and columns are in line and the width is known before
anything is drawn.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from html import escape
from pathlib import Path
from typing import Any

import pyarrow as pa
import vl_convert

from featurestore.errors import QueryError

ONE_COLUMN, TWO_COLUMNS = 84.0, 174.0  # mm, as of most journals and of CVPR
FORMATS = ("svg", "pdf", "png")

# Okabe and Ito's colours, which differ for every kind of colour vision; a shape or a place always says the same.
BLACK, GREY = "#000000", "#999999"
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#B5A800")
SHAPES = ("circle", "square", "triangle-up", "diamond", "cross", "triangle-down")
SETTINGS = {"fixed": "fixed features", "finetuned": "fine-tuned", "scratch": "random initialisation"}

FONT_SIZE = 7.0

Row = dict[str, Any]
Spec = dict[str, Any]

_POINTS_PER_MM = 72 / 25.4
_DOTS_PER_INCH = 600
_PIXEL = 72 / 96  # points; in SVG an inch has 96 pixels, for vl-convert it has 72
_SIZE = re.compile(r'width="([\d.]+)" height="([\d.]+)"')

_CONFIG: Spec = {
    "font": "Helvetica, Arial, Liberation Sans, sans-serif",
    "view": {"stroke": None},
    "title": {"anchor": "start", "frame": "group", "fontSize": FONT_SIZE + 1.5, "fontWeight": "bold", "offset": 8},
    "axis": {
        "labelFontSize": FONT_SIZE - 0.5, "titleFontSize": FONT_SIZE, "titleFontWeight": "normal", "titlePadding": 3,
        "labelColor": BLACK, "titleColor": BLACK, "domainColor": BLACK, "tickColor": BLACK, "domainWidth": 0.5,
        "tickWidth": 0.5, "tickSize": 2.5, "labelPadding": 1.5, "grid": False, "labelLimit": 200,
    },
    "legend": {
        "labelFontSize": FONT_SIZE, "titleFontSize": FONT_SIZE, "symbolSize": 30, "rowPadding": 1, "padding": 0,
        "labelLimit": 200, "columnPadding": 8, "offset": 6, "symbolStrokeWidth": 1,
    },
    "text": {"fontSize": FONT_SIZE},
}  # fmt: skip


@dataclass(frozen=True, repr=False)
class Figure:
    """A figure and what it shows.

    Attributes
    ----------
    number : int
        As in the paper.
    caption : str
        What is drawn, for the page that it goes to.
    data : pyarrow.Table
        What is drawn, as numbers.
    chart : dict
        Vega-Lite, in points.
    millimetres : float
        Its width in print; less where there are few panels.
    notes : tuple of str
        What the store lacks, so that a part is missing.
    """

    number: int
    caption: str
    data: pa.Table
    chart: Spec
    millimetres: float = TWO_COLUMNS
    notes: tuple[str, ...] = ()

    def save(self, path: str | Path) -> Path:
        """Write the figure as .svg, .pdf or .png (600 dots per inch).

        Raises
        ------
        QueryError
            If the suffix is another, or the file cannot be written.
        """
        path = Path(path)
        form = path.suffix.removeprefix(".").lower()
        if form not in FORMATS:
            raise QueryError(f"The name of a figure's file must end in .svg, .pdf or .png. Got {path.name!r}.")
        try:
            path.write_bytes(self._as(form))
        except OSError as error:
            raise QueryError(f"Cannot write {path}: {error.strerror}.") from error
        return path

    @property
    def svg(self) -> str:
        """The figure as SVG, its size in millimetres and its caption inside."""
        return self._sized("mm", per_mm=1)

    def _as(self, form: str) -> bytes:
        if form == "pdf":  # whose writer takes a unit for a point
            return bytes(vl_convert.svg_to_pdf(self._sized("", per_mm=_POINTS_PER_MM)))
        if form == "png":
            return bytes(vl_convert.svg_to_png(self.svg, scale=_PIXEL, ppi=_DOTS_PER_INCH))
        return self.svg.encode()

    def _sized(self, unit: str, per_mm: float) -> str:
        size = _SIZE.search(self._drawn)
        assert size is not None  # every SVG of Vega has one
        drawn, high = (float(points) / _POINTS_PER_MM for points in size.groups())
        # Labels make it a little wider or narrower than it should be. With few panels it is far narrower, and stays so.
        width = self.millimetres if drawn > 0.9 * self.millimetres else drawn
        height, width = per_mm * high * width / drawn, per_mm * width
        said = f"<title>Figure {self.number}</title><desc>{escape(self.caption)}</desc>"
        in_print = _SIZE.sub(f'width="{width:.2f}{unit}" height="{height:.2f}{unit}"', self._drawn, count=1)
        return re.sub("<svg[^>]*>", lambda tag: tag[0] + said, in_print, count=1)

    @cached_property
    def _drawn(self) -> str:
        return str(vl_convert.vegalite_to_svg({"config": _CONFIG, "background": "white", "padding": 2, **self.chart}))

    def _repr_svg_(self) -> str:
        """The figure, for notebooks."""
        return self.svg

    def __repr__(self) -> str:
        return f"<Figure {self.number}: {self.caption}>"


def panel_width(panels: int, *, spacing: float, beside: float, millimetres: float = TWO_COLUMNS) -> float:
    """Width in points of each of so many panels side by side; `beside` is what else needs room: labels, a legend."""
    return (millimetres * _POINTS_PER_MM - beside - (panels - 1) * spacing) / panels


def mark(rows: Iterable[Row], kind: str, encoding: Spec, **how: object) -> Spec:
    """One layer: marks of a kind over rows."""
    return {"data": {"values": list(rows)}, "mark": {"type": kind, **how}, "encoding": encoding}


def panel(layers: Iterable[Spec], width: float, height: float, title: str = "", *, above: float = 5) -> Spec:
    """Layers as one panel, with its title so far `above` it: Vega's own would move with the labels of the axes."""
    named = [text_at(0, -above, title, align="left", baseline="bottom", fontWeight="bold")] if title else []
    return {"layer": [*layers, *named], "width": width, "height": height}


def side_by_side(panels: Sequence[Spec], spacing: float) -> Spec:
    """Panels in a row."""
    return {"hconcat": list(panels), "spacing": spacing, "bounds": "flush"}


def stacked(rows: Sequence[Spec], spacing: float) -> Spec:
    """Rows of panels one below another; the room they need with their titles is measured."""
    return {"vconcat": list(rows), "spacing": spacing}


def grid(panels: Sequence[Spec], columns: int, spacing: tuple[float, float]) -> Spec:
    """Panels in rows of `columns`, with so much room beside and below each."""
    return {"concat": list(panels), "columns": columns, "bounds": "flush",
            "spacing": {"column": spacing[0], "row": spacing[1]}}  # fmt: skip


def text_at(x: float, y: float, text: str, **how: object) -> Spec:
    """Text at a place of a panel, in points from its upper left corner."""
    return mark([{"text": text}], "text", {"x": {"value": x}, "y": {"value": y}, "text": {"field": "text"}}, **how)


def by(field: str, values: Sequence[str], *, named: dict[str, str] | None = None, legend: Spec | None = None) -> Spec:
    """Colour and shape by `field`, the same for the same `values`; no legend unless asked for."""
    channel = {"field": field, "type": "nominal", "legend": legend}
    if legend is not None and named:
        channel["legend"] = {**legend, "labelExpr": f"({_expression(named)})[datum.label] || datum.label"}
    colours = [COLOURS[i % len(COLOURS)] for i in range(len(values))]
    shapes = [SHAPES[(i + i // len(COLOURS)) % len(SHAPES)] for i in range(len(values))]
    return {
        "color": {**channel, "scale": {"domain": list(values), "range": colours}},
        "shape": {**channel, "scale": {"domain": list(values), "range": shapes}},
    }


def log_ticks(values: Iterable[float], base: float, most: int) -> list[float]:
    """At most `most` whole powers of `base` around `values`, evenly spread."""
    exponents = [math.log(value, base) for value in values]
    low, high = math.floor(min(exponents) + 1e-9), math.ceil(max(exponents) - 1e-9)
    step = max(1, math.ceil((high - low + 1) / most))
    return [base**power for power in range(low, high + 1, step)]


def capital(text: str) -> str:
    """`text` with a capital at its beginning."""
    return text[:1].upper() + text[1:]


def _expression(named: dict[str, str]) -> str:
    return "{" + ", ".join(f"'{name}': '{text}'" for name, text in named.items()) + "}"
