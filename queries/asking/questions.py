"""Questions: one per .sql file of a folder of queries/questions/, which is its topic. A file opens with a header:

    -- Which models transfer best?                      the question
    --
    -- Compared are ...                                 notes, any number of lines
    --
    -- Grain: one row per model.
    -- Columns:
    --   mean_logit  mean log-odds over datasets        name, two spaces, meaning and unit
    -- Parameters:
    --   setting = 'fixed'  fixed, finetuned or scratch     name = SQL literal, two spaces, meaning
    -- Example: probestore query leaderboard -p setting=finetuned

The type of a parameter is the type of its default. A user's own file may leave out any part of the header.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from featurestore.errors import ConfigurationError, QueryError, UnknownNameError
from featurestore.given_files import read_given_text

TOPICS = (
    "comparison", "correlation", "settings", "recipe", "images", "representation", "probes", "health", "sanity",
    "run",
)  # fmt: skip
"""Topics of the questions, in the order of lists."""

_FOLDER = Path(__file__).parents[1] / "questions"
_ENTRY = re.compile(r"(?P<name>\w+)(?: = (?P<default>.+?))?(?:  +(?P<meaning>.+))?")


@dataclass(frozen=True)
class Parameter:
    """A value that a question can be asked with.

    Attributes
    ----------
    name : str
    default : str
        An SQL literal, e.g. ``'fixed'`` or ``NULL::BIGINT``; its type is the parameter's.
    meaning : str
    """

    name: str
    default: str
    meaning: str


@dataclass(frozen=True)
class Question:
    """An .sql file and what its header says.

    Attributes
    ----------
    name : str
        File name without suffix.
    text : str
        The question in words; the first line of the file.
    topic : str
        One of `TOPICS`; empty for a user's file.
    grain : str
        One row of the answer in words, such as ``one row per model.``
    columns : dict of str to str
        Column -> meaning and unit, in the order of the answer.
    parameters : tuple of Parameter
    example : str
        A command line.
    sql : str
        The whole file with its header, so that line numbers of errors are those of the file.
    path : Path
    """

    name: str
    text: str
    topic: str
    grain: str
    columns: dict[str, str]
    parameters: tuple[Parameter, ...]
    example: str
    sql: str
    path: Path


def names() -> list[str]:
    """Return the names of the questions that come with probestore, by alphabet."""
    return sorted(_files())


def by_topic() -> list[Question]:
    """Return the questions that come with probestore, in the order of `TOPICS` and of their names."""
    return sorted((describe(name) for name in names()), key=lambda found: (TOPICS.index(found.topic), found.name))


def describe(name: str) -> Question:
    """Return the question that has this name.

    Raises
    ------
    UnknownNameError
        If there is no such question; close names are suggested.
    """
    known = _files()
    if name not in known:
        raise UnknownNameError("query", name, known, "`probestore list queries` shows all.")
    return read(known[name])


def _files() -> dict[str, Path]:
    """Return name -> file of every question; the folder of a file is its topic."""
    return {path.stem: path for topic in TOPICS for path in (_FOLDER / topic).glob("*.sql")}


def read(path: Path) -> Question:
    """Read an .sql file, the user's or ours.

    Raises
    ------
    QueryError
        If the file cannot be read, or its header does not follow the grammar.
    """
    try:
        sql = read_given_text(path)
    except ConfigurationError as error:
        raise QueryError(str(error)) from error
    except OSError as error:
        raise QueryError(f"{path} cannot be read as SQL text: {error}.") from error
    return parse(sql, path)


def parse(sql: str, path: Path) -> Question:
    """Read SQL text that came from `path`.

    Raises
    ------
    QueryError
        If its header does not follow the grammar.
    """
    header = _header(sql)
    return Question(
        name=path.stem,
        text=header[0] if header else "",
        topic=path.parent.name if path.parent.parent == _FOLDER else "",
        grain=_line_after("Grain:", header),
        columns={name: meaning for _, name, _, meaning in _entries("Columns:", header, path)},
        parameters=tuple(_parameters(header, path)),
        example=_line_after("Example:", header),
        sql=sql,
        path=path,
    )


def _header(sql: str) -> list[str]:
    """Return the text of the comment lines that the file opens with."""
    lines = []
    for line in sql.splitlines():
        if not line.startswith("--"):
            break
        lines.append(line[2:].removeprefix(" ").rstrip())
    return lines


def _line_after(label: str, header: list[str]) -> str:
    return next((line.removeprefix(label).strip() for line in header if line.startswith(label)), "")


def _entries(label: str, header: list[str], path: Path) -> list[tuple[int, str, str | None, str]]:
    """Return (line number, name, default, meaning) of each indented line below `label`."""
    if label not in header:
        return []
    start = header.index(label) + 1
    entries = []
    for number, line in enumerate(header[start:], start=start + 1):
        if not line.startswith("  "):
            break
        match = _ENTRY.fullmatch(line.strip())
        if match is None:
            raise QueryError(f"{path}:{number}: an entry of {label!r} must be `name  meaning`. Got {line.strip()!r}.")
        entries.append((number, match["name"], match["default"], match["meaning"] or ""))
    return entries


def _parameters(header: list[str], path: Path) -> list[Parameter]:
    parameters = []
    for number, name, default, meaning in _entries("Parameters:", header, path):
        if default is None:
            raise QueryError(f"{path}:{number}: parameter {name!r} must have a default: `{name} = 'fixed'  meaning`.")
        parameters.append(Parameter(name, default, meaning))
    return parameters
