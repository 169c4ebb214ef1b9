"""Figures 1 and 2: transfer against source accuracy, on log-odds axes in percent."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import pyarrow as pa

from featurestore.plain_text import counted
from featurestore.store.schema import SETTINGS
from queries.asking.database import Database
from queries.asking.setting_names import setting_as_title, setting_in_words
from queries.drawing.figures import arrange
from queries.drawing.figures.choice import IMPORT, Choice, lacks
from queries.drawing.figures.figure import Figure
from queries.drawing.scatter import MEAN_PANEL, Scatter
from queries.drawing.theme import BLUE, PRINT, PRINT_FONT_SIZE
from queries.drawing.vega_lite import Row, Spec, text_at

_NO_SOURCE = "State imagenet_top1 in a study's [[model]], or in: probestore import results FILE.csv --models MODELS.csv"
_COLUMNS = 6  # panels of datasets beside one another; that of the mean takes the room of two


@dataclass(frozen=True)
class _Panel:
    """One panel: its points, the line with its band, and r."""

    setting: str
    name: str
    points: list[Row]
    band: list[Row]
    r: float | None

    @property
    def is_mean(self) -> bool:
        return self.name == MEAN_PANEL

    def scatter(self, width: float, height: float, *, small: bool = False) -> Scatter:
        titles = ("", "") if small else ("ImageNet top-1", "Transfer accuracy")
        return Scatter.of(self.points, self.band, PRINT, size=(width, height), titles=titles, ticks=3 if small else 6)


def means(database: Database, choice: Choice) -> Figure:
    """Draw figure 1: the mean over datasets, of fixed features and fine-tuned."""
    asked = ("fixed", "finetuned")
    panels = [panel for setting in asked for panel in _mean(database, choice, setting)]
    _check(1, panels, choice)
    millimetres = arrange.TWO_COLUMNS if len(panels) > 1 else arrange.ONE_COLUMN
    width = arrange.panel_width(len(panels), spacing=46, beside=40, millimetres=millimetres)
    return Figure(
        1,
        "Transfer against ImageNet top-1, both on a log-odds scale: mean over datasets, with standard errors (Morey "
        f"2008), regression line and its 95% bootstrap band over models. {_sizes(panels)}",
        _data(panels),
        arrange.side_by_side([_named_panel(panel, width) for panel in panels], 46),
        millimetres,
        _missing(panels, asked),
    )


def every_dataset(database: Database, choice: Choice) -> Figure:
    """Draw figure 2: every setting, as the mean over datasets and dataset by dataset."""
    panels = [panel for setting in SETTINGS for panel in _panels(database, choice, setting)]
    _check(2, panels, choice)
    blocks = [[panel for panel in panels if panel.setting == setting] for setting in SETTINGS]
    return Figure(
        2,
        "Transfer against ImageNet top-1, both on a log-odds scale, in each setting: mean over datasets, then each "
        "dataset, with regression line, its 95% bootstrap band over models, and Pearson's r. Blue: models not "
        f"significantly below the best of the panel (p > 0.05); grey: the others. {_tests(panels)}{_sizes(panels)}",
        _data(panels),
        arrange.stacked([_block(block) for block in blocks if block], 12),
        notes=_missing(panels, SETTINGS),
    )


def _panels(database: Database, choice: Choice, setting: str) -> list[_Panel]:
    """Return the panels of a setting: the mean, then each dataset."""
    mean = _mean(database, choice, setting)
    asked = choice.slice() | {"setting": setting}
    tests = {(row["dataset"], row["model"]): row for row in database.query("best_by_dataset", **asked).to_pylist()}
    found = {row["dataset"]: row["r"] for row in database.query("correlation_by_dataset", **asked).to_pylist()}
    points = _by_panel(database.query("transfer_points", **asked).to_pylist())
    band = _by_panel(database.query("transfer_band", **asked, seed=choice.seed).to_pylist())
    names = arrange.in_order(set(points) - {MEAN_PANEL})
    tested = {
        name: [
            row | {key: tests[name, row["model"]][key] for key in ("test", "ties_with_best")} for row in points[name]
        ]
        for name in names
    }
    return [*mean, *(_Panel(setting, name, tested[name], band.get(name, []), found[name]) for name in names)]


def _mean(database: Database, choice: Choice, setting: str) -> list[_Panel]:
    """Return the panel of the mean, or no panel where there are no models to compare."""
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
    lacking = [setting_in_words(setting) for setting in asked if setting not in there]
    return (f"The store has no results to draw in: {', '.join(lacking)}. {IMPORT}",) if lacking else ()


def _block(panels: list[_Panel]) -> Spec:
    """Return the block of a setting: the mean, as large as the two rows of datasets beside it."""
    spacing = (20.0, 38.0)
    width = arrange.panel_width(_COLUMNS + 2, spacing=spacing[0], beside=44)
    height = 0.85 * width
    small = [_small_panel(panel, width, height) for panel in panels if not panel.is_mean]
    large = [
        _mean_panel(panel, 2 * width + 10, 2 * height + spacing[1], "Mean over datasets")
        for panel in panels
        if panel.is_mean
    ]
    columns = min(_COLUMNS, math.ceil(len(small) / 2))
    title = setting_as_title(panels[0].setting)
    return {**arrange.side_by_side([*large, arrange.grid(small, columns, spacing)], 30), "title": title}


def _named_panel(panel: _Panel, width: float) -> Spec:
    """Return the mean with the names of the models, in one colour."""
    height = 0.72 * width
    scatter = panel.scatter(width, height)
    layers = [*scatter.line(), *scatter.bars(BLUE), scatter.dots(BLUE, 16), *scatter.names()]
    return _titled(panel, layers, width, height, setting_as_title(panel.setting))


def _mean_panel(panel: _Panel, width: float, height: float, title: str) -> Spec:
    scatter = panel.scatter(width, height)
    layers = scatter.line()
    for rows, colour in _by_tie(panel):
        layers += [*scatter.bars(colour, rows), scatter.dots(colour, 18, rows)]
    return _titled(panel, layers, width, height, title)


def _small_panel(panel: _Panel, width: float, height: float) -> Spec:
    scatter = panel.scatter(width, height, small=True)
    dots = [scatter.dots(colour, 9, rows) for rows, colour in _by_tie(panel)]
    return _titled(panel, [*scatter.line(), *dots], width, height, panel.name)


def _by_tie(panel: _Panel) -> Iterator[tuple[list[Row], str]]:
    """Return points and their colour; those that tie with the best come last, so that they lie above the others."""
    for tie, colour in ((False, PRINT.grey), (True, BLUE)):
        rows = [row for row in panel.points if (row["ties_with_best"] is True) is tie]
        if rows:
            yield rows, colour


def _titled(panel: _Panel, layers: Iterable[Spec], width: float, height: float, title: str) -> Spec:
    """Return layers as a panel, with r between its title and the plot, where it hides nothing."""
    r = "r = –" if panel.r is None else f"r = {panel.r:.2f}"
    said = text_at(0, -3, r, align="left", baseline="bottom")
    return arrange.panel([*layers, said], width, height, title, above=3 + PRINT_FONT_SIZE + 2)


def _data(panels: list[_Panel]) -> pa.Table:
    columns = ("panel", "model", "source_value", "source_x", "logit", "standard_error", "ties_with_best", "test")
    rows = [
        {"setting": panel.setting, **{name: row[name] for name in columns}, "r": panel.r}
        for panel in panels
        for row in panel.points
    ]
    return pa.Table.from_pylist(rows)


def _sizes(panels: list[_Panel]) -> str:
    """Return a sentence with the numbers of models and datasets."""
    datasets = {panel.name for panel in panels if not panel.is_mean}
    models = max(len(panel.points) for panel in panels)
    return f"{counted(models, 'model')}{', ' + counted(len(datasets), 'dataset') if datasets else ''}."


def _tests(panels: list[_Panel]) -> str:
    """Return a sentence that names the tests."""
    used = {row["test"] for panel in panels if not panel.is_mean for row in panel.points if row["test"]}
    named = {"exact McNemar": "exact McNemar tests", "unpaired z": "z-tests that do not know of shared images"}
    listed = " or ".join(named[test] for test in sorted(used))
    return f"Tested by paired t over datasets{f', and on a dataset by {listed}' if listed else ''}. "
