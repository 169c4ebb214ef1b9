"""Texts of table cells: percent, intervals, p-values, bytes, durations; a dash for nothing."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from typing import Any

from queries.asking.formats import on_one_line, readable
from queries.asking.setting_names import setting_in_words

NOTHING = "–"

Kind = str
"""One of `KINDS` or `WORDS`, with the decimals after a colon where it takes them: ``number:3``."""


def cell_text(row: Mapping[str, Any], name: str | tuple[str, str], kind: Kind = "") -> str:
    """Return the text that a table shows for a cell of a row.

    Parameters
    ----------
    row : mapping
    name : str or (str, str)
        A column; the two ends of an interval.
    kind : str
        ``number:D``, ``signed:D`` (always with its sign), ``percent:D``, ``short`` (four digits), ``p`` (a p-value),
        ``count``, ``bytes``, ``seconds``; ``interval:D`` and ``error:D`` (value and standard error) of two columns;
        ``digest``, ``fields`` (of a JSON object), ``setting``; else as `queries.asking.formats.readable` writes it.

    Examples
    --------
    >>> cell_text({"low": -0.5, "high": 2}, ("low", "high"), "interval:1"), cell_text({"p": 2e-5}, "p", "p")
    ('−0.5 to 2.0', '< 0.001')
    """
    values = [row[part] for part in ((name,) if isinstance(name, str) else name)]
    if any(value is None for value in values):
        return NOTHING
    form, _, decimals = kind.partition(":")
    if form not in KINDS:
        return NOTHING if values[0] in ("", []) else on_one_line(WORDS.get(form, readable)(values[0]))
    return KINDS[form](int(decimals or 0), *values).replace("-", "−")


def is_number(row: Mapping[str, Any], name: str | tuple[str, str], kind: Kind = "") -> bool:
    """Return whether a table sets the cell flush right."""
    return kind.partition(":")[0] in KINDS or (
        isinstance(name, str) and isinstance(row[name], int | float) and not isinstance(row[name], bool)
    )


def is_long(text: str) -> bool:
    """Return whether a cell is broken into lines."""
    return len(text) > 30


def fields(text: str | None) -> str:
    """Return a JSON object as ``a 1, b 2``; any other text as it is."""
    try:
        record = json.loads(text or "{}")
    except json.JSONDecodeError:
        return text or ""
    return ", ".join(f"{name} {value}" for name, value in record.items()) if isinstance(record, dict) else str(record)


def plural(n: int, noun: str) -> str:
    """Return ``1 model``, ``2 models`` or ``1,000 models``."""
    return f"{n:,} {noun}{'' if n == 1 else 's'}"


def _digest(text: str) -> str:
    """Return enough of a digest to compare it."""
    return text if len(text) <= 20 else f"{text[:19]}…"


def _interval(decimals: int, low: float, high: float) -> str:
    ends = [f"{end:,.{decimals}f}" for end in (low, high)]
    return " to ".join(dict.fromkeys(ends))


def _p_value(_: int, value: float) -> str:
    return "< 0.001" if value < 0.001 else f"{value:.3f}" if value < 0.1 else f"{value:.2f}"


def _bytes(_: int, value: float) -> str:
    power = min(4, max(0, int(math.log(value, 1000)))) if value >= 1 else 0
    digits = 0 if power == 0 or value / 1000**power >= 100 else 1
    return f"{value / 1000**power:.{digits}f} {('B', 'kB', 'MB', 'GB', 'TB')[power]}"


def _seconds(_: int, value: float) -> str:
    if value < 100:
        return f"{value:.3g} s" if value < 10 else f"{value:.0f} s"
    return f"{value / 60:.0f} min" if value < 6000 else f"{value / 3600:.1f} h"


KINDS: dict[str, Callable[..., str]] = {
    "number": lambda decimals, value: f"{value:,.{decimals}f}",
    "signed": lambda decimals, value: f"{value:+.{decimals}f}" if round(value, decimals) else f"{0:.{decimals}f}",
    "percent": lambda decimals, value: f"{100 * value:.{decimals}f}",
    "interval": _interval,
    "error": lambda decimals, value, error: f"{value:+.{decimals}f} ± {error:.{decimals}f}",
    "short": lambda _, value: readable(float(value)),
    "p": _p_value,
    "count": lambda _, value: f"{value:,.0f}",
    "bytes": _bytes,
    "seconds": _seconds,
}
"""Kinds of cells that are set flush right: name -> the function that writes them."""

WORDS: dict[str, Callable[[Any], str]] = {
    "digest": _digest,
    "fields": fields,
    "setting": setting_in_words,
}
"""Kinds of cells that are set flush left: name -> the function that writes them."""
