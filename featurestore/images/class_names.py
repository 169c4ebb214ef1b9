"""Names of classes that a person would take for one."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Sequence

from featurestore.plain_text import shortly

_NO_LABEL = {"nan", "none", "null", "na", "n/a", "#n/a", "<na>", "nat", "-1", "-1.0", "?", "undefined"}


def mean_no_label(names: Iterable[str]) -> list[str]:
    """Return the names that programs write where there is no label, such as pandas ``nan`` when it makes texts.

    Examples
    --------
    >>> mean_no_label(["cat", "nan", "None"])
    ['nan', 'None']
    """
    return [name for name in names if name.strip().lower() in _NO_LABEL]


def alike(names: Iterable[str]) -> list[list[str]]:
    """Return groups of names that differ only in case, in Unicode form, or in spaces at their ends.

    Examples
    --------
    >>> alike(["cat", "dog", "Cat "])
    [['cat', 'Cat ']]
    """
    groups: dict[str, list[str]] = {}
    for name in names:
        groups.setdefault(_folded(name), []).append(name)
    return [group for group in groups.values() if len(group) > 1]


def said_of_alike(groups: Sequence[Sequence[str]]) -> str:
    """Say which names are alike; what looks the same is written in ASCII, so that the difference shows.

    Examples
    --------
    >>> print(said_of_alike([["cat", "Cat"], ["caf\\u00e9", "cafe\\u0301"]]))
    'cat' and 'Cat', 'caf\\xe9' and 'cafe\\u0301'
    """
    return shortly(
        [" and ".join(ascii(name) if _looks_the_same(group) else repr(name) for name in group) for group in groups]
    )


def _folded(name: str) -> str:
    return unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", name).casefold()).strip()


def _looks_the_same(group: Sequence[str]) -> bool:
    return len({unicodedata.normalize("NFKC", name) for name in group}) < len(group)
