"""The figures by their number in the paper."""

from __future__ import annotations

from collections.abc import Callable

from featurestore.errors import QueryError
from queries.asking.database import Database
from queries.drawing.figures import curves, embedding, recipe_panels, settings_panels, transfer_panels
from queries.drawing.figures.choice import Choice
from queries.drawing.figures.figure import Figure

FIGURES: dict[int, Callable[[Database, Choice], Figure]] = {
    1: transfer_panels.means,
    2: transfer_panels.every_dataset,
    3: recipe_panels.fixed,
    4: embedding.two_models,
    5: recipe_panels.finetuned,
    6: settings_panels.by_dataset,
    7: settings_panels.tuned_against_scratch,
    8: curves.over_steps,
    9: curves.over_images,
}


def draw(number: int, database: Database, choice: Choice | None = None) -> Figure:
    """Draw a figure of the paper from a store.

    Parameters
    ----------
    number : int
        Number of the figure in the paper, 1 to 9.
    database : Database
    choice : Choice, optional
        Probe, tap, dataset and models to draw; by default as `Choice` has them.

    Raises
    ------
    QueryError
        If there is no such figure, or the store lacks what it shows.
    UnknownNameError
        If the store does not know a model or dataset of `choice`.
    """
    if number not in FIGURES:
        raise QueryError(f"The number of a figure must be one of 1 to {len(FIGURES)}. Got {number}.")
    return FIGURES[number](database, choice or Choice())
