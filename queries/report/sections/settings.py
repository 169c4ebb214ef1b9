"""Section: fixed features, fine-tuning or training from scratch?"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from queries.drawing.charts import setting_differences
from queries.report.page_answers import PageAnswers
from queries.report.section import Chart, Material, Section


def charts(answers: PageAnswers) -> Iterator[Chart]:
    """Draw the differences of the settings."""
    if answers["settings_by_dataset"]:
        yield "settings", setting_differences(answers["settings_by_dataset"].table)


def shown(material: Material) -> dict[str, Any]:
    """Return the training steps over all models and datasets."""
    return {"speed": [row for row in material.answers["steps_to_reach"] if row["model"] is None]}


SECTION = Section(
    order=4,
    title="Settings",
    heading="Fixed features, fine-tuning or training from scratch?",
    questions=("settings_cells", "settings_by_dataset", "pretraining_gain", "few_shot_means", "steps_to_reach"),
    charts=charts,
    shown=shown,
)
