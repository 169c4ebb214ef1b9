"""Figures 1 and 2: transfer against source accuracy, on log-odds axes in percent."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import pyarrow as pa

from queries.asking.database import Database
from queries.drawing import chart_labels
from queries.drawing.figures import drawing
from queries.drawing.figures.choice import IMPORT, Choice, lacks
from queries.drawing.figures.drawing import COLOURS, FONT_SIZE, GREY, SETTINGS, Figure, Row, Spec, mark
from queries.drawing.log_odds_axis import LogOddsAxis

MEAN_PANEL = "mean over datasets"  # as the question transfer_points calls it

_NO_SOURCE = "Say imagenet_top1 in a study's [[model]], or in: probestore import results FILE.csv --models MODELS.csv"
_MOST_NAMED = 24  # models; of more, those are named that have room beside their dots
_COLUMNS = 6  # panels of datasets beside one another; that of the mean takes the room of two


@dataclass(frozen=True)
class _Panel:
    """A panel: its points, the line with its band, and r."""

    setting: str
    name: str
    points: list[Row]
    band: list[Row]
    r: float | None

    @property
    def is_mean(self) -> bool:
        return self.name == MEAN_PANEL

    def axes(self, width: float, height: float, *, small: bool) -> tuple[LogOddsAxis, LogOddsAxis]:
        """Axes with room for points, error bars and band."""
        ticks = 3 if small else 6
        heights = [row["logit"] + side * (row["standard_error"] or 0) for row in self.points for side in (-1, 1)]
        heights += [row[end] for row in self.band for end in ("logit_low", "logit_high")]
        x = [row["source_x"] for row in self.points]
        return (
            LogOddsAxis.around(x, width, "" if small else "ImageNet top-1", ticks),
            LogOddsAxis.around(heights, height, "" if small else "Transfer accuracy", ticks),
        )


def means(database: Database, choice: Choice) -> Figure:
    """Figure 1: the mean over datasets, of fixed features and fine-tuned."""
    asked = ("fixed", "finetuned")
    panels = [panel for setting in asked for panel in _mean(database, choice, setting)]
    _check(1, panels, choice)
    millimetres = drawing.TWO_COLUMNS if len(panels) > 1 else drawing.ONE_COLUMN
    width = drawing.panel_width(len(panels), spacing=46, beside=40, millimetres=millimetres)
    return Figure(
        1,
        "Transfer against ImageNet top-1, both on a log-odds scale: mean over datasets, with standard errors (Morey "
        f"2008), regression line and its 95% bootstrap band over models. {_sizes(panels)}",
        _data(panels),
        drawing.side_by_side([_named_panel(panel, width) for panel in panels], 46),
        millimetres,
        _missing(panels, asked),
    )


def every_dataset(database: Database, choice: Choice) -> Figure:
    """Figure 2: every setting, as the mean over datasets and dataset by dataset."""
    panels = [panel for setting in SETTINGS for panel in _panels(database, choice, setting)]
    _check(2, panels, choice)
    blocks = [[panel for panel in panels if panel.setting == setting] for setting in SETTINGS]
    return Figure(
        2,
        "Transfer against ImageNet top-1, both on a log-odds scale, in each setting: mean over datasets, then each "
        "dataset, with regression line, its 95% bootstrap band over models, and Pearson's r. Blue: models not "
        f"significantly below the best of the panel (p > 0.05); grey: the others. {_tests(panels)}{_sizes(panels)}",
        _data(panels),
        drawing.stacked([_block(block) for block in blocks if block], 12),
        notes=_missing(panels, SETTINGS),
    )


def _panels(database: Database, choice: Choice, setting: str) -> list[_Panel]:
    """The panels of a setting: the mean, then each dataset."""
    mean = _mean(database, choice, setting)
    asked = choice.slice() | {"setting": setting}
    tests = {(row["dataset"], row["model"]): row for row in database.query("best_by_dataset", **asked).to_pylist()}
    found = {row["dataset"]: row["r"] for row in database.query("correlation_by_dataset", **asked).to_pylist()}
    points = _by_panel(database.query("transfer_points", **asked).to_pylist())
    band = _by_panel(database.query("transfer_band", **asked, seed=choice.seed).to_pylist())
    names = sorted(set(points) - {MEAN_PANEL}, key=lambda name: (name.lower(), name))
    tested = {
        name: [
            row | {key: tests[name, row["model"]][key] for key in ("test", "ties_with_best")} for row in points[name]
        ]
        for name in names
    }
    return [*mean, *(_Panel(setting, name, tested[name], band.get(name, []), found[name]) for name in names)]


def _mean(database: Database, choice: Choice, setting: str) -> list[_Panel]:
    """The panel of the mean, if there are models to compare."""
    asked = choice.slice() | {"setting": setting}
    points = _by_panel(database.query("transfer_points", **asked).to_pylist()).get(MEAN_PANEL, [])
    band = _by_panel(database.query("transfer_band", **asked, seed=choice.seed).to_pylist()).get(MEAN_PANEL, [])
    ties = {row["model"]: row["ties_with_best"] for row in database.query("leaderboard", **asked).to_pylist()}
    tested = [row | {"test": "paired t", "ties_with_best": ties[row["model"]]} for row in points]
    r = database.query("transfer_correlation", **asked).to_pylist()[0]["r"]
    return [_Panel(setting, MEAN_PANEL, tested, band, r)] if points else []


def _by_panel(rows: list[Row]) -> dict[str, list[Row]]:
    panels: dict[str, list[Row]] = {}
    for row in rows:
        panels.setdefault(row["panel"], []).append(row)
    return panels


def _check(number: int, panels: list[_Panel], choice: Choice) -> None:
    if not panels:
        needs = f"{choice.results()}, of models whose imagenet_top1 is known"
        raise lacks(number, needs, f"{IMPORT}. {_NO_SOURCE}")


def _missing(panels: list[_Panel], asked: Iterable[str]) -> tuple[str, ...]:
    there = {panel.setting for panel in panels}
    lacking = [SETTINGS[setting] for setting in asked if setting not in there]
    return (f"There are no results to draw of: {', '.join(lacking)}. {IMPORT}",) if lacking else ()


def _block(panels: list[_Panel]) -> Spec:
    """A setting: the mean, as large as two rows of datasets, which are beside it."""
    spacing = (20.0, 38.0)
    width = drawing.panel_width(_COLUMNS + 2, spacing=spacing[0], beside=44)
    height = 0.85 * width
    small = [_small_panel(panel, width, height) for panel in panels if not panel.is_mean]
    large = [
        _mean_panel(panel, 2 * width + 10, 2 * height + spacing[1], "Mean over datasets")
        for panel in panels
        if panel.is_mean
    ]
    columns = min(_COLUMNS, math.ceil(len(small) / 2))
    title = drawing.capital(SETTINGS[panels[0].setting])
    return {**drawing.side_by_side([*large, drawing.grid(small, columns, spacing)], 30), "title": title}


def _named_panel(panel: _Panel, width: float) -> Spec:
    """The mean with the names of the models, in one colour."""
    height = 0.72 * width
    x, y = panel.axes(width, height, small=False)
    blue = {"color": {"value": COLOURS[0]}}
    layers = [*_line(panel, x, y), *_bars(panel, x, y, blue), _dots(panel.points, x, y, 16, blue)]
    layers += _names(panel, x, y)
    return _titled(panel, layers, width, height, drawing.capital(SETTINGS[panel.setting]))


def _mean_panel(panel: _Panel, width: float, height: float, title: str) -> Spec:
    x, y = panel.axes(width, height, small=False)
    layers = [*_line(panel, x, y)]
    for rows, colour in _by_tie(panel):
        layers += [*_bars(panel, x, y, colour, rows), _dots(rows, x, y, 18, colour)]
    return _titled(panel, layers, width, height, title)


def _small_panel(panel: _Panel, width: float, height: float) -> Spec:
    x, y = panel.axes(width, height, small=True)
    dots = [_dots(rows, x, y, 9, colour) for rows, colour in _by_tie(panel)]
    return _titled(panel, [*_line(panel, x, y), *dots], width, height, panel.name)


def _by_tie(panel: _Panel) -> Iterator[tuple[list[Row], Spec]]:
    """Points and their colour: those that tie with the best above the others."""
    for tie, colour in ((False, GREY), (True, COLOURS[0])):
        rows = [row for row in panel.points if (row["ties_with_best"] is True) is tie]
        if rows:
            yield rows, {"color": {"value": colour}}


def _at(x: LogOddsAxis, y: LogOddsAxis, height: str = "logit") -> Spec:
    return {"x": x.specification("source_x"), "y": y.specification(height)}


def _line(panel: _Panel, x: LogOddsAxis, y: LogOddsAxis) -> Iterator[Spec]:
    if panel.band:
        area = _at(x, y, "logit_low") | {"y2": {"field": "logit_high"}}
        yield mark(panel.band, "area", area, color=GREY, opacity=0.3)
        yield mark(panel.band, "line", _at(x, y), color="#555555", strokeWidth=0.8)


def _bars(panel: _Panel, x: LogOddsAxis, y: LogOddsAxis, colour: Spec, rows: list[Row] | None = None) -> Iterator[Spec]:
    ends = [
        row | {"low": row["logit"] - row["standard_error"], "high": row["logit"] + row["standard_error"]}
        for row in (panel.points if rows is None else rows)
        if row["standard_error"] is not None
    ]
    if ends:
        yield mark(ends, "rule", _at(x, y, "low") | {"y2": {"field": "high"}} | colour, strokeWidth=0.7)


def _dots(rows: list[Row], x: LogOddsAxis, y: LogOddsAxis, size: float, colour: Spec) -> Spec:
    return mark(rows, "circle", _at(x, y) | colour, size=size, opacity=1)


def _names(panel: _Panel, x: LogOddsAxis, y: LogOddsAxis) -> Iterator[Spec]:
    """The models' names, off error bars and line where there is room; far ones with a line to their dots."""
    # From the right, where there is least room beside a dot.
    points = sorted(panel.points, key=lambda row: -row["source_x"])
    dots = [(x.pixel(row["source_x"]), y.pixel(row["logit"]), row["model"]) for row in points]
    size, gap = FONT_SIZE - 1, 4.0
    reach = (1.0, 2.5, 4.0, 6.0, 8.0) if len(dots) <= _MOST_NAMED else (1.0,)
    avoid = [*_boxes_of_bars(panel, x, y), *_boxes_of_line(panel, x, y)]
    placed = list(
        chart_labels.place(dots, width=x.pixels, height=y.pixels, font_size=size, gap=gap, reach=reach, avoid=avoid)
    )
    for label in placed:
        dot = dots[label.position]
        if max(abs(label.x - dot[0]), abs(label.y - dot[1])) > 2.4 * gap:
            ends = [{"source_x": x.value(px), "logit": y.value(py)} for px, py in (dot[:2], (label.x, label.y))]
            yield mark(ends, "line", _at(x, y), strokeWidth=0.3, color=GREY)
    for align in ("left", "right", "center"):
        rows = [
            {"model": label.text, "source_x": x.value(label.x), "logit": y.value(label.y)}
            for label in placed
            if label.align == align
        ]
        yield mark(
            rows, "text", _at(x, y) | {"text": {"field": "model"}}, align=align, baseline="middle", fontSize=size
        )


