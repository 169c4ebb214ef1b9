"""Charts as parts of the page: what a dot tells on hover, and nothing that only costs bytes."""

from __future__ import annotations

import re

import altair as alt

from queries import charts

_DOT = re.compile(
    r'<path aria-label="(?P<told>[^"]*)" role="graphics-symbol"'
    r' aria-roledescription="(?:circle|point)"(?P<rest>[^>]*)/>'
)
_INVISIBLE = re.compile(r'<path class="(?:background|foreground)" aria-hidden="true"[^>]*/>')
_TAG = re.compile(r"<[^>]*>")
# The page labels a chart as one image, and the table beside it has the numbers.
_LABEL = re.compile(r' (?:role|class|aria-[a-z]+)="[^"]*"')
_LONG_FRACTION = re.compile(r"(\d+\.\d\d)\d+")


def page_svg(chart: alt.LayerChart) -> str:
    """Return a chart as SVG in which each dot has its description as a title, which browsers show on hover."""
    svg = _INVISIBLE.sub("", charts.to_svg(chart))
    svg = _DOT.sub(r"<path\g<rest>><title>\g<told></title></path>", svg)
    return _TAG.sub(lambda tag: _LONG_FRACTION.sub(r"\1", _LABEL.sub("", tag[0])), svg)
