"""The scatter of transfer against ImageNet accuracy, as the sections of the report show it."""

from __future__ import annotations

from queries.drawing import charts
from queries.drawing.vega_lite import Row, Spec
from queries.report.cell_text import cell_text
from queries.report.page_answers import PageAnswer


def scatter_chart(
    points: PageAnswer, band: PageAnswer, panel: str, found: Row, *, title: str, small: bool = False
) -> Spec:
    """Draw one panel of the questions `transfer_points` and `transfer_band`.

    Parameters
    ----------
    points, band : PageAnswer
    panel : str
        At least one row of `points` must have it.
    found : dict
        The panel's correlation: r, fisher_low, fisher_high, n_models.
    title : str
    small : bool
        For a grid of panels.
    """
    return charts.transfer_scatter(
        points.where(panel=panel),
        band.where(panel=panel),
        title=title,
        subtitle=_correlation_in_short(found),
        small=small,
    )


def _correlation_in_short(found: Row) -> str:
    if found["r"] is None:
        return f"n = {found['n_models']}"
    interval = cell_text(found, ("fisher_low", "fisher_high"), "interval:2")
    of = "" if found["fisher_low"] is None else f" ({interval})"
    return f"r = {cell_text(found, 'r', 'number:2')}{of}, n = {found['n_models']}"
