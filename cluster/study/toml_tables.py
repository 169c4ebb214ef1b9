"""Tables of a TOML file -> checked records. The error about a mistake has its line and a suggestion."""

from __future__ import annotations

import dataclasses
import json
import math
import re
from collections.abc import Iterable, Sequence
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

from pydantic import TypeAdapter, ValidationError

from featurestore.errors import ConfigurationError, ProbestoreError, did_you_mean

_Record = TypeVar("_Record")


@cache
def _checker(kind: type[Any]) -> TypeAdapter[Any]:
    """Return what checks records of a kind: to make it takes longer than to check a hundred."""
    return TypeAdapter(kind)


@dataclasses.dataclass(frozen=True)
class Place:
    """A place in a file.

    Attributes
    ----------
    table : str
        Name of the table; empty outside any table.
    key : str, optional
        Key in the table; None for the table as a whole.
    entry : int, optional
        Position in an array of tables; None for a plain table.
    """

    table: str = ""
    key: str | None = None
    entry: int | None = None

    def __str__(self) -> str:
        if not self.table:
            return "The file"
        return f"[{self.table}]" if self.entry is None else f"[[{self.table}]]"


class TomlTables:
    """A reader that turns the tables of one file into records.

    Parameters
    ----------
    text : str
        Text of the file; empty for settings that come from no file.
    origin : Path or str
        Name of the file in messages.
    """

    def __init__(self, text: str, origin: Path | str) -> None:
        self._lines = text.split("\n")
        self._origin = origin

    def record(
        self, kind: type[_Record], content: Any, place: Place | None = None, *, other_keys: Iterable[str] = ()
    ) -> _Record:
        """Return a table as a dataclass.

        Parameters
        ----------
        kind : type
            The dataclass.
        content : Any
            Content of the table, as tomllib gives it.
        place : Place, optional
            Place of the table.
        other_keys : iterable of str
            Keys that the table may have beside the fields. Messages list them.

        Raises
        ------
        ConfigurationError
            If the content is no table, a key is unknown, or a value is wrong.
        """
        place = place or Place()
        if not isinstance(content, dict):
            raise self.error(f"{place.table!r} must be a table, {place}. Got {content!r}.", place)
        known = [*(field.name for field in dataclasses.fields(kind)), *other_keys]  # type: ignore[arg-type]
        for key in content:
            if key not in known:
                message = f"unknown key {key!r}.{did_you_mean(key, known)} {place} takes: {', '.join(known) or 'none'}."
                raise self.error(message, dataclasses.replace(place, key=key))
            if not _is_finite(content[key]):
                message = f"{key} must be a finite number. Got {content[key]!r}."
                raise self.error(message, dataclasses.replace(place, key=key))
        try:
            # JSON mode is strict about types and still takes a TOML array for a tuple.
            checker = _checker(kind)  # type: ignore[arg-type]
            record: _Record = checker.validate_json(json.dumps(content, default=str), strict=True)
        except ValidationError as error:
            raise self._invalid(error, content, place) from error
        except ProbestoreError as error:
            raise self.error(str(error), place) from error
        return record

    def array(self, kind: type[_Record], content: Any, table: str) -> list[_Record]:
        """Return an array of tables, ``[[table]]``, as dataclasses."""
        if not isinstance(content, list):
            message = f"{table} must be an array of tables: write [[{table}]], with two brackets."
            raise self.error(message, Place(table))
        return [self.record(kind, entry, Place(table, entry=number)) for number, entry in enumerate(content)]

    def error(self, message: str, place: Place) -> ConfigurationError:
        """Return an error whose message begins with the file and the line."""
        line = self._line(place)
        return ConfigurationError(f"{self._origin}{f', line {line}' if line else ''}: {message}")

    def _invalid(self, error: ValidationError, content: dict[str, Any], place: Place) -> ConfigurationError:
        problems = error.errors()
        if missing := [str(item["loc"][0]) for item in problems if item["type"] == "missing"]:
            return self.error(f"{place} must have {' and '.join(missing)}.", place)
        first = problems[0]
        if not first["loc"]:
            return self.error(f"{place}: {first['msg']}.", place)
        key, *inside = (part for part in first["loc"] if isinstance(part, str))
        got = first["input"] if inside else content[key]
        message = f"{'.'.join((key, *inside))}: {first['msg'].lower()}. Got {got!r}."
        return self.error(message, dataclasses.replace(place, key=key))

    def _line(self, place: Place) -> int | None:
        """Return the line of a key, or of its table's header; None if the file writes them in an unusual way."""
        header = self._header(place) if place.table else 0
        if header is None and "." in place.table:  # it may be an inline table, on one line of the outer one
            outer, _, name = place.table.rpartition(".")
            return self._line(Place(outer, name))
        if header is None or place.key is None:
            return header or None
        for number, line in enumerate(self._lines[header:], start=header + 1):
            if _HEADER.match(line):
                break
            if re.match(rf"\s*[\"']?{re.escape(place.key)}\b", line):
                return number
        return header or None

    def _header(self, place: Place) -> int | None:
        headers = [number for number, line in enumerate(self._lines, start=1) if _names(line) == place.table]
        entry = place.entry or 0
        return headers[entry] if entry < len(headers) else None


_HEADER = re.compile(r"\s*\[\[?\s*([\w.-]+)\s*\]\]?")


def _names(line: str) -> str | None:
    """Return the name of the table that a line opens, if it opens one."""
    match = _HEADER.match(line)
    return match[1] if match else None


def _is_finite(value: Any) -> bool:
    """Return whether no number in a value is NaN or infinite: TOML has them, and a comparison lets NaN pass."""
    if isinstance(value, dict):
        return all(map(_is_finite, value.values()))
    if isinstance(value, list):
        return all(map(_is_finite, value))
    return not isinstance(value, float) or math.isfinite(value)


def repeated(names: Sequence[Any]) -> list[Any]:
    """Return the entries that are in a list more than once."""
    return sorted({name for name in names if list(names).count(name) > 1})
