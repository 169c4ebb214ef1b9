"""Charts: answers of queries -> Vega-Altair. Nothing is computed here but places on the page.

Text and lines are drawn in ``currentColor``, so an SVG set into a page follows its light or dark theme. Blue and
vermilion (Okabe and Ito) differ for every kind of colour vision, and never carry a meaning alone.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import altair as alt
import pyarrow as pa
import vl_convert
from altair.utils.schemapi import debug_mode

from featurestore.errors import QueryError
from queries.drawing import chart_labels
from queries.drawing.log_odds_axis import LogOddsAxis

BLUE, VERMILION, GREY, INK = "#0072B2", "#D55E00", "#8a8a8a", "currentColor"
FORMATS = ("svg", "png")

Row = dict[str, Any]

_VEGA_LITE = ".".join(alt.SCHEMA_VERSION.split(".")[:2])  # the version that Altair writes, as vl-convert names it

_SHARE = "datum.high > datum.low ? (datum.value - datum.low) / (datum.high - datum.low) : 0.5"


def transfer_scatter(
    points: pa.Table, band: pa.Table, *, title: str, subtitle: str, small: bool = False
) -> alt.LayerChart:
    """Transfer against source accuracy, with names, regression line and bootstrap band.

    Parameters
    ----------
    points : pyarrow.Table
        One panel of the query `transfer_points`; at least one row.
    band : pyarrow.Table
        The same panel of `transfer_band`; no rows where there is no line.
    title, subtitle : str
    small : bool
        For a grid of panels.

    Returns
    -------
    altair.LayerChart
    """
    width, height = (200, 150) if small else (380, 300)
    dots, line = points.to_pylist(), band.to_pylist()
    x = LogOddsAxis.around((row["source_x"] for row in dots), width, "" if small else "ImageNet top-1")
    y = LogOddsAxis.around(_heights(dots, line), height, "" if small else "Mean accuracy on the datasets")
    layers = _band(line, x, y) if line else []
    layers += [_error_bars(dots, x, y)] if dots[0]["standard_error"] is not None else []
    told = [row | {"told": _point_in_words(row)} for row in dots]
    layers.append(
        _at(told, x, y).encode(description="told:N").mark_circle(size=30 if small else 55, color=BLUE, opacity=1)
    )
    if not small or len(dots) <= 8:
        layers += _labels(dots, x, y, font_size=9 if small else 11)
    return _finish(_layered(*layers, width=width, height=height), title, subtitle)


def leaderboard(rows: pa.Table) -> alt.LayerChart:
    """Adjusted log-odds of the compared models with their 95% intervals; filled dots tie with the best.

    Parameters
    ----------
    rows : pyarrow.Table
        The query `leaderboard`.
    """
    ranked = [row for row in rows.to_pylist() if row["rank"] is not None]
    names = alt.Y("model:N", sort=[row["model"] for row in ranked], title=None, axis=alt.Axis(grid=False, ticks=False))
    told = [row | {"told": f"{row['model']}: {row['adjusted']:+.2f}"} for row in ranked]
    base = _chart(told).encode(y=names)
    x_title = "Log-odds above the mean of the models"
    colour = alt.condition("datum.ties_with_best", alt.value(BLUE), alt.value(GREY))
    fill = alt.condition("datum.ties_with_best", alt.value(BLUE), alt.value("white"))
    middle = _chart([{"zero": 0}]).mark_rule(color=INK, opacity=0.4).encode(x="zero:Q")
    intervals = base.mark_rule(strokeWidth=2).encode(
        x=alt.X("adjusted_low:Q", title=x_title), x2="adjusted_high:Q", color=colour
    )
    dots = base.mark_point(size=60, strokeWidth=2, opacity=1).encode(
        x=alt.X("adjusted:Q", title=x_title), stroke=colour, fill=fill, description="told:N"
    )
    return _finish(_layered(middle, intervals, dots, width=260, height=alt.Step(20)))


def accuracy_grid(rows: pa.Table, *, models: Sequence[str]) -> alt.LayerChart:
    """Every accuracy in percent, each dataset shaded from its lowest to its highest.

    Parameters
    ----------
    rows : pyarrow.Table
        The query `accuracy_grid`.
    models : sequence of str
        From top to bottom.
    """
    names = alt.Y("model:N", title=None, sort=list(models), axis=alt.Axis(grid=False, ticks=False))
    base = (
        _chart(rows.to_pylist())
        .transform_joinaggregate(low="min(value)", high="max(value)", groupby=["dataset"])
        .transform_calculate(share=_SHARE)
        .encode(
            x=alt.X("dataset:N", title=None, axis=alt.Axis(orient="top", labelAngle=-35, grid=False, ticks=False)),
            y=names,
        )
    )
    tiles = base.mark_rect(stroke="white").encode(
        color=alt.Color("share:Q", scale=alt.Scale(domain=[0, 1], range=["#eaf3f9", BLUE]), legend=None)
    )
    ink = alt.condition("datum.share > 0.7", alt.value("white"), alt.value("black"))
    numbers = base.transform_calculate(percent="100 * datum.value").mark_text(fontSize=11)
    numbers = numbers.encode(text=alt.Text("percent:Q", format=".1f"), color=ink)
    return _finish(_layered(tiles, numbers, width=alt.Step(52), height=alt.Step(22)))


def tuning_curves(rows: pa.Table, *, title: str) -> alt.LayerChart:
    """Validation metric against the hyper-parameter, a line per cell; the choice is a dot, at a grid edge a triangle.

    Parameters
    ----------
    rows : pyarrow.Table
        One dataset of the query `tuning_curves`; at least one row, positive values only.
    title : str
    """
    tried = rows.to_pylist()
    x = alt.X("value:Q", scale=alt.Scale(type="log"), title=tried[0]["hyperparameter"], axis=_power_axis(tried))
    y = alt.Y("validation:Q", scale=alt.Scale(zero=False), title=None, axis=alt.Axis(format="~%", tickCount=4))
    base = _chart(tried).encode(x=x, y=y)
    lines = base.mark_line(color=INK, opacity=0.35, strokeWidth=1.2).encode(detail=["model:N", "solver:N", "seed:N"])
    chosen = base.transform_filter("datum.chosen")
    dots = chosen.transform_filter("!datum.at_grid_edge").mark_circle(size=40, color=BLUE, opacity=1)
    edges = chosen.transform_filter("datum.at_grid_edge").mark_point(
        size=55, shape="triangle-up", color=VERMILION, filled=True, opacity=1
    )
    return _finish(_layered(lines, dots, edges, width=200, height=130), title)


def setting_differences(rows: pa.Table) -> alt.LayerChart:
    """Mean difference of two settings on each dataset, a colour and a shape per pair; filled where p is below 0.05.

    Parameters
    ----------
    rows : pyarrow.Table
        The query `settings_by_dataset`; at least one row.
    """
    told = [
        row
        | {"pair": _pair(row), "significant": row["p"] is not None and row["p"] < 0.05}
        | {"told": f"{row['dataset']}, {_pair(row)}: {row['mean_difference']:+.2f}"}
        for row in rows.to_pylist()
    ]
    pairs = sorted({row["pair"] for row in told})
    colour = alt.Color(
        "pair:N",
        title=None,
        scale=alt.Scale(domain=pairs, range=[BLUE, VERMILION, GREY]),
        legend=alt.Legend(orient="top"),
    )
    shape = alt.Shape("pair:N", title=None, scale=alt.Scale(domain=pairs, range=["circle", "square", "diamond"]))
    y = alt.Y("dataset:N", title=None, axis=alt.Axis(grid=True, ticks=False))
    x = alt.X("mean_difference:Q", title="Difference of the log-odds, mean over models")
    base = _chart(told).encode(x=x, y=y, shape=shape, description="told:N")
    filled = base.transform_filter("datum.significant").mark_point(size=70, opacity=1, filled=True).encode(color=colour)
    hollow = base.transform_filter("!datum.significant").mark_point(size=70, opacity=1).encode(color=colour)
    middle = _chart([{"zero": 0}]).mark_rule(color=INK, opacity=0.4).encode(x="zero:Q")
    return _finish(_layered(middle, filled, hollow, width=290, height=alt.Step(24)))


def recipe_effects(rows: pa.Table) -> alt.LayerChart:
    """What one difference in the training recipe does to transfer, with its standard error.

    Parameters
    ----------
    rows : pyarrow.Table
        The query `recipe_effects`; at least one row.
    """
    told = [
        row
        | {"pair": f"{_change(row)}, {row['model']} → {row['other']}"}
        | {"low": row["transfer_difference"] - (row["standard_error"] or 0)}
        | {"high": row["transfer_difference"] + (row["standard_error"] or 0)}
        for row in rows.to_pylist()
    ]
    told = [row | {"told": f"{row['pair']}: {row['transfer_difference']:+.3f}"} for row in told]
    y = alt.Y(
        "pair:N", title=None, sort=[row["pair"] for row in told], axis=alt.Axis(grid=True, ticks=False, labelLimit=320)
    )
    base = _chart(told).encode(y=y)
    x_title = "Difference of the log-odds, mean over datasets"
    bars = base.mark_rule(strokeWidth=2, color=BLUE).encode(x=alt.X("low:Q", title=x_title), x2="high:Q")
    dots = base.mark_circle(size=60, color=BLUE, opacity=1).encode(
        x=alt.X("transfer_difference:Q", title=x_title), description="told:N"
    )
    middle = _chart([{"zero": 0}]).mark_rule(color=INK, opacity=0.4).encode(x="zero:Q")
    return _finish(_layered(middle, bars, dots, width=240, height=alt.Step(22)))


def to_svg(chart: alt.LayerChart) -> str:
    """Return a chart as SVG text for a page: transparent, in the colour of the text around it."""
    svg: str = vl_convert.vegalite_to_svg(_specification(chart), vl_version=_VEGA_LITE)
    return svg


def save(chart: alt.LayerChart, path: Path) -> None:
    """Write a chart on white, as SVG or PNG by the suffix of `path`.

    Raises
    ------
    QueryError
        If the suffix is another, or the file cannot be written.
    """
    form = path.suffix.removeprefix(".")
    if form not in FORMATS:
        raise QueryError(f"The format of charts must be one of {', '.join(FORMATS)}. Got {form!r}.")
    on_white = chart.properties(background="white")
    try:
        if form == "svg":
            path.write_text(to_svg(on_white), encoding="utf-8")
        else:
            path.write_bytes(vl_convert.vegalite_to_png(_specification(on_white), vl_version=_VEGA_LITE, scale=2))
    except OSError as error:
        raise QueryError(f"Cannot write the chart {path}: {error.strerror}.") from error


def _specification(chart: alt.LayerChart) -> dict[str, Any]:
    """Vega-Lite of a chart, not validated: Altair would check every row of data, most of the time of a report."""
    return chart.to_dict(validate=False)


def _chart(rows: list[Row]) -> alt.Chart:
    with debug_mode(False):  # see _specification
        return alt.Chart(alt.InlineData(values=rows))


def _layered(*layers: alt.Chart, width: int | alt.Step, height: int | alt.Step) -> alt.LayerChart:
    return alt.LayerChart(layer=list(layers), width=width, height=height)


def _finish(chart: alt.LayerChart, title: str = "", subtitle: str = "") -> alt.LayerChart:
    """Title and look, the same for all."""
    if title:
        chart = chart.properties(title=alt.TitleParams(title, subtitle=subtitle or alt.Undefined))
    look = alt.Config(
        background="transparent",
        font="Helvetica, Arial, sans-serif",
        view=alt.ViewConfig(stroke=None),
        title=alt.TitleConfig(anchor="start", color=INK, subtitleColor=INK, fontSize=13, subtitleFontSize=11, offset=8),
        legend=alt.LegendConfig(labelColor=INK, labelFontSize=11),
        axis=alt.AxisConfig(
            labelColor=INK,
            labelFontSize=11,
            labelLimit=180,
            labelPadding=4,
            titleColor=INK,
            titleFontSize=12,
            titleFontWeight="normal",
            domainColor=INK,
            domainOpacity=0.5,
            tickColor=INK,
            tickOpacity=0.5,
            gridColor=INK,
            gridOpacity=0.1,
        ),
    )
    return chart.properties(config=look)


def _pair(row: Row) -> str:
    names = {"finetuned": "fine-tuned"}
    return f"{names.get(row['setting'], row['setting'])} over {names.get(row['other'], row['other'])}"


def _change(row: Row) -> str:
    """What differs in two recipes."""
    return f"{row['changed']} {row['value']} → {row['other_value']}"


def _point_in_words(row: Row) -> str:
    """What a dot says on hover."""
    transfer = 1 / (1 + math.exp(-row["logit"]))
    return f"{row['model']}: ImageNet top-1 {row['source_value']:.1%}, {row['panel']} {transfer:.1%}"


def _heights(dots: list[Row], line: list[Row]) -> Iterator[float]:
    """Everything that the y axis must have room for."""
    for row in dots:
        margin = row["standard_error"] or 0.0
        yield from (row["logit"] - margin, row["logit"] + margin)
    for row in line:
        yield from (row["logit_low"], row["logit_high"])


def _at(rows: list[Row], x: LogOddsAxis, y: LogOddsAxis, height: str = "logit") -> alt.Chart:
    chart: alt.Chart = _chart(rows).encode(x=x.encoded(alt.X, "source_x"), y=y.encoded(alt.Y, height))
    return chart


def _power_axis(rows: Sequence[Row]) -> alt.Axis:
    """Ticks at a few whole powers of ten."""
    exponents = [math.log10(row["value"]) for row in rows]
    low, high = math.floor(min(exponents)), math.ceil(max(exponents))
    step = max(1, math.ceil((high - low) / 4))
    return alt.Axis(values=[10.0**power for power in range(low, high + 1, step)], format=".0e")


def _band(line: list[Row], x: LogOddsAxis, y: LogOddsAxis) -> list[alt.Chart]:
    area = _at(line, x, y, "logit_low").encode(y2="logit_high:Q").mark_area(color=BLUE, opacity=0.15)
    return [area, _at(line, x, y).mark_line(color=BLUE, strokeWidth=1.5)]


def _error_bars(dots: list[Row], x: LogOddsAxis, y: LogOddsAxis) -> alt.Chart:
    ends = [
        row | {"low": row["logit"] - row["standard_error"], "high": row["logit"] + row["standard_error"]}
        for row in dots
    ]
    bars: alt.Chart = _at(ends, x, y, "low").mark_rule(color=BLUE, strokeWidth=1.2).encode(y2="high:Q")
    return bars


def _labels(dots: list[Row], x: LogOddsAxis, y: LogOddsAxis, font_size: int) -> list[alt.Chart]:
    """Model names beside their dots. A name that would cover a dot or another name is left out."""
    placed = list(_place(dots, x, y, font_size))
    return [
        _at(rows, x, y).encode(text="model:N").mark_text(align=align, baseline="middle", fontSize=font_size, color=INK)
        for align in ("left", "right", "center")
        if (rows := [row for row in placed if row["align"] == align])
    ]


def _place(dots: list[Row], x: LogOddsAxis, y: LogOddsAxis, font_size: int) -> Iterator[Row]:
    centres = [(x.pixel(row["source_x"]), y.pixel(row["logit"]), row["model"]) for row in dots]
    for label in chart_labels.place(centres, width=x.pixels, height=y.pixels, font_size=font_size):
        here = {"source_x": x.value(label.x), "logit": y.value(label.y)}
        yield {"model": label.text, "align": label.align, **here}
