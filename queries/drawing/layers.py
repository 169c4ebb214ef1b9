"""Layers of charts, the same for the report and for the figures of the paper; a theme gives them their look."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Sequence

from queries.drawing import chart_labels
from queries.drawing.log_odds_axis import LogOddsAxis
from queries.drawing.theme import Theme
from queries.drawing.vega_lite import Row, Spec, mark, number

_MOST_NAMED = 24  # models; of more, those are named that have room beside their dots
_NEAR, _FAR = (1.0,), (1.0, 2.5, 4.0, 6.0, 8.0)  # distances of a name from its dot, as multiples of the theme's gap
_FEW_GAPS = 2.4  # a name that lies further off than this gets a line to its dot


def ends(rows: Iterable[Row], value: str, error: str) -> list[Row]:
    """Return the rows that have an error, with `low` and `high`: value less error, value plus error."""
    return [
        row | {"low": row[value] - row[error], "high": row[value] + row[error]}
        for row in rows
        if row.get(error) is not None
    ]


def reach(rows: Iterable[Row], value: str, error: str) -> list[float]:
    """Return every value and the ends of its error bar: all that an axis must have room for."""
    return [row[value] + side * (row.get(error) or 0.0) for row in rows for side in (-1, 1)]


def error_bars(
    rows: Iterable[Row], x: Spec, y: LogOddsAxis, value: str, error: str, channels: Spec | None = None, **how: object
) -> list[Spec]:
    """Return upright bars of value ± error at the places of the channel `x`; no layer where no row has an error."""
    barred = ends(rows, value, error)
    encoding = {"x": x, "y": y.specification("low"), "y2": {"field": "high"}, **(channels or {})}
    return [mark(barred, "rule", encoding, **how)] if barred else []


def zero_line(theme: Theme) -> Spec:
    """Return an upright line at 0."""
    return mark([{"zero": 0}], "rule", {"x": number("zero")}, color=theme.ink, opacity=0.4)


def identity_line(x: LogOddsAxis, y: LogOddsAxis, across: str, up: str, theme: Theme) -> Spec:
    """Return the dashed line on which the columns `across` and `up` are equal."""
    along = [{across: end, up: end} for end in (min(x.low, y.low), max(x.high, y.high))]
    at = {"x": x.specification(across), "y": y.specification(up)}
    return mark(along, "line", at, color=theme.grey, strokeWidth=0.8, strokeDash=[3, 2])


def regression_line(band: Sequence[Row], x: LogOddsAxis, y: LogOddsAxis, theme: Theme) -> list[Spec]:
    """Return the bootstrap band and the line inside it, of rows of the question `transfer_band`; none without rows."""
    if not band:
        return []
    area = {
        "x": x.specification("source_x"), "y": y.specification("logit_low"), "y2": {"field": "logit_high"},
    }  # fmt: skip
    line = {"x": x.specification("source_x"), "y": y.specification("logit")}
    return [
        mark(band, "area", area, color=theme.band, opacity=theme.band_opacity),
        mark(band, "line", line, color=theme.line, strokeWidth=theme.line_width),
    ]


def names(
    points: Sequence[Row], band: Sequence[Row], x: LogOddsAxis, y: LogOddsAxis, theme: Theme, font_size: float
) -> Iterator[Spec]:
    """Return the models' names beside their dots, off error bars and line where there is room.

    A name that stands far off has a line to its dot. A name that would cover a dot or another name is left out.
    """
    labels = placed_names(points, band, x, y, theme, font_size)
    at = {"x": x.specification("source_x"), "y": y.specification("logit")}
    for dot, label in labels:
        if max(abs(label.x - dot[0]), abs(label.y - dot[1])) > _FEW_GAPS * theme.gap:
            along = [{"source_x": x.value(px), "logit": y.value(py)} for px, py in (dot, (label.x, label.y))]
            yield mark(along, "line", at, strokeWidth=theme.leader_width, color=theme.grey)
    for align in ("left", "right", "center"):
        rows = [
            {"model": label.text, "source_x": x.value(label.x), "logit": y.value(label.y)}
            for _, label in labels
            if label.align == align
        ]
        if rows:
            text = {"text": {"field": "model"}}
            yield mark(rows, "text", at | text, align=align, baseline="middle", fontSize=font_size, color=theme.ink)


def placed_names(
    points: Sequence[Row], band: Sequence[Row], x: LogOddsAxis, y: LogOddsAxis, theme: Theme, font_size: float
) -> list[tuple[tuple[float, float], chart_labels.Label]]:
    """Return (dot, label) of each model that is named, in units from the lower left corner of the plot."""
    # From the right, where there is least room beside a dot.
    points = sorted(points, key=lambda row: -row["source_x"])
    dots = [(x.pixel(row["source_x"]), y.pixel(row["logit"]), row["model"]) for row in points]
    found = chart_labels.place(
        dots,
        width=x.pixels,
        height=y.pixels,
        font_size=font_size,
        gap=theme.gap,
        reach=_FAR if len(dots) <= _MOST_NAMED else _NEAR,
        avoid=[*_boxes_of_bars(points, x, y), *_boxes_of_line(band, x, y)],
    )
    return [(dots[label.position][:2], label) for label in found]


def _boxes_of_bars(points: Iterable[Row], x: LogOddsAxis, y: LogOddsAxis) -> Iterator[chart_labels.Box]:
    for row in points:
        error = row["standard_error"] or 0.0
        place = x.pixel(row["source_x"])
        yield place - 1, y.pixel(row["logit"] - error), place + 1, y.pixel(row["logit"] + error)


def _boxes_of_line(band: Iterable[Row], x: LogOddsAxis, y: LogOddsAxis) -> Iterator[chart_labels.Box]:
    places = [(x.pixel(row["source_x"]), y.pixel(row["logit"])) for row in band]
    for (left, low), (right, high) in itertools.pairwise(places):
        yield left, min(low, high), right, max(low, high)
