"""Section: how does the training recipe change transfer?"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from queries.drawing.charts import recipe_effects
from queries.report.page_answers import PageAnswers
from queries.report.section import Chart, Material, Section

_MOST_EFFECTS = 30  # pairs of models that are drawn; the table has more


def charts(answers: PageAnswers) -> Iterator[Chart]:
    """Draw the first pairs of models whose recipes differ in one thing."""
    if answers["recipe_effects"]:
        yield "recipes", recipe_effects(answers["recipe_effects"].table.slice(0, _MOST_EFFECTS))


def shown(material: Material) -> dict[str, Any]:
    """Return the models that have a plain recipe to be compared with."""
    return {"recipes_known": [row for row in material.answers["regularization_study"] if row["difference"] is not None]}


SECTION = Section(
    order=6,
    title="Recipes",
    heading="What does the training recipe do?",
    questions=("recipe_effects", "recipe_partial_correlation", "regularization_study"),
    charts=charts,
    shown=shown,
)
