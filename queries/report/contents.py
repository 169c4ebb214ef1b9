"""The contents of the report: one section per file of `queries.report.sections`, in the order that the files state."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import cache

from featurestore import registry
from queries.report import sections
from queries.report.page_answers import PageAnswers
from queries.report.section import Chart, Section


@cache
def all_sections() -> tuple[Section, ...]:
    """Return the sections in the order of the page."""
    found = [replace(registry.load(sections, "section", name).SECTION, name=name) for name in registry.names(sections)]
    return tuple(sorted(found, key=lambda section: section.order))


def questions_with_parameters() -> dict[str, dict[str, object]]:
    """Return every question that a section shows, with the parameters that a section sets."""
    asked: dict[str, dict[str, object]] = {}
    for section in all_sections():
        for name in section.questions:
            asked.setdefault(name, {}).update(section.parameters.get(name, {}))
    return asked


def draw(answers: PageAnswers) -> Iterator[Chart]:
    """Draw the charts of all sections."""
    for section in all_sections():
        yield from section.charts(answers)
