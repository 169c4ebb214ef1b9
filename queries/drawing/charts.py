"""Charts of the report: answers of questions as Vega-Lite in the theme of the page. Nothing but places is computed."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa

from featurestore.errors import QueryError
from queries.asking.setting_names import short_setting
from queries.drawing.layers import ends, zero_line
from queries.drawing.scatter import Scatter
from queries.drawing.theme import BLUE, PAGE, VERMILION
from queries.drawing.vega_lite import Row, Spec, log_ticks, mark, name, number, to_png, to_svg

FORMATS = ("svg", "png")

_GREY = PAGE.grey


def transfer_scatter(points: pa.Table, band: pa.Table, *, title: str, subtitle: str, small: bool = False) -> Spec:
    """Draw transfer against source accuracy, with names, regression line and bootstrap band.

    Parameters
    ----------
    points : pyarrow.Table
        One panel of the question `transfer_points`; at least one row.
    band : pyarrow.Table
        The same panel of `transfer_band`; no rows where there is no line.
    title, subtitle : str
    small : bool
        For a grid of panels.

    Returns
    -------
    dict
        Vega-Lite.
    """
    told = [row | {"told": _point_in_words(row)} for row in points.to_pylist()]
    titles = ("", "") if small else ("ImageNet top-1", "Mean accuracy on the datasets")
    width, height = (200, 150) if small else (380, 300)
    scatter = Scatter.of(told, band.to_pylist(), PAGE, size=(width, height), titles=titles)
    dots = scatter.dots(BLUE, 30 if small else 55, channels={"description": name("told")})
    layers = [*scatter.line(), *scatter.bars(BLUE), dots]
    if not small or len(told) <= 8:
        layers += scatter.names(9 if small else None)
    return _chart(layers, width, height, title, subtitle)


def leaderboard(rows: pa.Table) -> Spec:
    """Draw the adjusted log-odds of the compared models with their 95% intervals; filled dots tie with the best.

    Parameters
    ----------
    rows : pyarrow.Table
        The question `leaderboard`.
    """
    ranked = [row for row in rows.to_pylist() if row["rank"] is not None]
    told = [row | {"told": f"{row['model']}: {row['adjusted']:+.2f}"} for row in ranked]
    y = _listed("model", [row["model"] for row in ranked])
    title = "Log-odds above the mean of the models"
    colour = _where("datum.ties_with_best", BLUE, _GREY)
    interval = {"x": number("adjusted_low", title=title), "x2": {"field": "adjusted_high"}, "y": y, "color": colour}
    dot = {"x": number("adjusted", title=title), "y": y, "stroke": colour, "description": name("told")}
    dot["fill"] = _where("datum.ties_with_best", BLUE, "white")
    layers = [
        zero_line(PAGE),
        mark(told, "rule", interval, strokeWidth=2),
        mark(told, "point", dot, size=60, strokeWidth=2, opacity=1),
    ]
    return _chart(layers, 260, {"step": 20})


def accuracy_grid(rows: pa.Table, *, models: Sequence[str]) -> Spec:
    """Draw every accuracy in percent, each dataset shaded from its lowest to its highest.

    Parameters
    ----------
    rows : pyarrow.Table
        The question `accuracy_grid`.
    models : sequence of str
        From top to bottom.
    """
    cells = _shaded(rows.to_pylist())
    across = {"orient": "top", "labelAngle": -35, "grid": False, "ticks": False}
    at = {"x": name("dataset", title=None, axis=across), "y": _listed("model", models)}
    shades = {"domain": [0, 1], "range": ["#eaf3f9", BLUE]}
    tile = at | {"color": number("share", scale=shades, legend=None)}
    text = at | {"text": number("percent", format=".1f"), "color": _where("datum.share > 0.7", "white", "black")}
    return _chart([mark(cells, "rect", tile, stroke="white"), mark(cells, "text", text, fontSize=11)],
                  {"step": 52}, {"step": 22})  # fmt: skip


def tuning_curves(rows: pa.Table, *, title: str) -> Spec:
    """Draw the validation metric against the hyper-parameter, a line per cell.

    The chosen value is a dot; where it is an end of the grid, it is a triangle.

    Parameters
    ----------
    rows : pyarrow.Table
        One dataset of the question `tuning_curves`; at least one row, positive values only.
    title : str
    """
    tried = rows.to_pylist()
    powers = {"values": log_ticks((row["value"] for row in tried), 10, most=5), "format": ".0e"}
    x = number("value", scale={"type": "log"}, title=tried[0]["hyperparameter"], axis=powers)
    y = number("validation", scale={"zero": False}, title=None, axis={"format": "~%", "tickCount": 4})
    at = {"x": x, "y": y}
    chosen = [row for row in tried if row["chosen"]]
    inside = [row for row in chosen if not row["at_grid_edge"]]
    edges = [row for row in chosen if row["at_grid_edge"]]
    each = at | {"detail": [name("model"), name("solver"), name("seed")]}
    layers = [
        mark(tried, "line", each, color=PAGE.ink, opacity=0.35, strokeWidth=1.2),
        mark(inside, "circle", at, size=40, color=BLUE, opacity=1),
        mark(edges, "point", at, size=55, shape="triangle-up", color=VERMILION, filled=True, opacity=1),
    ]
    return _chart(layers, 200, 130, title)


def setting_differences(rows: pa.Table) -> Spec:
    """Draw the mean difference of two settings on each dataset: a colour and a shape per pair, filled where p < 0.05.

    Parameters
    ----------
    rows : pyarrow.Table
        The question `settings_by_dataset`; at least one row.
    """
    told = [
        row | {"pair": _pair(row), "told": f"{row['dataset']}, {_pair(row)}: {row['mean_difference']:+.2f}"}
        for row in rows.to_pylist()
    ]
    significant = [row for row in told if row["p"] is not None and row["p"] < 0.05]
    others = [row for row in told if row["p"] is None or row["p"] >= 0.05]
    pairs = sorted({row["pair"] for row in told})
    scale = {"domain": pairs, "range": [BLUE, VERMILION, _GREY]}
    shapes = {"domain": pairs, "range": ["circle", "square", "diamond"]}
    at = {
        "x": number("mean_difference", title="Difference of the log-odds, mean over models"),
        "y": name("dataset", title=None, axis={"grid": True, "ticks": False}),
        "color": name("pair", title=None, scale=scale, legend={"orient": "top"}),
        "shape": name("pair", title=None, scale=shapes),
        "description": name("told"),
    }
    layers = [
        zero_line(PAGE),
        mark(significant, "point", at, size=70, opacity=1, filled=True),
        mark(others, "point", at, size=70, opacity=1),
    ]
    return _chart(layers, 290, {"step": 24})


def recipe_effects(rows: pa.Table) -> Spec:
    """Draw how one difference in the training recipe changes transfer, with its standard error.

    Parameters
    ----------
    rows : pyarrow.Table
        The question `recipe_effects`; at least one row.
    """
    pairs = [row | {"pair": f"{_change(row)}, {row['model']} → {row['other']}"} for row in rows.to_pylist()]
    told = [row | {"told": f"{row['pair']}: {row['transfer_difference']:+.3f}"} for row in pairs]
    y = name("pair", title=None, sort=[row["pair"] for row in told])
    y["axis"] = {"grid": True, "ticks": False, "labelLimit": 320}
    title = "Difference of the log-odds, mean over datasets"
    barred = ends(told, "transfer_difference", "standard_error")
    bar = {"x": number("low", title=title), "x2": {"field": "high"}, "y": y}
    dot = {"x": number("transfer_difference", title=title), "y": y, "description": name("told")}
    layers = [
        zero_line(PAGE),
        mark(barred, "rule", bar, strokeWidth=2, color=BLUE),
        mark(told, "circle", dot, size=60, color=BLUE, opacity=1),
    ]
    return _chart(layers, 240, {"step": 22})


def save(chart: Spec, path: Path) -> None:
    """Write a chart on white, as SVG or PNG by the suffix of `path`.

    Raises
    ------
    QueryError
        If the suffix is another, or the file cannot be written.
    """
    form = path.suffix.removeprefix(".")
    if form not in FORMATS:
        raise QueryError(f"The format of charts must be one of {', '.join(FORMATS)}. Got {form!r}.")
    on_white = chart | {"background": "white"}
    try:
        path.write_bytes(to_svg(on_white).encode() if form == "svg" else to_png(on_white, scale=2))
    except OSError as error:
        raise QueryError(f"Cannot write the chart {path}: {error.strerror}.") from error


def _chart(layers: list[Spec], width: float | Spec, height: float | Spec, title: str = "", subtitle: str = "") -> Spec:
    """Return layers as a chart of the page; a size is in pixels, or a step per name."""
    chart = {"config": PAGE.config, "layer": layers, "width": width, "height": height}
    if title:
        chart["title"] = {"text": title, **({"subtitle": subtitle} if subtitle else {})}
    return chart


def _listed(field: str, order: Sequence[str]) -> Spec:
    """Return the upright channel that lists names in this order."""
    return name(field, title=None, sort=list(order), axis={"grid": False, "ticks": False})


def _where(test: str, value: str, otherwise: str) -> Spec:
    return {"condition": {"test": test, "value": value}, "value": otherwise}


def _shaded(rows: list[Row]) -> list[Row]:
    """Return the rows with `percent` and `share`: 0 for the lowest value of a dataset, 1 for its highest."""
    values: dict[str, list[float]] = {}
    for row in rows:
        values.setdefault(row["dataset"], []).append(row["value"])
    return [
        row | {"percent": 100 * row["value"], "share": _share(row["value"], values[row["dataset"]])} for row in rows
    ]


def _share(value: float, values: list[float]) -> float:
    low, high = min(values), max(values)
    return (value - low) / (high - low) if high > low else 0.5


def _pair(row: Row) -> str:
    return f"{short_setting(row['setting'])} over {short_setting(row['other'])}"


def _change(row: Row) -> str:
    """Name the difference of two recipes."""
    return f"{row['changed']} {row['value']} → {row['other_value']}"


def _point_in_words(row: Row) -> str:
    """Return the text that a dot shows on hover."""
    transfer = 1 / (1 + math.exp(-row["logit"]))
    return f"{row['model']}: ImageNet top-1 {row['source_value']:.1%}, {row['panel']} {transfer:.1%}"
