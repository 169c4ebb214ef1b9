"""Section: which models transfer best, and every accuracy."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from queries.drawing import charts as drawn
from queries.drawing.scatter import MEAN_PANEL
from queries.report.page_answers import PageAnswers, Row
from queries.report.section import Chart, Material, Section

SHADES = 7
"""Steps from the lowest to the highest accuracy of a dataset, each a class of the style sheet; the lowest has none."""

_MOST_DATASETS_WITH_ERRORS = 6  # more would not fit beside each other; the data has them


def charts(answers: PageAnswers) -> Iterator[Chart]:
    """Draw the models' adjusted log-odds, and the grid of accuracies, which is for files: the page has a table."""
    if answers["leaderboard"]:
        models = [row["model"] for row in answers["leaderboard"]]
        yield "leaderboard", drawn.leaderboard(answers["leaderboard"].table)
        yield "accuracy_grid", drawn.accuracy_grid(answers["scores_by_dataset"].table, models=models)


def shown(material: Material) -> dict[str, Any]:
    """Return the grid of accuracies, and what the answers hold of the other tables."""
    answers = material.answers
    return {
        "grid": _grid(answers["scores_by_dataset"].rows, answers["leaderboard"].rows),
        "some_lack": any(row["lacking"] for row in answers["leaderboard"]),
        "cheap_scores": [row for row in answers["cheap_scores"] if row["dataset"] == MEAN_PANEL],
    }


def _grid(scores: Sequence[Row], leaderboard: Sequence[Row]) -> Mapping[str, Any]:
    """Return models in the order of the leaderboard, datasets, and the cells between them, each with its shade."""
    values: dict[str, list[float]] = {}
    for row in scores:
        values.setdefault(row["dataset"], []).append(row["value"])
    ends = {dataset: (min(found), max(found)) for dataset, found in values.items()}
    return {
        "models": [row["model"] for row in leaderboard],
        "datasets": sorted(ends),
        "cells": {
            (row["model"], row["dataset"]): row | {"shade": _shade(row["value"], *ends[row["dataset"]])}
            for row in scores
        },
        "show_errors": len(ends) <= _MOST_DATASETS_WITH_ERRORS
        and any(row["standard_error"] is not None for row in scores),
    }


def _shade(value: float, low: float, high: float) -> int:
    """Return 0 for the lowest of a dataset, `SHADES` for the highest; the middle where all are equal."""
    return round(SHADES * (value - low) / (high - low)) if high > low else SHADES // 2


SECTION = Section(
    order=3,
    title="Leaderboard",
    heading="Leaderboard",
    questions=("leaderboard", "scores_by_dataset", "cheap_scores", "probe_agreement", "representations"),
    charts=charts,
    shown=shown,
)
