"""Section: how was the regularisation chosen, and can the fits be trusted?"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from queries.drawing.charts import tuning_curves
from queries.report.page_answers import PageAnswers
from queries.report.section import Chart, Material, Section

_MOST_CURVES = 20  # models; more could not be told apart
_CHART = "tuning-"


def charts(answers: PageAnswers) -> Iterator[Chart]:
    """Draw the tuning curves of each dataset, of the first models of the leaderboard."""
    models = [row["model"] for row in answers["leaderboard"]][:_MOST_CURVES]
    for dataset in answers["tuning_curves"].values("dataset"):
        curves = answers["tuning_curves"].where(dataset=dataset)
        curves = curves.filter(pc.is_in(curves["model"], value_set=pa.array(models, pa.string())))
        curves = curves.filter(pc.greater(curves["value"], 0))  # a logarithmic axis has no place for 0
        if curves.num_rows:
            yield f"{_CHART}{dataset}", tuning_curves(curves, title=dataset)


def shown(material: Material) -> dict[str, Any]:
    """Return the charts with their datasets, and how many models they show where there are more."""
    models = len(material.answers["leaderboard"])
    return {
        "tuning_charts": {name: name.removeprefix(_CHART) for name in material.charts if name.startswith(_CHART)},
        "only_first": _MOST_CURVES if models > _MOST_CURVES else None,
    }


SECTION = Section(
    order=5,
    title="Regularisation",
    heading="How was the regularisation chosen?",
    questions=("leaderboard", "tuning_curves", "fit_health", "chosen_regularization"),
    charts=charts,
    shown=shown,
)
