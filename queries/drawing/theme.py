"""Themes: how the same layers look in a page and in print.

The colours are Okabe and Ito's, which differ for every kind of colour vision. A colour never carries a meaning alone: a
shape, a fill or a place says the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from queries.drawing.vega_lite import Spec, name

BLUE, VERMILION, BLACK = "#0072B2", "#D55E00", "#000000"
COLOURS = (BLUE, VERMILION, "#009E73", "#CC79A7", "#E69F00", "#56B4E9", BLACK, "#B5A800")
SHAPES = ("circle", "square", "triangle-up", "diamond", "cross", "triangle-down")


@dataclass(frozen=True)
class Theme:
    """The look of a chart.

    Attributes
    ----------
    ink : str
        Colour of text, axes and lines that mean nothing of their own.
    grey : str
        Colour of what stands back.
    font_size : float
        Of the names in a plot.
    gap : float
        Between the middle of a dot and its name.
    line, band : str
        Colours of a regression line and of the band around it.
    band_opacity : float
    line_width, bar_width, leader_width : float
        Of a regression line, an error bar, and the line from a name to its dot.
    config : dict
        Vega-Lite's `config`.
    """

    ink: str
    grey: str
    font_size: float
    gap: float
    line: str
    band: str
    band_opacity: float
    line_width: float
    bar_width: float
    leader_width: float
    config: Spec


_PAGE_INK = "currentColor"  # an SVG set into a page then follows its light or dark colours

PAGE = Theme(
    ink=_PAGE_INK,
    grey="#8a8a8a",
    font_size=11,
    gap=7,
    line=BLUE,
    band=BLUE,
    band_opacity=0.15,
    line_width=1.5,
    bar_width=1.2,
    leader_width=0.6,
    config={
        "background": "transparent",
        "font": "Helvetica, Arial, sans-serif",
        "view": {"stroke": None},
        "title": {
            "anchor": "start", "color": _PAGE_INK, "subtitleColor": _PAGE_INK, "fontSize": 13, "subtitleFontSize": 11,
            "offset": 8,
        },
        "legend": {"labelColor": _PAGE_INK, "labelFontSize": 11},
        "axis": {
            "labelColor": _PAGE_INK, "labelFontSize": 11, "labelLimit": 180, "labelPadding": 4,
            "titleColor": _PAGE_INK, "titleFontSize": 12, "titleFontWeight": "normal", "domainColor": _PAGE_INK,
            "domainOpacity": 0.5, "tickColor": _PAGE_INK, "tickOpacity": 0.5, "gridColor": _PAGE_INK,
            "gridOpacity": 0.1,
        },
    },
)  # fmt: skip
"""Charts of the report, in pixels."""

PRINT_FONT_SIZE = 7.0  # points

PRINT = Theme(
    ink=BLACK,
    grey="#999999",
    font_size=PRINT_FONT_SIZE - 1,
    gap=4,
    line="#555555",
    band="#999999",
    band_opacity=0.3,
    line_width=0.8,
    bar_width=0.7,
    leader_width=0.3,
    config={
        "background": "white",
        "padding": 2,
        "font": "Helvetica, Arial, Liberation Sans, sans-serif",
        "view": {"stroke": None},
        "title": {
            "anchor": "start", "frame": "group", "fontSize": PRINT_FONT_SIZE + 1.5, "fontWeight": "bold", "offset": 8,
        },
        "axis": {
            "labelFontSize": PRINT_FONT_SIZE - 0.5, "titleFontSize": PRINT_FONT_SIZE, "titleFontWeight": "normal",
            "titlePadding": 3, "labelColor": BLACK, "titleColor": BLACK, "domainColor": BLACK, "tickColor": BLACK,
            "domainWidth": 0.5, "tickWidth": 0.5, "tickSize": 2.5, "labelPadding": 1.5, "grid": False,
            "labelLimit": 200,
        },
        "legend": {
            "labelFontSize": PRINT_FONT_SIZE, "titleFontSize": PRINT_FONT_SIZE, "symbolSize": 30, "rowPadding": 1,
            "padding": 0, "labelLimit": 200, "columnPadding": 8, "offset": 6, "symbolStrokeWidth": 1,
        },
        "text": {"fontSize": PRINT_FONT_SIZE},
    },
)  # fmt: skip
"""Figures of the paper, in points (1/72 inch)."""


def by(field: str, values: Sequence[str], *, named: dict[str, str] | None = None, legend: Spec | None = None) -> Spec:
    """Return the channels colour and shape, both by `field`: equal for equal `values`; no legend unless asked for."""
    channel = name(field, legend=legend)
    if legend is not None and named:
        channel["legend"] = {**legend, "labelExpr": f"({_expression(named)})[datum.label] || datum.label"}
    colours = [COLOURS[i % len(COLOURS)] for i in range(len(values))]
    shapes = [SHAPES[(i + i // len(COLOURS)) % len(SHAPES)] for i in range(len(values))]
    return {
        "color": {**channel, "scale": {"domain": list(values), "range": colours}},
        "shape": {**channel, "scale": {"domain": list(values), "range": shapes}},
    }


def _expression(named: dict[str, str]) -> str:
    return "{" + ", ".join(f"'{name}': '{text}'" for name, text in named.items()) + "}"
