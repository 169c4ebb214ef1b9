"""Section: what should one know before one believes the numbers? It stands first if there is a warning."""

from __future__ import annotations

from typing import Any

from queries.report.page_answers import PageAnswers, Row
from queries.report.section import Material, Section

_MOST_FINDINGS = 50


def shown(material: Material) -> dict[str, Any]:
    """Return the warnings and the remarks, and how many are shown of either."""
    found = material.answers["sanity"].rows
    return {
        "warnings": [row for row in found if _is_warning(row)],
        "remarks": [row for row in found if not _is_warning(row)],
        "most": _MOST_FINDINGS,
    }


def comes_first(answers: PageAnswers) -> bool:
    """Return whether there is a warning."""
    return any(map(_is_warning, answers["sanity"].rows))


def _is_warning(row: Row) -> bool:
    return bool(row["severity"] == "warning")


SECTION = Section(
    order=9,
    title="Sanity",
    heading="What to know before believing the numbers",
    questions=("sanity",),
    comes_first=comes_first,
    shown=shown,
)
