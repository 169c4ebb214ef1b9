"""The scatter of transfer against source accuracy, which the report and the figures 1 and 2 share."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from queries.drawing import layers
from queries.drawing.log_odds_axis import LogOddsAxis
from queries.drawing.theme import Theme
from queries.drawing.vega_lite import Row, Spec, mark

MEAN_PANEL = "mean over datasets"
"""The panel of the mean, as the questions `transfer_points` and `transfer_band` name it."""


@dataclass(frozen=True)
class Scatter:
    """One panel: models on log-odds axes, their regression line and its band.

    Attributes
    ----------
    points : sequence of dict
        One panel of the question `transfer_points`; at least one row.
    band : sequence of dict
        The same panel of `transfer_band`; no rows where there is no line.
    x, y : LogOddsAxis
    theme : Theme
    """

    points: Sequence[Row]
    band: Sequence[Row]
    x: LogOddsAxis
    y: LogOddsAxis
    theme: Theme

    @classmethod
    def of(
        cls,
        points: Sequence[Row],
        band: Sequence[Row],
        theme: Theme,
        *,
        size: tuple[float, float],
        titles: tuple[str, str] = ("", ""),
        ticks: int = 6,
    ) -> Scatter:
        """Return the panel of this width and height, its axes with room for points, error bars and band."""
        heights = layers.reach(points, "logit", "standard_error")
        heights += [row[end] for row in band for end in ("logit_low", "logit_high")]
        x = LogOddsAxis.around((row["source_x"] for row in points), size[0], titles[0], ticks)
        return cls(points, band, x, LogOddsAxis.around(heights, size[1], titles[1], ticks), theme)

    def line(self) -> list[Spec]:
        """Return the regression line in its band."""
        return layers.regression_line(self.band, self.x, self.y, self.theme)

    def bars(self, colour: str, rows: Sequence[Row] | None = None) -> list[Spec]:
        """Return the error bars of `rows`, by default of all points."""
        x = self.x.specification("source_x")
        shown = self.points if rows is None else rows
        return layers.error_bars(
            shown, x, self.y, "logit", "standard_error", color=colour, strokeWidth=self.theme.bar_width
        )

    def dots(self, colour: str, size: float, rows: Sequence[Row] | None = None, channels: Spec | None = None) -> Spec:
        """Return the dots of `rows`, by default of all points, of an area of `size`."""
        at = {"x": self.x.specification("source_x"), "y": self.y.specification("logit"), **(channels or {})}
        return mark(self.points if rows is None else rows, "circle", at, color=colour, size=size, opacity=1)

    def names(self, font_size: float | None = None) -> list[Spec]:
        """Return the names of the models."""
        size = self.theme.font_size if font_size is None else font_size
        return list(layers.names(self.points, self.band, self.x, self.y, self.theme, size))
