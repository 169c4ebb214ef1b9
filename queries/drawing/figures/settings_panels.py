"""Figures 6 and 7: the settings compared, on log-odds axes in percent."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import starmap

import pyarrow as pa

from featurestore.store.schema import SETTINGS
from queries.asking.database import Database
from queries.asking.setting_names import setting_as_title, setting_in_words, short_setting
from queries.drawing.figures import arrange
from queries.drawing.figures.choice import IMPORT, Choice, lacks
from queries.drawing.figures.figure import Figure
from queries.drawing.layers import error_bars, identity_line, reach
from queries.drawing.log_odds_axis import LogOddsAxis, log_odds
from queries.drawing.theme import COLOURS, PRINT, by
from queries.drawing.vega_lite import Row, Spec, mark, name, number

_COLUMNS = 4
_NO_RECORD = (
    "A dashed line shows the best value published before, where a column best_known states it: "
    "probestore import results FILE.csv --datasets FILE.csv"
)
_HALF = 0.3  # of the room of a setting: half the length of the line at the mean


def by_dataset(database: Database, choice: Choice) -> Figure:
    """Draw figure 6: every setting on every dataset, with the mean over models and its standard error."""
    means = database.query("setting_means", **choice.slice()).to_pylist()
    if not means:
        raise lacks(6, choice.results(), IMPORT + ".")
    points = [row for rows in _complete(_scores(database, choice)).values() for row in rows]
    there = [setting for setting in SETTINGS if any(row["setting"] == setting for row in means)]
    spacing = (26.0, 32.0)
    width = arrange.panel_width(_COLUMNS, spacing=spacing[0], beside=32)
    datasets = arrange.in_order(row["dataset"] for row in means)
    records = _records(database, datasets)
    panels = [
        _strip(
            dataset,
            [row for row in points if row["dataset"] == dataset],
            [row for row in means if row["dataset"] == dataset],
            records.get(dataset),
            there,
            width,
        )
        for dataset in datasets
    ]
    lacking = [setting_in_words(setting) for setting in SETTINGS if setting not in there]
    notes = [f"The store has no results to draw in: {', '.join(lacking)}. {IMPORT}"] if lacking else []
    if len(records) < len(datasets):
        notes.append(_NO_RECORD)
    return Figure(
        6,
        "Accuracy in each setting, on a log-odds scale: a dot per model, the mean over models as a line, with its "
        "standard error. It counts the models that were scored on the dataset in every setting shown."
        + (" Dashed: the best value published before." if records else ""),
        pa.Table.from_pylist(
            [*map(_data_of_mean, means), *map(_data_of_point, points), *starmap(_data_of_record, records.items())]
        ),
        arrange.grid(panels, _COLUMNS, spacing),
        notes=tuple(notes),
    )


def tuned_against_scratch(database: Database, choice: Choice) -> Figure:
    """Draw figure 7: fine-tuned against trained from scratch, with the line on which they are equal."""
    cells = _complete(_scores(database, choice, ("finetuned", "scratch")))
    pairs = [
        {"model": model, "dataset": dataset, **{row["setting"]: row["logit"] for row in rows}}
        | {f"{row['setting']}_value": row["value"] for row in rows}
        for (model, dataset), rows in cells.items()
        if len(rows) == 2
    ]
    if not pairs:
        raise lacks(7, f"{choice.results()}, in the settings finetuned and scratch for the same models", IMPORT + ".")
    higher = sum(row["finetuned"] > row["scratch"] for row in pairs)
    width = arrange.panel_width(1, spacing=0, beside=40, millimetres=arrange.ONE_COLUMN)
    return Figure(
        7,
        f"Fine-tuned against trained from scratch, on log-odds scales: a dot per model and dataset. Fine-tuned is "
        f"above in {higher} of {len(pairs)}. On the line both are equal.",
        pa.Table.from_pylist(pairs),
        _square(pairs, width),
        arrange.ONE_COLUMN,
    )


def _records(database: Database, datasets: list[str]) -> dict[str, float]:
    """Return dataset -> the best value published before, where the store knows one."""
    rows = database.sql("select dataset, best_known from datasets where best_known is not null").to_pylist()
    return {row["dataset"]: row["best_known"] for row in rows if row["dataset"] in datasets}


def _scores(database: Database, choice: Choice, settings: tuple[str, ...] = tuple(SETTINGS)) -> Iterator[Row]:
    for setting in settings:
        for row in database.query("scores_by_dataset", **choice.slice(), setting=setting).to_pylist():
            yield {"setting": setting, **row}


def _complete(scores: Iterator[Row]) -> dict[tuple[str, str], list[Row]]:
    """Return the rows of each model and dataset that was scored in every setting in which the dataset has scores."""
    cells: dict[tuple[str, str], list[Row]] = {}
    needed: dict[str, set[str]] = {}
    for row in scores:
        cells.setdefault((row["model"], row["dataset"]), []).append(row)
        needed.setdefault(row["dataset"], set()).add(row["setting"])
    return {place: rows for place, rows in cells.items() if len(rows) == len(needed[place[1]])}


def _strip(
    dataset: str, points: list[Row], means: list[Row], record: float | None, settings: list[str], width: float
) -> Spec:
    """Return the panel of a dataset: the settings side by side."""
    height = 0.8 * width
    heights = [row["logit"] for row in points]
    heights += reach(means, "mean_logit", "standard_error")
    records = [] if record is None else [{"logit": log_odds(record)}]
    heights += [row["logit"] for row in records]
    y = LogOddsAxis.around(heights, height, "", ticks=4)
    names = ", ".join(f"'{short_setting(setting)}'" for setting in settings)
    axis = {"values": list(range(len(settings))), "labelExpr": f"[{names}][datum.value]", "ticks": False}
    x = number("x", title=None, axis=axis, scale={"domain": [-0.5, len(settings) - 0.5], "nice": False, "zero": False})
    scale = {"domain": list(SETTINGS), "range": list(COLOURS[: len(SETTINGS)])}
    colour = name("setting", legend=None, scale=scale)
    dots = [row | {"x": settings.index(row["setting"]) + _jitter(i)} for i, row in enumerate(points)]
    places = [row | {"x": float(settings.index(row["setting"]))} for row in means]
    lines = [row | {"left": row["x"] - _HALF, "right": row["x"] + _HALF} for row in places]
    layers = [
        mark(records, "rule", {"y": y.specification("logit")}, strokeWidth=0.8, strokeDash=[3, 2], color=PRINT.grey),
        mark(dots, "circle", {"x": x, "y": y.specification("logit"), "color": colour}, size=9, opacity=0.55),
        *error_bars(places, x, y, "mean_logit", "standard_error", strokeWidth=1, color=PRINT.ink),
        mark(
            lines,
            "rule",
            {"x": x | {"field": "left"}, "x2": {"field": "right"}, "y": y.specification("mean_logit")},
            strokeWidth=1.2,
            color=PRINT.ink,
        ),
    ]
    return arrange.panel(layers, width, height, dataset)


def _jitter(i: int) -> float:
    """Return a small shift, so that neighbours in the order of the rows do not cover each other."""
    return (i * 3 % 7 - 3) * 0.06


def _square(pairs: list[Row], width: float) -> Spec:
    values = [row[setting] for row in pairs for setting in ("finetuned", "scratch")]
    x = LogOddsAxis.around(values, width, setting_as_title("scratch"), ticks=9)
    y = LogOddsAxis.around(values, width, setting_as_title("finetuned"), ticks=9)
    at = {"x": x.specification("scratch"), "y": y.specification("finetuned")}
    datasets = arrange.in_order(row["dataset"] for row in pairs)
    legend = {"orient": "bottom", "columns": 3, "title": None}
    layers = [
        identity_line(x, y, "scratch", "finetuned", PRINT),
        mark(pairs, "point", at | by("dataset", datasets, legend=legend), size=14, filled=True, opacity=0.9),
    ]
    return arrange.panel(layers, width, width)


def _data_of_mean(row: Row) -> Row:
    shown = {"dataset": row["dataset"], "setting": row["setting"], "model": None, "value": row["mean_value"]}
    return shown | {"logit": row["mean_logit"], "standard_error": row["standard_error"], "n_models": row["n_models"]}


def _data_of_record(dataset: str, value: float) -> Row:
    shown = {"dataset": dataset, "setting": "best known", "model": None, "value": value}
    return shown | {"logit": log_odds(value), "standard_error": None, "n_models": None}


def _data_of_point(row: Row) -> Row:
    shown = {name: row[name] for name in ("dataset", "setting", "model", "value", "logit")}
    return shown | {"standard_error": None, "n_models": None}
