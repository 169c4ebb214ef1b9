"""A section of the report: what it asks, what it draws, and what its template shows beside the answers."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from featurestore import FeatureStore
from queries.asking.database import Database
from queries.drawing.vega_lite import Spec
from queries.report.page_answers import PageAnswers

Chart = tuple[str, Spec]
"""A name, of which the file's name is made, and the chart."""


@dataclass(frozen=True)
class Material:
    """What a section can show.

    Attributes
    ----------
    store : FeatureStore
    database : Database
        Over that store.
    answers : PageAnswers
    charts : sequence of str
        Names of everything that was drawn.
    """

    store: FeatureStore
    database: Database
    answers: PageAnswers
    charts: Sequence[str]

    @property
    def sources(self) -> dict[str, str | None]:
        """Dataset -> ``family:place``, for those that the store has a record of."""
        return {row["dataset"]: row["source"] for row in self.answers["datasets_used"]}


def _draw_nothing(answers: PageAnswers) -> Iterator[Chart]:
    yield from ()


def _never(answers: PageAnswers) -> bool:
    return False


def _show_nothing_more(material: Material) -> Mapping[str, Any]:
    return {}


@dataclass(frozen=True)
class Section:
    """One section. Its file in `queries.report.sections` calls it SECTION; a template of the same name lies beside it.

    Attributes
    ----------
    order : int
        Sections stand in the page in this order; no two have the same.
    comes_first : callable
        Returns whether the section stands before all others on this page.
    title : str
        In the list of sections.
    heading : str
    questions : tuple of str
        Names of the questions whose answers the section shows.
    parameters : mapping of str to mapping
        Question -> parameters that are not its defaults, beside those of what is shown.
    charts : callable
        Draws what there are rows for.
    shown : callable
        Returns what the template shows beside `answers`, by the names that it uses.
    name : str
        That of its file.
    """

    order: int
    title: str
    heading: str
    questions: tuple[str, ...]
    parameters: Mapping[str, Mapping[str, object]] = field(default_factory=dict)
    comes_first: Callable[[PageAnswers], bool] = _never
    charts: Callable[[PageAnswers], Iterator[Chart]] = _draw_nothing
    shown: Callable[[Material], Mapping[str, Any]] = _show_nothing_more
    name: str = ""
