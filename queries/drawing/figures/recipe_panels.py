"""Figures 3 and 5: what the regularisers of source training do to transfer, for fixed features and fine-tuned."""

from __future__ import annotations

from queries.asking.database import Database
from queries.drawing.figures import drawing
from queries.drawing.figures.choice import Choice, lacks
from queries.drawing.figures.drawing import Figure, Row, Spec, mark
from queries.drawing.log_odds_axis import LogOddsAxis

_NUMBERS = {"fixed": 3, "finetuned": 5}
_LETTERS = {"bn_scale": "BN", "label_smoothing": "LS", "dropout": "DO", "auxiliary_head": "AH"}


def fixed(database: Database, choice: Choice) -> Figure:
    """Figure 3: regularisers and fixed features."""
    return _figure(database, choice, "fixed")


def finetuned(database: Database, choice: Choice) -> Figure:
    """Figure 5: regularisers and fine-tuning."""
    return _figure(database, choice, "finetuned")


def _figure(database: Database, choice: Choice, setting: str) -> Figure:
    table = database.query("regularization_study", **choice.slice(), setting=setting)
    if not table.num_rows:
        raise lacks(
            _NUMBERS[setting],
            f"{choice.results()} in the setting {setting!r}, of models of known architecture and training recipe",
            "Say bn_scale, label_smoothing, dropout and auxiliary_head in a study's [[model]], or in: "
            "probestore import results FILE.csv --models MODELS.csv",
        )
    rows = [row | {"recipe": _recipe(row)} for row in table.to_pylist()]
    known = [row for row in rows if row["source_value"] is not None]
    width = drawing.panel_width(2 if known else 1, spacing=46, beside=44)
    panels = [_transfer(rows, width), *([_source(rows, known, width)] if known else [])]
    return Figure(
        _NUMBERS[setting],
        f"Models of one architecture whose source training differs, {drawing.SETTINGS[setting]}: mean over datasets "
        "on a log-odds scale, with standard errors (Morey 2008)"
        + (", and the source accuracy. " if known else ". ")
        + "BN: scales in the batch norms; LS: label smoothing; DO: dropout; AH: auxiliary head.",
        table,
        drawing.side_by_side(panels, 46),
    )


def _recipe(row: Row) -> str:
    """Like ``−BN|+LS|+DO|−AH``; the bars become line ends."""
    return "|".join(f"{'+' if row[column] else '−'}{letters}" for column, letters in _LETTERS.items())


def _transfer(rows: list[Row], width: float) -> Spec:
    height = 0.75 * width
    heights = [row["mean_logit"] + side * (row["standard_error"] or 0) for row in rows for side in (-1, 1)]
    y = LogOddsAxis.around(heights, height, "Mean transfer accuracy")
    ends = [
        row | {"low": row["mean_logit"] - row["standard_error"], "high": row["mean_logit"] + row["standard_error"]}
        for row in rows
        if row["standard_error"] is not None
    ]
    x, by = _x(rows), _by(rows)
    bars = {"x": x, "y": y.specification("low"), "y2": {"field": "high"}, "color": by["color"]}
    layers = [mark(ends, "rule", bars, strokeWidth=0.6)] if ends else []
    return drawing.panel([*_series(rows, y.specification("mean_logit")), *layers], width, height, "Transfer")


def _source(rows: list[Row], known: list[Row], width: float) -> Spec:
    axis = {"format": "~%", "tickCount": 5}
    y = {"field": "source_value", "type": "quantitative", "title": "ImageNet top-1", "axis": axis}
    y["scale"] = {"zero": False, "padding": 8}
    return drawing.panel(_series(known, y, all_rows=rows), width, 0.75 * width, "Source")


def _series(rows: list[Row], y: Spec, all_rows: list[Row] | None = None) -> list[Spec]:
    """A line per architecture, and a mark per model."""
    at, by = {"x": _x(all_rows or rows), "y": y}, _by(all_rows or rows)
    return [
        mark(rows, "line", at | {"color": by["color"]}, strokeWidth=0.8),
        mark(rows, "point", at | by, size=20, filled=True, opacity=1),
    ]


def _x(rows: list[Row]) -> Spec:
    """Recipes, those with most departures from the plain one at the left."""
    order = [recipe for _, recipe in sorted({(-row["departures"], row["recipe"]) for row in rows})]
    axis = {"labelExpr": "split(datum.label, '|')", "labelAngle": 0}
    scale = {"type": "point", "padding": 0.4, "domain": order}
    return {"field": "recipe", "type": "nominal", "title": None, "sort": order, "scale": scale, "axis": axis}


def _by(rows: list[Row]) -> Spec:
    legend = {"orient": "bottom", "title": None, "columns": 5}
    return drawing.by("architecture", sorted({row["architecture"] for row in rows}), legend=legend)
