"""Paths and text as DuckDB reads them."""

from __future__ import annotations

import os
import tempfile

from featurestore.errors import QueryError

PATTERNS = "*?[="
"""Characters of a path that DuckDB would not read as they are: patterns, and ``=``, which makes a folder a column."""


def patterns_in(path: str) -> str:
    """Return the characters of a path, each once, that DuckDB would read as something else."""
    return "".join(character for character in PATTERNS if character in path)


def plain_temporary_folder() -> str:
    """Return a folder for temporary files whose path DuckDB reads as it is.

    Raises
    ------
    QueryError
        If there is none.
    """
    try:
        usual = tempfile.gettempdir()
    except OSError:  # none of those that Python knows can be written
        usual = os.environ.get("TMPDIR", "/tmp")
    for folder in (usual, "/tmp", "/var/tmp", "/dev/shm"):
        if not patterns_in(folder) and os.access(folder, os.W_OK):
            return folder
    raise QueryError(
        f"SQL needs a folder for temporary files that can be written and whose path holds none of "
        f"{' '.join(PATTERNS)}. Got {usual!r}. Name another one with the variable TMPDIR."
    )


def literal(text: str) -> str:
    """Return `text` as a string of SQL."""
    return "'" + text.replace("'", "''") + "'"
