"""Section: the correlation with ImageNet accuracy, dataset by dataset."""

from __future__ import annotations

from collections.abc import Iterator

from queries.drawing.scatter import MEAN_PANEL
from queries.report.page_answers import PageAnswers
from queries.report.scatter_chart import scatter_chart
from queries.report.section import Chart, Section


def charts(answers: PageAnswers) -> Iterator[Chart]:
    """Draw a small scatter per dataset."""
    points, band = answers["transfer_points"], answers["transfer_band"]
    found = {row["dataset"]: row for row in answers["correlation_by_dataset"]}
    for dataset in points.values("panel"):
        if dataset != MEAN_PANEL:
            chart = scatter_chart(points, band, dataset, found[dataset], title=dataset, small=True)
            yield f"transfer-{dataset}", chart


SECTION = Section(
    order=2,
    title="By dataset",
    heading="Dataset by dataset",
    questions=("transfer_points", "transfer_band", "correlation_by_dataset"),
    charts=charts,
)
