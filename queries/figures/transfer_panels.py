"""Figures 1 and 2: transfer against source accuracy, on log-odds axes in percent."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import altair as alt
import pyarrow as pa

from queries import chart_labels
from queries.database import Database
from queries.figures import drawing
from queries.figures.choice import IMPORT, Choice, lacks
from queries.figures.drawing import COLOURS, FONT_SIZE, GREY, SETTINGS, Figure, Row
from queries.log_odds_axis import LogOddsAxis

MEAN_PANEL = "mean over datasets"  # as the question transfer_points calls it

_NO_SOURCE = "Say imagenet_top1 in a study's [[model]], or in: probestore import results FILE.csv --models MODELS.csv"


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


def means(database: Database, choice: Choice) -> Figure:
    """Figure 1: the mean over datasets, of fixed features and fine-tuned."""
    asked = ("fixed", "finetuned")
    panels = [panel for setting in asked for panel in _panels(database, choice, setting) if panel.is_mean]
    _check(1, panels, choice)

    def build(width: float) -> drawing.Chart:
        drawn = [_mean_panel(panel, width, names=True) for panel in panels]
        return alt.hconcat(*drawn, spacing=14)

    return Figure(
        1,
        "Transfer against ImageNet top-1, both on a log-odds scale: mean over datasets, with standard errors (Morey "
        f"2008), regression line and its 95% bootstrap band over models. {_sizes(panels)}",
        _data(panels),
        drawing.fitted(build, drawing.TWO_COLUMNS if len(panels) > 1 else drawing.ONE_COLUMN, len(panels)),
        _missing(panels, asked),
    )


def every_dataset(database: Database, choice: Choice) -> Figure:
    """Figure 2: every setting, as the mean over datasets and dataset by dataset."""
    panels = [panel for setting in SETTINGS for panel in _panels(database, choice, setting)]
    _check(2, panels, choice)
    columns = 6
    by_setting = [[panel for panel in panels if panel.setting == setting] for setting in SETTINGS]

    def build(width: float) -> drawing.Chart:
        blocks = [_block(block, width, columns) for block in by_setting if block]
        return alt.vconcat(*blocks, spacing=14)

    return Figure(
        2,
        "Transfer against ImageNet top-1, both on a log-odds scale, in each setting: mean over datasets, then each "
        "dataset, with regression line, its 95% bootstrap band over models, and Pearson's r. Blue: models not "
        f"significantly below the best of the panel (p > 0.05); grey: the others. {_tests(panels)}{_sizes(panels)}",
        _data(panels),
        drawing.fitted(build, drawing.TWO_COLUMNS, columns + 2),
        _missing(panels, SETTINGS),
    )


def _panels(database: Database, choice: Choice, setting: str) -> list[_Panel]:
    """The panels of a setting, the mean first."""
    asked = choice.slice() | {"setting": setting}
    points = database.query("transfer_points", **asked).to_pylist()
    band = database.query("transfer_band", **asked, seed=choice.seed).to_pylist()
    ties = {row["model"]: row["ties_with_best"] for row in database.query("leaderboard", **asked).to_pylist()}
    tests = {(row["dataset"], row["model"]): row for row in database.query("best_by_dataset", **asked).to_pylist()}
    found = {row["dataset"]: row["r"] for row in database.query("correlation_by_dataset", **asked).to_pylist()}
    found[MEAN_PANEL] = database.query("transfer_correlation", **asked).to_pylist()[0]["r"]
    names = sorted({row["panel"] for row in points}, key=lambda name: (name != MEAN_PANEL, name))
    for row in points:
        test = tests.get((row["panel"], row["model"]), {})
        row["test"] = "paired t" if row["panel"] == MEAN_PANEL else test.get("test")
        row["ties_with_best"] = ties[row["model"]] if row["panel"] == MEAN_PANEL else test["ties_with_best"]
    return [
        _Panel(
            setting,
            name,
            [row for row in points if row["panel"] == name],
            [row for row in band if row["panel"] == name],
            found[name],
        )
        for name in names
    ]


def _check(number: int, panels: list[_Panel], choice: Choice) -> None:
    if not panels:
        needs = f"{choice.results()}, of models whose imagenet_top1 is known"
        raise lacks(number, needs, f"{IMPORT}. {_NO_SOURCE}")


def _missing(panels: list[_Panel], asked: tuple[str, ...] | dict[str, str]) -> tuple[str, ...]:
    there = {panel.setting for panel in panels}
    lacking = [SETTINGS[setting] for setting in asked if setting not in there]
    return (f"There are no results to draw of: {', '.join(lacking)}. {IMPORT}",) if lacking else ()


def _block(panels: list[_Panel], width: float, columns: int) -> alt.HConcatChart:
    """A setting: the mean as large as two rows of datasets, which are beside it."""
    means = [_mean_panel(panel, 2 * width, names=False) for panel in panels if panel.is_mean]
    small: list[drawing.Chart] = [_small_panel(panel, width) for panel in panels if not panel.is_mean]
    grid = drawing.rows_of(small, columns, spacing=9)
    title = alt.TitleParams(_capital(SETTINGS[panels[0].setting]), fontSize=FONT_SIZE + 1.5, offset=5)
    return alt.hconcat(*means, grid, spacing=14).properties(title=title)


def _mean_panel(panel: _Panel, width: float, *, names: bool) -> alt.LayerChart:
    height = 0.72 * width if names else 0.9 * width
    x, y = _axes(panel, width, height, titled=True)
    ends = [
        row | {"low": row["logit"] - row["standard_error"], "high": row["logit"] + row["standard_error"]}
        for row in panel.points
        if row["standard_error"] is not None
    ]
    bars = _at(ends, x, y, "low").mark_rule(strokeWidth=0.7).encode(y2="high:Q", color=_colour(names))
    layers = [*_line(panel, x, y), bars, *_dots(panel, x, y, 16, plain=names)]
    if names:
        layers += _names(panel, x, y)
    title = _capital(SETTINGS[panel.setting]) if names else "Mean over datasets"
    return drawing.layered([*layers, _r(panel)], width, height, title)


def _small_panel(panel: _Panel, width: float) -> alt.LayerChart:
    height = 0.8 * width
    x, y = _axes(panel, width, height, titled=False)
    return drawing.layered([*_line(panel, x, y), *_dots(panel, x, y, 8), _r(panel)], width, height, panel.name)


def _axes(panel: _Panel, width: float, height: float, *, titled: bool) -> tuple[LogOddsAxis, LogOddsAxis]:
    ticks = 6 if titled else 3
    heights = [row["logit"] + side * (row["standard_error"] or 0) for row in panel.points for side in (-1, 1)]
    heights += [row[end] for row in panel.band for end in ("logit_low", "logit_high")]
    x = [row["source_x"] for row in panel.points]
    return (
        LogOddsAxis.around(x, width, "ImageNet top-1" if titled else "", ticks),
        LogOddsAxis.around(heights, height, "Transfer accuracy" if titled else "", ticks),
    )


def _at(rows: list[Row], x: LogOddsAxis, y: LogOddsAxis, height: str = "logit") -> alt.Chart:
    chart: alt.Chart = drawing.chart_of(rows).encode(x=x.encoded(alt.X, "source_x"), y=y.encoded(alt.Y, height))
    return chart


def _line(panel: _Panel, x: LogOddsAxis, y: LogOddsAxis) -> Iterator[alt.Chart]:
    if panel.band:
        yield _at(panel.band, x, y, "logit_low").encode(y2="logit_high:Q").mark_area(color=GREY, opacity=0.3)
        yield _at(panel.band, x, y).mark_line(color="#555555", strokeWidth=0.8)


def _dots(panel: _Panel, x: LogOddsAxis, y: LogOddsAxis, size: float, *, plain: bool = False) -> Iterator[alt.Chart]:
    """Those that tie with the best above the others."""
    for tie in (False, True):
        rows = [row for row in panel.points if bool(row["ties_with_best"]) is tie]
        if rows:
            yield _at(rows, x, y).mark_circle(size=size, opacity=1).encode(color=_colour(plain))


def _colour(plain: bool) -> alt.Value | alt.Condition:
    """Blue for all, or for those that tie with the best."""
    blue = alt.value(COLOURS[0])
    return blue if plain else alt.condition("datum.ties_with_best === true", blue, alt.value(GREY))


def _names(panel: _Panel, x: LogOddsAxis, y: LogOddsAxis) -> Iterator[alt.Chart]:
    dots = [(x.pixel(row["source_x"]), y.pixel(row["logit"]), row["model"]) for row in panel.points]
    size = FONT_SIZE - 1
    placed = list(chart_labels.place(dots, width=x.pixels, height=y.pixels, font_size=size, gap=4.5))
    for align in ("left", "right", "center"):
        rows = [
            {"model": label.text, "source_x": x.value(label.x), "logit": y.value(label.y)}
            for label in placed
            if label.align == align
        ]
        if rows:
            yield _at(rows, x, y).encode(text="model:N").mark_text(align=align, baseline="middle", fontSize=size)


def _r(panel: _Panel) -> alt.Chart:
    return drawing.corner_text("" if panel.r is None else f"r = {panel.r:.2f}")


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


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]
