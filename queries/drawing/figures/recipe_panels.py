"""Figures 3 and 5: how the regularisers of source training change transfer, for fixed features and fine-tuned."""

from __future__ import annotations

from queries.asking.database import Database
from queries.asking.setting_names import setting_in_words
from queries.drawing.figures import arrange
from queries.drawing.figures.choice import Choice, lacks
from queries.drawing.figures.figure import Figure
from queries.drawing.layers import error_bars, reach
from queries.drawing.log_odds_axis import LogOddsAxis
from queries.drawing.theme import by
from queries.drawing.vega_lite import Row, Spec, mark, name, number

_NUMBERS = {"fixed": 3, "finetuned": 5}
_LETTERS = {"bn_scale": "BN", "label_smoothing": "LS", "dropout": "DO", "auxiliary_head": "AH"}


def fixed(database: Database, choice: Choice) -> Figure:
    """Draw figure 3: regularisers and fixed features."""
    return _figure(database, choice, "fixed")


def finetuned(database: Database, choice: Choice) -> Figure:
    """Draw figure 5: regularisers and fine-tuning."""
    return _figure(database, choice, "finetuned")


def _figure(database: Database, choice: Choice, setting: str) -> Figure:
    table = database.query("regularization_study", **choice.slice(), setting=setting)
    if not table.num_rows:
        raise lacks(
            _NUMBERS[setting],
            f"{choice.results()} in the setting {setting!r}, of models of known architecture and training recipe",
            "State bn_scale, label_smoothing, dropout and auxiliary_head in a study's [[model]], or in: "
            "probestore import results FILE.csv --models MODELS.csv",
        )
    rows = [row | {"recipe": _recipe(row)} for row in table.to_pylist()]
    known = [row for row in rows if row["source_value"] is not None]
    width = arrange.panel_width(2 if known else 1, spacing=46, beside=44)
    panels = [_transfer(rows, width), *([_source(rows, known, width)] if known else [])]
    return Figure(
        _NUMBERS[setting],
        f"Models of one architecture whose source training differs, {setting_in_words(setting)}: mean over datasets "
        "on a log-odds scale, with standard errors (Morey 2008)"
        + (", and the source accuracy. " if known else ". ")
        + "BN: scales in the batch norms; LS: label smoothing; DO: dropout; AH: auxiliary head.",
        table,
        arrange.side_by_side(panels, 46),
    )


def _recipe(row: Row) -> str:
    """Return a text like ``−BN|+LS|+DO|−AH``; the bars become line ends."""
    return "|".join(f"{'+' if row[column] else '−'}{letters}" for column, letters in _LETTERS.items())


def _transfer(rows: list[Row], width: float) -> Spec:
    height = 0.75 * width
    y = LogOddsAxis.around(reach(rows, "mean_logit", "standard_error"), height, "Mean transfer accuracy")
    colour = {"color": _by(rows)["color"]}
    bars = error_bars(rows, _x(rows), y, "mean_logit", "standard_error", colour, strokeWidth=0.6)
    return arrange.panel([*_series(rows, y.specification("mean_logit")), *bars], width, height, "Transfer")


def _source(rows: list[Row], known: list[Row], width: float) -> Spec:
    axis = {"format": "~%", "tickCount": 5}
    y = number("source_value", title="ImageNet top-1", axis=axis, scale={"zero": False, "padding": 8})
    return arrange.panel(_series(known, y, all_rows=rows), width, 0.75 * width, "Source")


def _series(rows: list[Row], y: Spec, all_rows: list[Row] | None = None) -> list[Spec]:
    """Return a line per architecture, and a mark per model."""
    at, look = {"x": _x(all_rows or rows), "y": y}, _by(all_rows or rows)
    return [
        mark(rows, "line", at | {"color": look["color"]}, strokeWidth=0.8),
        mark(rows, "point", at | look, size=20, filled=True, opacity=1),
    ]


def _x(rows: list[Row]) -> Spec:
    """Return the channel of recipes; those with most departures from the plain one stand at the left."""
    order = [recipe for _, recipe in sorted({(-row["departures"], row["recipe"]) for row in rows})]
    axis = {"labelExpr": "split(datum.label, '|')", "labelAngle": 0}
    scale = {"type": "point", "padding": 0.4, "domain": order}
    return name("recipe", title=None, sort=order, scale=scale, axis=axis)


def _by(rows: list[Row]) -> Spec:
    legend = {"orient": "bottom", "title": None, "columns": 5}
    return by("architecture", sorted({row["architecture"] for row in rows}), legend=legend)
