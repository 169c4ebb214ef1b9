"""Section: does a better ImageNet model transfer better?"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from queries.asking.setting_names import setting_in_words
from queries.drawing.scatter import MEAN_PANEL
from queries.report.cell_text import plural
from queries.report.page_answers import PageAnswers
from queries.report.scatter_chart import scatter_chart
from queries.report.section import Chart, Material, Section

_OTHER_SETTING = "transfer@"

# Bands are looked at, not read; nor does the page show more of the groups than r and Fisher's interval.
_FEW_REPLICATES = {"replicates": 500}


def charts(answers: PageAnswers) -> Iterator[Chart]:
    """Draw the mean over datasets: in the setting that is shown, then in each other one."""
    if MEAN_PANEL in answers["transfer_points"].values("panel"):
        found = answers.correlation
        title = f"Mean over {plural(found['n_datasets'], 'dataset')}"
        points, band = answers["transfer_points"], answers["transfer_band"]
        yield "transfer", scatter_chart(points, band, MEAN_PANEL, found, title=title)
    for setting, asked in answers.by_setting.items():
        points, band = asked["transfer_points"], asked["transfer_band"]
        if MEAN_PANEL in points.values("panel"):
            (found,) = answers["correlation_by_setting"].where(setting=setting).to_pylist()
            title = setting_in_words(setting)
            chart = scatter_chart(points, band, MEAN_PANEL, found, title=title, small=True)
            yield f"{_OTHER_SETTING}{setting}", chart


def shown(material: Material) -> dict[str, Any]:
    """Return the charts of the other settings, their answers, and the models that a line was compared with."""
    return {
        "setting_charts": {
            name: setting_in_words(name.removeprefix(_OTHER_SETTING))
            for name in material.charts
            if name.startswith(_OTHER_SETTING)
        },
        "by_setting": material.answers.by_setting,
        "predicted": [row for row in material.answers["predicted_transfer"] if row["predicted"] is not None],
    }


SECTION = Section(
    order=1,
    title="Correlation",
    heading="Does a better ImageNet model transfer better?",
    questions=(
        "transfer_points", "transfer_band", "correlation_by_setting", "correlation_by_training_size",
        "transfer_residuals", "leave_one_out", "predicted_transfer",
    ),
    parameters={"transfer_band": _FEW_REPLICATES, "correlation_by_training_size": _FEW_REPLICATES},
    charts=charts,
    shown=shown,
)  # fmt: skip
