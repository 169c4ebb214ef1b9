"""Places for names beside the dots of a chart, so that none covers a dot or another name."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

_LETTER = 0.56  # mean width of one, relative to the font size

Box = tuple[float, float, float, float]  # left, bottom, right, top


@dataclass(frozen=True)
class Label:
    """A name and its place.

    Attributes
    ----------
    position : int
        Position of its dot in the order in which the dots were given.
    text : str
    align : {"left", "right", "center"}
        The part of the text that lies at `x`.
    x, y : float
        Pixels from the lower left corner, `y` being the middle of the letters.
    """

    position: int
    text: str
    align: str
    x: float
    y: float


def place(
    dots: Sequence[tuple[float, float, str]],
    *,
    width: float,
    height: float,
    font_size: float,
    gap: float = 7,
    reach: Sequence[float] = (1,),
    avoid: Sequence[Box] = (),
) -> Iterator[Label]:
    """Find a place for the name of each dot; leave out a name that would cover a dot or another name.

    Parameters
    ----------
    dots : sequence of (x, y, name)
        In pixels from the lower left corner; earlier ones choose first.
    width, height : float
        Size of the chart; names stay inside.
    font_size : float
    gap : float
        Distance between the middle of a dot and the text beside it.
    reach : sequence of float
        Distances that are tried one after another, as multiples of `gap`.
    avoid : sequence of box
        Boxes that a name may cover only where it has no other place.
    """
    taken = [(x - 0.6 * gap, y - 0.6 * gap, x + 0.6 * gap, y + 0.6 * gap) for x, y, _ in dots]
    for position, (x, y, text) in enumerate(dots):
        candidates = [
            candidate
            for times in reach
            for candidate in _candidates(x, y, _LETTER * font_size * len(text), font_size, times * gap)
            if _inside(candidate[3], width, height)
        ]
        for blocked in ([*taken, *avoid], taken):
            free = (found for found in candidates if not any(overlap(found[3], other) for other in blocked))
            if (chosen := next(free, None)) is not None:
                align, ax, ay, box = chosen
                taken.append(box)
                yield Label(position, text, align, ax, ay)
                break


def _inside(box: Box, width: float, height: float) -> bool:
    return box[0] >= 0 and box[2] <= width and box[1] >= 0 and box[3] <= height


def overlap(a: Box, b: Box) -> bool:
    """Return whether two boxes have a point in common."""
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]


def _candidates(x: float, y: float, width: float, height: float, gap: float) -> Iterator[tuple[str, float, float, Box]]:
    """Return (alignment, anchor x, anchor y, box) of a label beside, above, below and at the corners of a dot."""
    above, near = gap + height / 2, 0.4 * gap
    for align, dx, dy in (
        ("left", gap, 0), ("right", -gap, 0), ("center", 0, above), ("center", 0, -above),
        ("left", near, above), ("right", -near, above), ("left", near, -above), ("right", -near, -above),
    ):  # fmt: skip
        left = x + dx - {"left": 0.0, "center": width / 2, "right": width}[align]
        yield align, x + dx, y + dy, (left, y + dy - height / 2, left + width, y + dy + height / 2)
