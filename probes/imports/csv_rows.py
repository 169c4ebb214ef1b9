"""A CSV file -> checked rows. An error names the file, the line and the column, and says what must hold there.

A pydantic model describes one kind of file: each field is a column. The types of this module are for its fields.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar

from pydantic import BaseModel, Field, ValidationError, ValidatorFunctionWrapHandler, WrapValidator

from featurestore.errors import ConfigurationError, did_you_mean
from featurestore.given_files import read_given_text

_LONGEST_NAME = 200
_LONGEST_SHOWN = 60  # characters of a value in a message
_PACKED = {b"PK": "a ZIP archive, as workbooks are", b"\x1f\x8b": "compressed with gzip"}  # by its first bytes
_SEPARATORS = {";": "semicolons", "\t": "tabs", "|": "vertical bars", ":": "colons", " ": "spaces"}
_MOST = 10**15  # no count of anything here comes near it, and it is a whole number for every program


class Columns(BaseModel):
    """One kind of CSV file. A field is a column; a field with a default is a column that may be absent or empty.

    A subclass with ``extra="allow"`` takes other columns too; the type of its ``__pydantic_extra__`` is theirs.
    """

    SAME: ClassVar[tuple[tuple[str, str], ...]] = ()
    """Pairs of fields: the first gives the value of the second, by another name or in another unit."""

    NOT_READ: ClassVar[tuple[str, ...]] = ()
    """Columns that a file may have and that are not read."""


@dataclass(frozen=True)
class Row:
    """A line of a file.

    Attributes
    ----------
    path : Path
    line : int
        Its number; the header is line 1.
    values : dict
        Field of the kind of file -> value. The first field of each pair of `Columns.SAME` is not among them.
    others : dict
        Column that is no field -> value, where it is not empty.
    given : frozenset of str
        The fields that have a value in this line; the others have their defaults.
    """

    path: Path
    line: int
    values: dict[str, Any]
    others: dict[str, Any]
    given: frozenset[str] = frozenset()

    def error(self, column: str, what: str) -> ConfigurationError:
        """Make an error whose message begins with the file, the line and the column."""
        return ConfigurationError(f"{_place(self.path, self.line, column)}: {what}")


def read_rows(path: Path, kind: type[Columns]) -> list[Row]:
    """Read a CSV file that has a header line, is encoded in UTF-8 and separates values by commas.

    Empty lines are skipped, and so are columns without a name in which nothing stands: commas at the ends of lines.

    Raises
    ------
    ConfigurationError
        If the file cannot be read, or a column or value is wrong.
    """
    found = _lines(path)
    header_line, header = next(found, (1, []))
    _check_separator(_place(path, header_line), header, kind)
    _check_header(_place(path, header_line), [column for column in header if column], kind)
    lines = list(found)
    _check_unnamed(path, header, lines)
    rows = [_row(path, line, dict(zip(header, texts, strict=True)), kind) for line, texts in lines]
    if not rows:
        raise ConfigurationError(f"{path} must have a line below its header. Got the header alone.")
    return rows


def refuse_repeated(rows: Sequence[Row], names: Sequence[str], what: str) -> None:
    """Raise ConfigurationError, with the numbers of both lines, if two lines have the same values of `names`."""
    first: dict[tuple[object, ...], Row] = {}
    for row in rows:
        other = first.setdefault(tuple(row.values[name] for name in names), row)
        if other is not row:
            raise ConfigurationError(
                f"{row.path}: lines {other.line} and {row.line} are {what} twice. Keep one of them."
            )


# ---- the values of a column ------------------------------------------------------------------------------------------


def must(rule: str, text_is: Callable[[str], bool] = bool) -> WrapValidator:
    """Make a validator that says "must `rule`" of a text that `text_is` or pydantic refuses."""

    def read(text: str, parse: ValidatorFunctionWrapHandler) -> Any:
        try:
            if text_is(text):
                return parse(text)
        except ValidationError:
            pass
        raise ValueError(f"must {rule}")

    return WrapValidator(read)


def one_of(text: str, choices: Sequence[str]) -> str:
    """Return the text. Raise ValueError, with the most similar choices, unless it is one of the choices."""
    if text not in choices:
        raise ValueError(f"must be one of {', '.join(choices)}.{did_you_mean(text, choices)}".removesuffix("."))
    return text


def _without_underscore(text: str) -> bool:
    return "_" not in text  # in Python a part of a number, in a file a mistake


def _digits(text: str) -> bool:
    return text.isascii() and text.isdigit()


_TRUTH = ("true", "yes", "1", "false", "no", "0")

Name = Annotated[
    str,
    Field(max_length=_LONGEST_NAME),
    must(f"be a name of at most {_LONGEST_NAME} characters on one line", str.isprintable),
]
Number = Annotated[
    float, Field(allow_inf_nan=False), must("be a number, with a point before its decimals", _without_underscore)
]
Fraction = Annotated[
    float, Field(ge=0, le=1), must("be a fraction between 0 and 1 (0.751, not 75.1)", _without_underscore)
]
Index = Annotated[int, Field(le=_MOST), must("be a whole number, at least 0, written in digits only", _digits)]
Count = Annotated[int, Field(ge=1, le=_MOST), must("be a whole number, at least 1, written in digits only", _digits)]
Truth = Annotated[bool, must(f"be one of {', '.join(_TRUTH)}", lambda text: text.lower() in _TRUTH)]


# ---- the file --------------------------------------------------------------------------------------------------------


def _place(path: Path, line: int, column: str | None = None) -> str:
    return f"{path}, line {line}" + ("" if column is None else f", column {column}")


def _lines(path: Path) -> Iterator[tuple[int, list[str]]]:
    """Yield the number and the values of each line that is not empty; all have as many values as the first."""
    width, line = 0, 1
    try:
        reader = csv.reader(io.StringIO(_text(path)), strict=True)
        for values in reader:
            texts = [text.strip() for text in values]
            if any(texts):
                width = width or len(texts)
                _check_width(_place(path, line), texts, width)
                yield line, texts
            line = reader.line_num + 1
    except csv.Error as error:
        raise ConfigurationError(f"{_place(path, line)}, cannot be read as CSV: {error}.") from error


def _text(path: Path) -> str:
    try:
        with path.open("rb") as stream:
            packed = _PACKED.get(stream.read(2))
        if packed:
            raise ConfigurationError(f"{path} must be a CSV file, which is text, but is {packed}. Save it as CSV.")
        return read_given_text(path)
    except FileNotFoundError as error:
        raise ConfigurationError(f"There is no file {path}.") from error
    except OSError as error:
        raise ConfigurationError(f"{path} cannot be read: {error.strerror or error}.") from error


def _check_width(place: str, texts: Sequence[str], width: int) -> None:
    if len(texts) == width:
        return
    advice = 'Put a text that contains a comma in double quotes, "like, this"; numbers have a point, not a comma.'
    if len(texts) == width + 1 and not texts[-1]:
        advice = "The line ends with a comma, and the header does not."
    raise ConfigurationError(
        f"{place}: must have {width} values, as many as the header has columns. Got {len(texts)}. {advice}"
    )


def _check_separator(place: str, header: Sequence[str], kind: type[Columns]) -> None:
    """Refuse a file whose header is one text that another sign than a comma separates into columns of the kind."""
    line = ",".join(header)
    for sign, name in _SEPARATORS.items():
        between = [part.strip() for part in line.split(sign)]
        if line.lower().startswith("sep=") or (len(between) > 1 and set(between) & set(_known(kind))):
            raise ConfigurationError(
                f"{place}: values must be separated by commas, and numbers have a point before their decimals. "
                f"Got {name if len(between) > 1 else 'a line that names another separator'}. Save the file as CSV with "
                "commas; a program set to English does so."
            )


def _check_unnamed(path: Path, header: Sequence[str], lines: Sequence[tuple[int, list[str]]]) -> None:
    """Refuse values in a column without a name: nobody can tell what they are."""
    for number, column in enumerate(header):
        found = next(((line, texts[number]) for line, texts in lines if not column and texts[number]), None)
        if found:
            raise ConfigurationError(
                f"{_place(path, found[0])}: every value must be in a column that has a name, but column {number + 1} "
                f"has none. Got {_shown(found[1])}. Name or remove that column (pandas leaves its index out by "
                "index=False)."
            )


def _check_header(place: str, header: Sequence[str], kind: type[Columns]) -> None:
    known = _known(kind)
    for column in header:
        if header.count(column) > 1:
            raise ConfigurationError(f"{place}: two columns are called {column!r}. Keep one of them.")
        if column not in known and kind.model_config.get("extra") != "allow":
            raise ConfigurationError(
                f"{place}: unknown column {column!r}.{did_you_mean(column, known)} "
                f"The file may have the columns {', '.join(known)}."
            )
    for other, name in kind.SAME:
        if other in header and name in header:
            raise ConfigurationError(f"{place}: {name} and {other} say the same. Keep one of them.")
    required = [name for name, field in kind.model_fields.items() if field.is_required()]
    if missing := [name for name in required if name not in header]:
        raise ConfigurationError(
            f"{place}: must have the column{'s' * (len(missing) > 1)} {', '.join(missing)}. "
            f"Got {', '.join(map(repr, header)) or 'an empty file'}."
        )


def _known(kind: type[Columns]) -> list[str]:
    return [*kind.model_fields, *kind.NOT_READ]


def _row(path: Path, line: int, texts: Mapping[str, str], kind: type[Columns]) -> Row:
    given = {column: text for column, text in texts.items() if column and text and column not in kind.NOT_READ}
    try:
        read = kind.model_validate(given)
    except ValidationError as error:
        raise _refusal(Row(path, line, {}, {}), error, given, kind) from error
    others = dict(read.model_extra or {})
    values = {name: getattr(read, name) for name in kind.model_fields}
    for other, name in kind.SAME:
        if (value := values.pop(other)) is not None:
            values[name] = value
    return Row(path, line, values, others, frozenset(given))


def _refusal(place: Row, error: ValidationError, given: Mapping[str, str], kind: type[Columns]) -> ConfigurationError:
    """Turn the first of pydantic's errors about a line into ours."""
    first = error.errors()[0]
    column = str(first["loc"][0])
    if column not in given:
        return place.error(column, "must have a value. Got nothing.")
    rule = first["msg"].removeprefix("Value error, ")
    if column not in kind.model_fields:
        known = _known(kind)
        rule += f", because it is none of the columns {', '.join(known)}.{did_you_mean(column, known)}"
    return place.error(column, f"{rule}{'' if rule.endswith(('?', '.')) else '.'} Got {_shown(given[column])}.")


def _shown(text: str) -> str:
    return repr(text if len(text) <= _LONGEST_SHOWN else f"{text[:_LONGEST_SHOWN]}...")
