"""Values of parameters that nothing in a store answers to: what is misspelt gets no error from SQL, only no rows."""

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
    """Say of each setting, tap, probe, model and dataset that is not in the store what there is instead.

    Parameters
    ----------
    database : Database
    given : mapping of str to str
        What a question that comes with probestore was asked with.
    """
    for name, value in given.items():
        column = _COLUMNS.get(name, name)
        if column in _TABLES and value not in (known := _known(database, column)):
            has = shortly(known, _MOST_SHOWN) or "none"
            yield f"The store has no {column} {value!r}.{did_you_mean(value, known)} It has: {has}."


def refuse_negative(given: Mapping[str, str]) -> None:
    """Refuse to count below 0.

    Raises
    ------
    QueryError
        Naming the parameter.
    """
    for name in _COUNTS:
        if given.get(name, "").strip().startswith("-"):
            raise QueryError(f"Parameter {name!r} must be a whole number, at least 0. Got {given[name]!r}.")


def _known(database: Database, column: str) -> list[str]:
    every = " union ".join(f"select {column} from {table}" for table in _TABLES[column])
    names: list[str] = database.sql(f"from ({every}) where {column} is not null order by 1")[column].to_pylist()
    return names
