"""Charts as parts of the page: dots with a text on hover, without markup that only costs bytes."""

from __future__ import annotations

import re

from queries.drawing.vega_lite import Spec, to_svg

_DOT = re.compile(
    r'<path aria-label="(?P<told>[^"]*)" role="graphics-symbol"'
    r' aria-roledescription="(?:circle|point)"(?P<rest>[^>]*)/>'
)
_INVISIBLE = re.compile(r'<path class="(?:background|foreground)" aria-hidden="true"[^>]*/>')
_SIZE = re.compile(r'width="([\d.]+)" height="[\d.]+"(?= viewBox)')
_ENLARGED = 1.4
_TAG = re.compile(r"<[^>]*>")
# The page labels a chart as one image, and the table beside it has the numbers.
_LABEL = re.compile(r' (?:role|class|aria-[a-z]+)="[^"]*"')
_LONG_FRACTION = re.compile(r"(\d+\.\d\d)\d+")


def page_svg(chart: Spec) -> str:
    """Return a chart as SVG in which each dot has its description as a title, which browsers show on hover.

    A page that has room for it shows the chart larger than it was drawn.
    """
    svg = _INVISIBLE.sub("", to_svg(chart))
    svg = _DOT.sub(r"<path\g<rest>><title>\g<told></title></path>", svg)
    svg = _SIZE.sub(lambda size: f'width="{float(size[1]) * _ENLARGED:.0f}"', svg, count=1)
    return _TAG.sub(lambda tag: _LONG_FRACTION.sub(r"\1", _LABEL.sub("", tag[0])), svg)
