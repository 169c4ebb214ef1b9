"""A CSV file -> checked rows; a mistake is named with its line and its column, and what must hold is said."""

from __future__ import annotations

import csv
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from featurestore.errors import ConfigurationError, did_you_mean

_LONGEST_NAME = 200
_LONGEST_SHOWN = 60  # characters of a value in a message
_MOST = 10**15  # no count of anything here comes near it, and it is a whole number for every program
_BOOLEANS = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}


@dataclass(frozen=True)
class Column:
    """A column that a file may have.

    Attributes
    ----------
    header : str
        In the file.
    read : callable
        Text -> value; raises a ValueError that says what must hold.
    name : str
        Of the value in the row; by default `header`. Of several columns with one name a file may have one.
    required : bool
        Whether the file must have it, with a value in each line.
    default : object
        Where it is empty or not there.
    """

    header: str
    read: Callable[[str], Any]
    name: str = ""
    required: bool = False
    default: Any = None

    @property
    def target(self) -> str:
        """Name of the value in the row."""
        return self.name or self.header


@dataclass(frozen=True)
class Row:
    """A line of a file.

    Attributes
    ----------
    line : int
        Its number, 1 being the header.
    values : dict
        Name -> value, of every column that is known.
    numbers : dict of str to float
        Of the columns that are not, where the file may have them; without empty ones.
    """

    path: Path
    line: int
    values: dict[str, Any]
    numbers: dict[str, float] = field(default_factory=dict)

    def error(self, column: str, what: str) -> ConfigurationError:
        """An error whose message begins with the place."""
        return ConfigurationError(f"{self.path}, line {self.line}, column {column}: {what}")


def read_rows(
    path: Path, columns: Sequence[Column], *, ignored: Sequence[str] = (), numbers: bool = False
) -> list[Row]:
    """Read a CSV file with a header line; UTF-8, separated by commas. Empty lines are passed over.

    Parameters
    ----------
    path : Path
    columns : sequence of Column
    ignored : sequence of str
        Headers of columns that may be there and are not read.
    numbers : bool
        Whether other columns may be there too, which must hold numbers.

    Raises
    ------
    ConfigurationError
        If the file cannot be read, or a column or value is wrong.
    """
    lines = _lines(path)
    header_line, header = next(lines, (1, []))
    known = _known(path, header_line, header, columns, ignored, numbers)
    found = [_row(path, line, dict(zip(header, texts, strict=True)), columns, known) for line, texts in lines]
    if not found:
        raise ConfigurationError(f"{path} has no line below its header; there is nothing in it to import.")
    return found


def refuse_repeated(rows: Sequence[Row], names: Sequence[str], what: str) -> None:
    """Refuse two lines that say the same of `names`.

    Raises
    ------
    ConfigurationError
        Naming both lines.
    """
    first: dict[tuple[object, ...], Row] = {}
    for row in rows:
        other = first.setdefault(tuple(row.values[name] for name in names), row)
        if other is not row:
            raise ConfigurationError(
                f"{row.path}: lines {other.line} and {row.line} are {what} twice. Keep one of them."
            )


# ---- what a text must be ---------------------------------------------------------------------------------------------


def name(text: str) -> str:
    """A name of something: any text on one line."""
    if len(text) > _LONGEST_NAME or not text.isprintable():
        raise ValueError(f"must be a name of at most {_LONGEST_NAME} characters on one line")
    return text


def number(text: str) -> float:
    """A finite number."""
    try:
        value = float(text) if "_" not in text else math.nan
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise ValueError("must be a number, with a point before its decimals")
    return value


def fraction(text: str) -> float:
    """A number from 0 to 1."""
    value = number(text)
    if not 0 <= value <= 1:
        raise ValueError("must be a fraction between 0 and 1 (0.751, not 75.1)")
    return value


def whole(at_least: int) -> Callable[[str], int]:
    """Reads a whole number that is not less."""

    def read(text: str) -> int:
        # The length first: Python reads no number of thousands of digits.
        in_digits = text.isascii() and text.isdigit() and len(text) <= len(str(_MOST))
        if not (in_digits and at_least <= int(text) <= _MOST):
            raise ValueError(f"must be a whole number, at least {at_least}, written in digits only")
        return int(text)

    return read


