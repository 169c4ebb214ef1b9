"""Answers as text or files: a readable table, CSV, JSON, Markdown, Parquet."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import IO, Any, TextIO

import pyarrow as pa
import pyarrow.parquet as pq
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from featurestore.errors import QueryError

_WIDE = 10_000  # columns of a "terminal" that is a pipe or a file: nothing is folded there


def write(table: pa.Table, form: str, stream: TextIO) -> None:
    """Write an answer to a text stream.

    Parameters
    ----------
    table : pyarrow.Table
    form : {"table", "csv", "json", "markdown", "parquet"}
    stream : text stream
        Such as ``sys.stdout``; Parquet goes to its binary buffer.

    Raises
    ------
    QueryError
        If `form` is unknown, or Parquet would be printed on a terminal.
    """
    if form == "parquet":
        pq.write_table(table, _binary(stream))
    elif form == "table":
        _print(table, stream)
    else:
        stream.write(_text_form(form)(table))


def save(table: pa.Table, form: str, path: Path) -> None:
    """Write an answer to a file, in a form of `write`.

    Raises
    ------
    QueryError
        If `form` is unknown or the file cannot be written.
    """
    try:
        with path.open("w", encoding="utf-8", newline="") as stream:
            write(table, form, stream)
    except OSError as error:
        raise QueryError(f"Cannot write {path}: {error.strerror}.") from error


def readable(value: Any) -> str:
    """Return `value` as people read it: four digits, a dash for null, yes and no.

    Examples
    --------
    >>> readable(0.91230000001), readable(25250.0), readable(1e-6), readable(None), readable(True)
    ('0.9123', '25250', '1e-06', '-', 'yes')
    """
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.0f}" if 1e4 <= abs(value) < 1e15 else f"{value:.4g}"
    if isinstance(value, datetime):
        return f"{value:%Y-%m-%d %H:%M}"
    return ", ".join(map(readable, value)) if isinstance(value, list) else str(value)


def _print(table: pa.Table, stream: TextIO) -> None:
    console = Console(file=stream, width=None if stream.isatty() else _WIDE, highlight=False)
    grid = Table(box=SIMPLE_HEAD, pad_edge=False)
    for field in table.schema:
        number = pa.types.is_floating(field.type) or pa.types.is_integer(field.type)
        grid.add_column(Text(field.name), justify="right" if number else "left", overflow="fold")
    for row in zip(*(column.to_pylist() for column in table.columns), strict=True):
        grid.add_row(*(Text(readable(value)) for value in row))
    console.print(grid)
    console.print(f"{table.num_rows} row{'' if table.num_rows == 1 else 's'}", style="dim")


def _csv(table: pa.Table) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(table.column_names)
    for row in table.to_pylist():
        writer.writerow(_cell(value) for value in row.values())
    return text.getvalue()


def _cell(value: Any) -> Any:
    """A CSV field: nothing for null, JSON for lists, ISO 8601 for times."""
    if isinstance(value, list | dict):
        return json.dumps(_jsonable(value))
    return value.isoformat() if isinstance(value, datetime) else value


def _json(table: pa.Table) -> str:
    return json.dumps(_jsonable(table.to_pylist()), indent=2, ensure_ascii=False) + "\n"


def _jsonable(value: Any) -> Any:
    """`value` with what JSON lacks replaced: null for NaN and infinity, ISO 8601 for times."""
    if isinstance(value, dict):
        return {name: _jsonable(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [_jsonable(inner) for inner in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, datetime):
        return value.isoformat()
    return value if value is None or isinstance(value, bool | int | float | str) else str(value)


def _markdown(table: pa.Table) -> str:
    rows = [table.column_names, ["---"] * table.num_columns]
    rows += [[readable(value) for value in row.values()] for row in table.to_pylist()]
    lines = (" | ".join(cell.replace("|", "\\|").replace("\n", " ") for cell in row) for row in rows)
    return "".join(f"| {line} |\n" for line in lines)


_TEXT_FORMS: dict[str, Callable[[pa.Table], str]] = {"csv": _csv, "json": _json, "markdown": _markdown}

FORMATS = ("table", *_TEXT_FORMS, "parquet")


def _text_form(form: str) -> Callable[[pa.Table], str]:
    if form not in _TEXT_FORMS:
        raise QueryError(f"The format must be one of {', '.join(FORMATS)}. Got {form!r}.")
    return _TEXT_FORMS[form]


def _binary(stream: TextIO) -> IO[bytes]:
    if stream.isatty():
        raise QueryError("Parquet is not for a terminal. Name a file with --out, or redirect the output.")
    return stream.buffer
