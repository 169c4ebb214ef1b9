"""Hints about values of parameters that the store does not have: SQL gives a misspelt name no error, only no rows."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from featurestore.errors import QueryError, did_you_mean
from featurestore.plain_text import shortly
from queries.asking.database import Database

_OF_CELLS = ("stored_results", "stored_cells", "stored_representations")
_TABLES = {
    "setting": _OF_CELLS,
    "tap": _OF_CELLS,
    "probe": ("stored_results", "stored_cells"),
    "model": (*_OF_CELLS, "stored_models"),
    "dataset": (*_OF_CELLS, "stored_datasets"),
}
_COLUMNS = {"other": "model"}  # parameter -> column, where it is another
_COUNTS = ("replicates", "k")
_MOST_SHOWN = 10


def unknown_values(database: Database, given: Mapping[str, str]) -> Iterator[str]:
    """Return a sentence for each setting, tap, probe, model and dataset that the store does not have: what it has.

    Parameters
    ----------
    database : Database
    given : mapping of str to str
        Parameters of a question that comes with probestore, as text.
    """
    for name, value in given.items():
        column = _COLUMNS.get(name, name)
        if column in _TABLES and value not in (known := _known(database, column)):
            has = shortly(known, _MOST_SHOWN) or "none"
            yield f"The store has no {column} {value!r}.{did_you_mean(value, known)} It has: {has}."


def refuse_negative(given: Mapping[str, str]) -> None:
    """Refuse a negative number where a parameter counts something.

    Raises
    ------
    QueryError
        If a parameter that counts is negative; the message names it.
    """
    for name in _COUNTS:
        if given.get(name, "").strip().startswith("-"):
            raise QueryError(f"Parameter {name!r} must be a whole number, at least 0. Got {given[name]!r}.")


def _known(database: Database, column: str) -> list[str]:
    every = " union ".join(f"select {column} from {table}" for table in _TABLES[column])
    names: list[str] = database.sql(f"from ({every}) where {column} is not null order by 1")[column].to_pylist()
    return names