def boolean(text: str) -> bool:
    """True or false, yes or no, 1 or 0."""
    if text.lower() not in _BOOLEANS:
        raise ValueError(f"must be one of {', '.join(_BOOLEANS)}")
    return _BOOLEANS[text.lower()]


def one_of(*choices: str) -> Callable[[str], str]:
    """Reads one of these texts."""

    def read(text: str) -> str:
        if text not in choices:
            raise ValueError(f"must be one of {', '.join(choices)}.{did_you_mean(text, choices)}".removesuffix("."))
        return text

    return read


# ---- the file --------------------------------------------------------------------------------------------------------


def _lines(path: Path) -> Iterator[tuple[int, list[str]]]:
    """(number, fields) of each line that is not empty, the header first; all have as many fields as that."""
    width, line = 0, 1
    try:
        with path.open(encoding="utf-8-sig", newline="") as stream:
            reader = csv.reader(stream, strict=True)
            for fields in reader:
                texts = [text.strip() for text in fields]
                if any(texts):
                    width = width or len(texts)
                    _check_width(path, line, len(texts), width)
                    yield line, texts
                line = reader.line_num + 1
    except FileNotFoundError as error:
        raise ConfigurationError(f"There is no file {path}.") from error
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise ConfigurationError(f"{path}, line {line}, cannot be read as CSV in UTF-8: {error}.") from error


def _check_width(path: Path, line: int, n_fields: int, width: int) -> None:
    if n_fields != width:
        raise ConfigurationError(
            f"{path}, line {line}: must have {width} values, as many as the header has columns. Got {n_fields}. "
            'A value with a comma in it stands in double quotes, "like, this".'
        )


def _known(
    path: Path, line: int, header: Sequence[str], columns: Sequence[Column], ignored: Sequence[str], numbers: bool
) -> dict[str, Column | None]:
    """Header -> its column, None for what is not read; without columns of numbers of their own."""
    by_header: dict[str, Column | None] = {**{column.header: column for column in columns}, **dict.fromkeys(ignored)}
    place = f"{path}, line {line}"
    for one in header:
        if header.count(one) > 1:
            raise ConfigurationError(f"{place}: two columns are called {one!r}. Keep one of them.")
        if one not in by_header and (not numbers or not one):
            raise ConfigurationError(
                f"{place}: unknown column {one!r}.{did_you_mean(one, by_header)} There may be: {', '.join(by_header)}."
            )
    for target in {column.target for column in columns}:
        headers = [column.header for column in columns if column.target == target]
        if len(given := [one for one in headers if one in header]) > 1:
            raise ConfigurationError(f"{place}: {' and '.join(given)} say the same. Keep one of them.")
    required = {column.target: column.header for column in columns if column.required}
    there = {column.target for one in header if (column := by_header.get(one))}
    if missing := [one for target, one in required.items() if target not in there]:
        raise ConfigurationError(
            f"{place}: must have the column{'s' * (len(missing) > 1)} {', '.join(missing)}. "
            f"Got {', '.join(map(repr, header)) or 'an empty file'}."
        )
    return by_header


def _row(
    path: Path, line: int, texts: dict[str, str], columns: Sequence[Column], known: dict[str, Column | None]
) -> Row:
    row = Row(path, line, {column.target: column.default for column in columns})
    for header, text in texts.items():
        if header not in known:
            if text:
                row.numbers[header] = _number_of_its_own(row, header, text, known)
        elif column := known[header]:
            row.values[column.target] = _value(row, column, text)
    return row


def _value(row: Row, column: Column, text: str) -> Any:
    if not text and column.required:
        raise row.error(column.header, "must have a value. Got nothing.")
    if not text:
        return column.default
    try:
        return column.read(text)
    except ValueError as error:
        raise row.error(
            column.header, f"{error}{'' if str(error).endswith('?') else '.'} Got {_shown(text)}."
        ) from error


def _number_of_its_own(row: Row, header: str, text: str, known: dict[str, Column | None]) -> float:
    try:
        return number(text)
    except ValueError as error:
        others = f"because it is none of the columns {', '.join(known)}.{did_you_mean(header, known)}"
        raise row.error(header, f"{error}, {others} Got {_shown(text)}.") from error


def _shown(text: str) -> str:
    return repr(text if len(text) <= _LONGEST_SHOWN else f"{text[:_LONGEST_SHOWN]}...")
