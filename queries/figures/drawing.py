"""The look of a printed figure, and its files: SVG, PDF and PNG of a width in millimetres.

One unit of Vega is one point (1/72 inch), so font sizes are those of the page.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

import altair as alt
import pyarrow as pa
import vl_convert
from altair.utils.schemapi import debug_mode

from featurestore.errors import QueryError

ONE_COLUMN, TWO_COLUMNS = 84.0, 174.0  # mm, as of most journals and of CVPR
FORMATS = ("svg", "pdf", "png")

# Okabe and Ito's colours, which differ for every kind of colour vision; a shape or a place always says the same.
BLACK, GREY = "#000000", "#999999"
COLOURS = ["#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#B8A900"]
SHAPES = ["circle", "square", "triangle-up", "diamond", "cross", "triangle-down"]
SETTINGS = {"fixed": "fixed features", "finetuned": "fine-tuned", "scratch": "random initialisation"}
SETTING_COLOURS = dict(zip(SETTINGS, COLOURS, strict=False))

FONT_SIZE = 7.0

Row = dict[str, Any]
Chart = alt.Chart | alt.LayerChart | alt.HConcatChart | alt.VConcatChart | alt.ConcatChart

_VEGA_LITE = ".".join(alt.SCHEMA_VERSION.split(".")[:2])
_POINTS_PER_MM = 72 / 25.4
_DOTS_PER_INCH = 600
_SIZE = re.compile(r'width="([\d.]+)" height="([\d.]+)"')


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
    chart : altair chart
        At its width in print.
    notes : tuple of str
        What the store lacks, so that a part is missing.
    """

    number: int
    caption: str
    data: pa.Table
    chart: Chart
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

    def svg(self) -> str:
        """The figure as SVG, its size in millimetres and its caption inside."""
        drawn = _svg(self.chart)
        described = f"<title>{escape(f'Figure {self.number}')}</title><desc>{escape(self.caption)}</desc>"
        sized = _SIZE.sub(_in_millimetres, drawn, count=1)
        return re.sub(r"(<svg[^>]*>)", lambda tag: f"{tag[1]}{described}", sized, count=1)

    def _as(self, form: str) -> bytes:
        if form == "svg":
            return self.svg().encode()
        if form == "pdf":
            return bytes(vl_convert.vegalite_to_pdf(_specification(self.chart), vl_version=_VEGA_LITE))
        return bytes(
            vl_convert.vegalite_to_png(
                _specification(self.chart), vl_version=_VEGA_LITE, scale=_DOTS_PER_INCH / 72, ppi=72
            )
        )

    def _repr_svg_(self) -> str:
        """The figure, for notebooks."""
        return self.svg()

    def __repr__(self) -> str:
        return f"<Figure {self.number}: {self.caption}>"


def fitted(build: Callable[[float], Chart], millimetres: float, panels: int) -> Chart:
    """Draw `build(panel width in points)` so that the whole is as wide as wanted.

    How wide labels and legends are is known only when they are drawn, so that is done, and corrected.

    Parameters
    ----------
    build : callable
    millimetres : float
    panels : int
        How many panels, all as wide, are beside one another.
    """
    goal = millimetres * _POINTS_PER_MM
    width = goal / panels * 0.8
    for _ in range(2):
        size = _SIZE.search(_svg(look(build(width))))
        assert size is not None  # every SVG of Vega has one
        width += (goal - float(size[1])) / panels
    return look(build(width))


def look(chart: Chart) -> Chart:
    """Fonts and lines, the same for all figures."""
    title = {"anchor": "start", "fontSize": FONT_SIZE + 0.5, "fontWeight": "bold", "offset": 3, "color": BLACK}
    axis = {
        "labelFontSize": FONT_SIZE - 0.5, "titleFontSize": FONT_SIZE, "titleFontWeight": "normal", "titlePadding": 3,
        "labelColor": BLACK, "titleColor": BLACK, "domainColor": BLACK, "tickColor": BLACK, "domainWidth": 0.5,
        "tickWidth": 0.5, "tickSize": 2.5, "labelPadding": 1.5, "grid": False, "labelLimit": 200,
    }  # fmt: skip
    legend = {"labelFontSize": FONT_SIZE, "titleFontSize": FONT_SIZE, "symbolSize": 30, "rowPadding": 1, "padding": 0,
              "labelLimit": 200, "columnPadding": 8, "offset": 6}  # fmt: skip
    config = {
        "background": "white", "padding": 2, "font": "Helvetica, Arial, Liberation Sans, sans-serif",
        "view": {"stroke": None}, "title": title, "axis": axis, "legend": legend, "concat": {"spacing": 8},
    }  # fmt: skip
    return chart.properties(config=alt.Config.from_dict(config, validate=False))


def chart_of(rows: Iterable[Row]) -> alt.Chart:
    """A chart over rows, which are not validated: Altair would look at each."""
    with debug_mode(False):
        return alt.Chart(alt.InlineData(values=list(rows)))


def layered(layers: Iterable[alt.Chart], width: float, height: float, title: str = "") -> alt.LayerChart:
    """Layers as one panel."""
    panel = alt.LayerChart(layer=list(layers), width=width, height=height)
    return panel.properties(title=title) if title else panel


def rows_of(panels: list[Chart], columns: int, spacing: float = 10) -> alt.VConcatChart:
    """Panels in rows of `columns`."""
    rows = [alt.hconcat(*panels[start : start + columns], spacing=spacing) for start in range(0, len(panels), columns)]
    return alt.vconcat(*rows, spacing=spacing)


def corner_text(text: str) -> alt.Chart:
    """Text in the upper left corner of a panel."""
    mark: alt.Chart = chart_of([{"text": text}]).mark_text(align="left", baseline="top", fontSize=FONT_SIZE)
    return mark.encode(x=alt.value(3), y=alt.value(2), text="text:N")


def log_ticks(values: Iterable[float], base: float, most: int) -> list[float]:
    """At most `most` whole powers of `base` around `values`, evenly spread."""
    exponents = [math.log(value, base) for value in values]
    low, high = math.floor(min(exponents) + 1e-9), math.ceil(max(exponents) - 1e-9)
    step = max(1, math.ceil((high - low + 1) / most))
    return [base**power for power in range(low, high + 1, step)]


def _specification(chart: Chart) -> Row:
    return dict(chart.to_dict(validate=False))


def _svg(chart: Chart) -> str:
    return str(vl_convert.vegalite_to_svg(_specification(chart), vl_version=_VEGA_LITE))


def _in_millimetres(size: re.Match[str]) -> str:
    width, height = (float(points) / _POINTS_PER_MM for points in size.groups())
    return f'width="{width:.2f}mm" height="{height:.2f}mm"'
