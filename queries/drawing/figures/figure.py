"""A printed figure and its files: SVG, PDF and PNG of a width in millimetres.

One unit of its Vega-Lite is one point (1/72 inch), so that font sizes are those of the page.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cached_property
from html import escape
from pathlib import Path

import pyarrow as pa
import vl_convert

from featurestore.errors import QueryError
from featurestore.written_whole import written_whole
from queries.drawing.figures.arrange import POINTS_PER_MM, TWO_COLUMNS
from queries.drawing.theme import PRINT
from queries.drawing.vega_lite import Spec, to_svg

FORMATS = ("svg", "pdf", "png")

_DOTS_PER_INCH = 600
_PIXEL = 72 / 96  # points; in SVG an inch has 96 pixels, for vl-convert it has 72
_SIZE = re.compile(r'width="([\d.]+)" height="([\d.]+)"')


@dataclass(frozen=True, repr=False)
class Figure:
    """A figure and what it shows.

    Attributes
    ----------
    number : int
        Its number in the paper.
    caption : str
        The text that goes below the figure.
    data : pyarrow.Table
        The numbers that are drawn.
    chart : dict
        Vega-Lite, in points.
    millimetres : float
        Its width in print; less where there are few panels.
    notes : tuple of str
        Sentences about parts that are missing because the store lacks something.
    """

    number: int
    caption: str
    data: pa.Table
    chart: Spec
    millimetres: float = TWO_COLUMNS
    notes: tuple[str, ...] = ()

    def save(self, path: str | Path) -> Path:
        """Write the figure as .svg, .pdf or .png (600 dots per inch).

        Raises
        ------
        QueryError
            If the suffix is another, or the file cannot be written.
        """
        path = Path(path)
        form = path.suffix.removeprefix(".").lower()
        if form not in FORMATS:
            raise QueryError(f"The name of a figure's file must end in .svg, .pdf or .png. Got {path.name!r}.")
        try:
            with written_whole(path, folders=False) as staged:
                staged.write_bytes(self._as(form))
        except OSError as error:
            raise QueryError(f"Cannot write {path}: {error.strerror}.") from error
        return path

    @property
    def svg(self) -> str:
        """The figure as SVG, its size in millimetres and its caption inside."""
        return self._sized("mm", per_mm=1)

    def _as(self, form: str) -> bytes:
        if form == "pdf":  # whose writer takes a unit for a point
            return bytes(vl_convert.svg_to_pdf(self._sized("", per_mm=POINTS_PER_MM)))
        if form == "png":
            return bytes(vl_convert.svg_to_png(self.svg, scale=_PIXEL, ppi=_DOTS_PER_INCH))
        return self.svg.encode()

    def _sized(self, unit: str, per_mm: float) -> str:
        size = _SIZE.search(self._drawn)
        assert size is not None  # every SVG of Vega has one
        drawn, high = (float(points) / POINTS_PER_MM for points in size.groups())
        # Labels make it a little wider or narrower than it should be. With few panels it is far narrower, and stays so.
        width = self.millimetres if drawn > 0.9 * self.millimetres else drawn
        height, width = per_mm * high * width / drawn, per_mm * width
        said = f"<title>Figure {self.number}</title><desc>{escape(self.caption)}</desc>"
        in_print = _SIZE.sub(f'width="{width:.2f}{unit}" height="{height:.2f}{unit}"', self._drawn, count=1)
        return re.sub("<svg[^>]*>", lambda tag: tag[0] + said, in_print, count=1)

    @cached_property
    def _drawn(self) -> str:
        return to_svg({"config": PRINT.config, **self.chart})

    def _repr_svg_(self) -> str:
        """Return the figure for notebooks."""
        return self.svg

    def __repr__(self) -> str:
        return f"<Figure {self.number}: {self.caption}>"
