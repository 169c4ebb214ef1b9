"""Text that a terminal may be shown: names and messages come from other people's files and are not trusted."""

from __future__ import annotations

import re

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
