"""The charts of the page, each from the answer that it shows."""

from __future__ import annotations

from collections.abc import Iterator

import altair as alt
import pyarrow as pa
import pyarrow.compute as pc

from queries.drawing import charts
from queries.report.asked import Answers, Row
from queries.report.cell_text import SETTINGS, cell_text, plural

MEAN_PANEL = "mean over datasets"  # as the question transfer_points calls it

MOST_CURVES = 20
"""Models whose tuning curves are drawn; more could not be told apart."""

MOST_EFFECTS = 30
"""Pairs of models that are drawn; the table has more."""


def draw(answers: Answers) -> Iterator[tuple[str, alt.LayerChart]]:
    """(name, chart) of everything that there are rows for; the name becomes a file name."""
    yield from _scatters(answers)
    models = [row["model"] for row in answers["leaderboard"]]
    if models:
        yield "leaderboard", charts.leaderboard(answers["leaderboard"].table)
        yield "accuracy_grid", charts.accuracy_grid(answers["scores_by_dataset"].table, models=models)
    if answers["settings_by_dataset"]:
        yield "settings", charts.setting_differences(answers["settings_by_dataset"].table)
    yield from _tuning(answers, models[:MOST_CURVES])
    if answers["recipe_effects"]:
        yield "recipes", charts.recipe_effects(answers["recipe_effects"].table.slice(0, MOST_EFFECTS))


def _scatters(answers: Answers) -> Iterator[tuple[str, alt.LayerChart]]:
    found = {row["dataset"]: row for row in answers["correlation_by_dataset"]}
    found[MEAN_PANEL] = answers.correlation
    for panel in answers["transfer_points"].values("panel"):
        main = panel == MEAN_PANEL
        yield (
            "transfer" if main else f"transfer-{panel}",
            charts.transfer_scatter(
                answers["transfer_points"].where(panel=panel),
                answers["transfer_band"].where(panel=panel),
                title=f"Mean over {plural(found[panel]['n_datasets'], 'dataset')}" if main else panel,
                subtitle=_correlation_in_short(found[panel]),
                small=not main,
            ),
        )

    for setting, asked in answers.by_setting.items():
        points = asked["transfer_points"].where(panel=MEAN_PANEL)
        if points.num_rows:
            (row,) = answers["correlation_by_setting"].where(setting=setting).to_pylist()
            yield (
                f"transfer@{setting}",
                charts.transfer_scatter(
                    points,
                    asked["transfer_band"].where(panel=MEAN_PANEL),
                    title=SETTINGS.get(setting, setting),
                    subtitle=_correlation_in_short(row),
                    small=True,
                ),
            )


def _tuning(answers: Answers, models: list[str]) -> Iterator[tuple[str, alt.LayerChart]]:
    for dataset in answers["tuning_curves"].values("dataset"):
        curves = answers["tuning_curves"].where(dataset=dataset)
        curves = curves.filter(pc.is_in(curves["model"], value_set=pa.array(models, pa.string())))
        curves = curves.filter(pc.greater(curves["value"], 0))  # a logarithmic axis has no place for 0
        if curves.num_rows:
            yield f"tuning-{dataset}", charts.tuning_curves(curves, title=dataset)


def _correlation_in_short(found: Row) -> str:
    if found["r"] is None:
        return f"n = {found['n_models']}"
    interval = cell_text(found, ("fisher_low", "fisher_high"), "interval:2")
    of = "" if found["fisher_low"] is None else f" ({interval})"
    return f"r = {cell_text(found, 'r', 'number:2')}{of}, n = {found['n_models']}"
