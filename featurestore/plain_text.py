"""Text for people: names and messages come from other people's files, are not trusted, and may be many."""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence

CONTROL = re.compile(
    "[\x00-\x09\x0b-\x1f\x7f-\x9f\u061c\u200b\u200e\u200f\u2028\u2029\u202a-\u202e\u2060\u2066-\u2069\ufeff]"
)
"""Characters that move the cursor or change colours (C0 and C1 controls but for the end of a line), end a line for some
readers only, turn the direction of writing around, or have no width, so that a text reads as another."""


def visible(text: str) -> str:
    r"""Return `text` with its control characters written out as Python has them; line ends stay.

    Examples
    --------
    >>> print(visible("\x1b[31mred"))
    \x1b[31mred
    """
    return CONTROL.sub(lambda found: found[0].encode("unicode_escape").decode(), text)


def shell_command(*words: str) -> str:
    r"""Return a command as it is typed into a shell, each word quoted where it has to be.

    A word with control characters is written as bash and zsh take it, so that `visible` leaves it as it is.

    Examples
    --------
    >>> print(shell_command("probestore", "report", "--store", "my store"))
    probestore report --store 'my store'
    >>> print(shell_command("ls", "two\nlines"))
    ls $'two\nlines'
    """
    return " ".join(map(_shell_word, words))


def _shell_word(word: str) -> str:
    if not CONTROL.search(word) and "\n" not in word:
        return shlex.quote(word)
    escaped = visible(word.replace("\\", "\\\\").replace("'", "\\'")).replace("\n", "\\n")
    return f"$'{escaped}'"


def shortly(names: Sequence[str], most: int = 5) -> str:
    """Return at most so many of the names, and how many more there are.

    Examples
    --------
    >>> shortly(["a", "b", "c"], 2)
    'a, b and 1 more'
    """
    more = len(names) - most
    return ", ".join(names[:most]) + (f" and {more} more" if more > 0 else "")


def counted(number: int, one: str, many: str | None = None) -> str:
    """Return a number and what it counts, in the singular or the plural.

    Parameters
    ----------
    number : int
    one : str
        The thing in the singular.
    many : str, optional
        The thing in the plural; by default with an s.

    Examples
    --------
    >>> counted(1, "image"), counted(12000, "image"), counted(0, "query", "queries")
    ('1 image', '12,000 images', '0 queries')
    """
    return f"{number:,} {one if number == 1 else many or one + 's'}"


_KILO_UNITS = ("kB", "MB", "GB", "TB", "PB")


def bytes_text(size: float) -> str:
    """Return a number of bytes to three digits, in units of 1000.

    Examples
    --------
    >>> bytes_text(1), bytes_text(999), bytes_text(1234567), bytes_text(999_999)
    ('1 byte', '999 bytes', '1.23 MB', '1 MB')
    """
    if round(size) < 1000:
        return counted(round(size), "byte")
    power = 1
    while power < len(_KILO_UNITS) and float(f"{size / 1000**power:.3g}") >= 1000:
        power += 1
    return f"{size / 1000**power:.3g} {_KILO_UNITS[power - 1]}"


def duration(seconds: float) -> str:
    """Return a time in its two largest units, rounded to seconds.

    Examples
    --------
    >>> [duration(seconds) for seconds in (0.2, 59.6, 3600, 90_061)]
    ['0 s', '1 min 0 s', '1 h 0 min', '1 d 1 h']
    """
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    if days:
        return f"{days} d {hours} h"
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"
