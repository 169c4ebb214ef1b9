"""Text for people: names and messages come from other people's files, are not trusted, and may be many."""

from __future__ import annotations

import re
from collections.abc import Sequence

CONTROL = re.compile("[\x00-\x09\x0b-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069]")
"""What moves the cursor or changes colours (C0 and C1 controls but for the end of a line), and what turns the direction
of writing around, so that a text reads as another."""


def visible(text: str) -> str:
    r"""Return `text` with its control characters written out as Python has them; line ends stay.

    Examples
    --------
    >>> print(visible("\x1b[31mred"))
    \x1b[31mred
    """
    return CONTROL.sub(lambda found: found[0].encode("unicode_escape").decode(), text)


def shortly(names: Sequence[str], most: int = 5) -> str:
    """At most so many of the names, and how many more there are.

    Examples
    --------
    >>> shortly(["a", "b", "c"], 2)
    'a, b and 1 more'
    """
    more = len(names) - most
    return ", ".join(names[:most]) + (f" and {more} more" if more > 0 else "")