def _boxes_of_bars(panel: _Panel, x: LogOddsAxis, y: LogOddsAxis) -> Iterator[chart_labels.Box]:
    for row in panel.points:
        error = row["standard_error"] or 0.0
        place = x.pixel(row["source_x"])
        yield place - 1, y.pixel(row["logit"] - error), place + 1, y.pixel(row["logit"] + error)


def _boxes_of_line(panel: _Panel, x: LogOddsAxis, y: LogOddsAxis) -> Iterator[chart_labels.Box]:
    ends = [(x.pixel(row["source_x"]), y.pixel(row["logit"])) for row in panel.band]
    for (left, low), (right, high) in itertools.pairwise(ends):
        yield left, min(low, high), right, max(low, high)


def _titled(panel: _Panel, layers: Iterable[Spec], width: float, height: float, title: str) -> Spec:
    """Layers as a panel, with r between its title and the plot, where it hides nothing."""
    r = "r = –" if panel.r is None else f"r = {panel.r:.2f}"
    said = drawing.text_at(0, -3, r, align="left", baseline="bottom")
    return drawing.panel([*layers, said], width, height, title, above=3 + FONT_SIZE + 2)


def _data(panels: list[_Panel]) -> pa.Table:
    columns = ("panel", "model", "source_value", "source_x", "logit", "standard_error", "ties_with_best", "test")
    rows = [
        {"setting": panel.setting, **{name: row[name] for name in columns}, "r": panel.r}
        for panel in panels
        for row in panel.points
    ]
    return pa.Table.from_pylist(rows)


def _sizes(panels: list[_Panel]) -> str:
    """How many models and datasets there are, in a sentence."""
    datasets = {panel.name for panel in panels if not panel.is_mean}
    models = max(len(panel.points) for panel in panels)
    return f"{models} models{f', {len(datasets)} datasets' if datasets else ''}."


def _tests(panels: list[_Panel]) -> str:
    """Which tests were made, in a sentence."""
    used = {row["test"] for panel in panels if not panel.is_mean for row in panel.points if row["test"]}
    named = {"exact McNemar": "exact McNemar tests", "unpaired z": "z-tests that do not know of shared images"}
    listed = " or ".join(named[test] for test in sorted(used))
    return f"Tested by paired t over datasets{f', and on a dataset by {listed}' if listed else ''}. "
