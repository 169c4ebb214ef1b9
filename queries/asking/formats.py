"""Answers as text or files: a readable table, CSV, JSON, Markdown, LaTeX, Parquet.

Names come from studies, from other people's files and from folders of images, so what is shown is not trusted: control
characters, which a terminal would obey, are written out (``\\x1b``).
"""

from __future__ import annotations

import csv
import json
import math
import re
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path
from typing import IO, Any, TextIO

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
from rich.box import SIMPLE_HEAD
from rich.cells import cell_len
from rich.console import Console, JustifyMethod
from rich.table import Table
from rich.text import Text
from tabulate import DataRow, Line, TableFormat, tabulate

from featurestore.errors import QueryError
from featurestore.plain_text import CONTROL, visible

SUFFIXES = {
    ".txt": "table", ".csv": "csv", ".json": "json", ".md": "markdown", ".tex": "latex", ".parquet": "parquet",
}  # fmt: skip
"""Suffix of a file -> the form in which an answer is written to it."""

_WIDE = 10_000  # columns of a "terminal" that is a pipe or a file: nothing is folded there

_LATEX_NUMBER = re.compile(r"(?P<digits>-?[\d.]+)(?:e(?P<power>[+-]\d+))?")
_MARKDOWN = re.compile(r"[\\`*\[\]<&|~$]|(?<![^\W_])_|_(?![^\W_])")
"""What would be read as markup; an underline within a word would not."""
_LATEX_CHARACTERS = str.maketrans({
    "\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "<": r"\textless{}",
    ">": r"\textgreater{}", "|": r"\textbar{}", "\n": " ", **{character: rf"\{character}" for character in "&%$#_{}"},
    "[": "{[}", "*": "{*}",  # after the end of a row both would be options of the row
})  # fmt: skip


def write(table: pa.Table, form: str, stream: TextIO) -> None:
    """Write an answer to a text stream.

    Parameters
    ----------
    table : pyarrow.Table
    form : {"table", "csv", "json", "markdown", "latex", "parquet"}
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
        write_text(_text_form(form)(table), stream)


def write_text(text: str, stream: TextIO) -> None:
    """Write text that programs read: in UTF-8, whatever the locale says, as into any other file.

    A terminal gets its own encoding, and nothing that it would obey.
    """
    if stream.isatty():
        stream.write(visible(text))
    elif hasattr(stream, "buffer"):
        stream.flush()
        stream.buffer.write(text.encode("utf-8", "backslashreplace"))
    else:  # a text in memory
        stream.write(text)


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


def form_of(path: Path) -> str:
    """Return the form that the suffix of a file asks for.

    Raises
    ------
    QueryError
        If the suffix is none of `SUFFIXES`.
    """
    if path.suffix not in SUFFIXES:
        raise QueryError(f"The name of an answer's file must end in one of {', '.join(SUFFIXES)}. Got {path.name!r}.")
    return SUFFIXES[path.suffix]


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


def is_number(field: pa.Field) -> bool:
    """Return whether a column holds numbers, which are aligned to the right."""
    kind = field.type
    return bool(pa.types.is_floating(kind) or pa.types.is_integer(kind) or pa.types.is_decimal(kind))


def rows(table: pa.Table) -> Iterator[tuple[Any, ...]]:
    """Return the rows as Python values. A column with a time that Python lacks is text, as DuckDB writes it."""
    return zip(*map(_values, table.columns), strict=True)


def records(table: pa.Table) -> list[dict[str, Any]]:
    """Return the rows as dictionaries: column -> value."""
    return [dict(zip(table.column_names, row, strict=True)) for row in rows(table)]


def readable_rows(table: pa.Table) -> Iterator[list[str]]:
    """Return the rows as people read them, with nothing in them that a terminal obeys."""
    for row in rows(table):
        yield [visible(readable(value)) for value in row]


def _values(column: pa.ChunkedArray) -> list[Any]:
    try:
        values: list[Any] = column.to_pylist()
    except OverflowError:  # a year before 1 or after 9999, or infinity
        with duckdb.connect() as connection:
            connection.execute("set TimeZone = 'UTC'")
            as_text = connection.from_arrow(pa.table({"value": column})).project("value::varchar as value")
            values = as_text.to_arrow_table()["value"].to_pylist()
    return values


def _print(table: pa.Table, stream: TextIO) -> None:
    console = Console(file=stream, width=None if stream.isatty() else _WIDE, highlight=False)
    n_rows = f"{table.num_rows} row{'' if table.num_rows == 1 else 's'}"
    if not console.is_terminal and (text := plain_grid(table, widest=_WIDE)) and not console.options.ascii_only:
        stream.write(f"{text}{n_rows}\n")
        return
    grid = Table(box=SIMPLE_HEAD, pad_edge=False)
    for field in table.schema:
        justify: JustifyMethod = "right" if is_number(field) else "left"
        grid.add_column(Text(visible(field.name)), justify=justify, overflow="fold")
    for row in readable_rows(table):
        grid.add_row(*map(Text, row))  # plain: a name may hold what rich would take for markup
    with console.capture() as printed:  # a console would end the process where nobody reads on
        console.print(grid)
        console.print(n_rows, style="dim")
    stream.write(printed.get())


def plain_grid(table: pa.Table, *, widest: int) -> str | None:
    """Return the grid that rich prints where there are no colours, in a small part of the time: it may be long.

    Returns
    -------
    str or None
        None if a cell has several lines, or a line would have more than `widest` columns.
    """
    columns = [[visible(field.name)] for field in table.schema]
    for row in readable_rows(table):
        for column, text in zip(columns, row, strict=True):
            column.append(text)
    sizes = [[cell_len(text) for text in column] for column in columns]
    widths = [max(own) for own in sizes]
    length = sum(widths) + 3 * len(widths) - 1
    if not columns or length > widest or any("\n" in text for column in columns for text in column):
        return None
    padded = [
        [" " * (width - size) + text if is_number(field) else text + " " * (width - size) for text, size in own]
        for field, width, own in zip(table.schema, widths, map(zip, columns, sizes), strict=True)
    ]
    head, *lines = [f" {'   '.join(cells)} " for cells in zip(*padded, strict=True)]
    blank = " " * length
    return "\n".join([blank, head, f" {'─' * (length - 2)} ", *lines, blank, ""])


def on_one_line(text: str) -> str:
    """Return text with its ends of lines and its tabs written out: a space would make two names one."""
    return text.replace("\n", "\\n").replace("\t", "\\t")


def _csv(table: pa.Table) -> str:
    """Return CSV with the data as they are, whatever a spreadsheet would compute of a text that begins with ``=``."""
    lines = _Lines()
    writer = csv.writer(lines)  # it quotes a field with either half of its own end of a line
    writer.writerow(table.column_names)
    for row in rows(table):
        writer.writerow(map(_cell, row))
    return "".join(lines)


class _Lines(list[str]):
    """Lines that end as those of other files do."""

    def write(self, line: str) -> None:
        self.append(line.removesuffix("\r\n") + "\n")


def _cell(value: Any) -> Any:
    """Return a CSV field: nothing for null, JSON for lists, ISO 8601 for times."""
    if isinstance(value, list | dict):
        return json.dumps(_jsonable(value))
    return value.isoformat() if isinstance(value, datetime) else value


def _json(table: pa.Table) -> str:
    text = json.dumps(_jsonable(records(table)), indent=2, ensure_ascii=False) + "\n"
    return CONTROL.sub(lambda found: f"\\u{ord(found[0]):04x}", text)  # those that JSON itself would let through


def _jsonable(value: Any) -> Any:
    """Return `value` with everything replaced that JSON lacks: null for NaN and infinity, ISO 8601 for times."""
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
    return _tabulated(table, _markdown_cell, _markdown_cell, "pipe")


def _markdown_cell(text: str) -> str:
    """Return text that is shown as it is: no part of it ends its cell, opens a tag of HTML, or is markup."""
    return _MARKDOWN.sub(r"\\\g<0>", on_one_line(text))


def _latex(table: pa.Table) -> str:
    r"""Return a table for the package booktabs; it does not break over pages."""
    return "% In the preamble: \\usepackage{booktabs}\n" + _tabulated(
        table, _latex_text, _latex_number, _booktabs(table)
    )


def _booktabs(table: pa.Table) -> TableFormat:
    """Return the layout of booktabs. Tabulate's own would escape once more, and has no options of a row in mind."""
    columns = "".join("r" if is_number(field) else "l" for field in table.schema)
    row = DataRow("", " & ", r" \\")
    return TableFormat(
        lineabove=Line(rf"\begin{{tabular}}{{{columns}}}" + "\n\\toprule", "", "", ""),
        linebelowheader=Line(r"\midrule", "", "", ""),
        linebetweenrows=None,
        linebelow=Line("\\bottomrule\n\\end{tabular}", "", "", ""),
        headerrow=row,
        datarow=row,
        padding=0,
        with_header_hide=None,
    )


def _tabulated(
    table: pa.Table, text: Callable[[str], str], number: Callable[[str], str], layout: str | TableFormat
) -> str:
    """Return the answer in a layout of tabulate, its texts and numbers written by these two functions."""
    numbers = list(map(is_number, table.schema))
    written = [
        [number(cell) if right else text(cell) for cell, right in zip(row, numbers, strict=True)]
        for row in readable_rows(table)
    ]
    heads = [text(visible(name)) for name in table.column_names]
    sides = ["right" if right else "left" for right in numbers]
    return tabulate(written, heads, layout, disable_numparse=True, colalign=sides, preserve_whitespace=True) + "\n"


def _latex_text(text: str) -> str:
    """Return text that is set as it is; two hyphens would become a dash, which stands for nothing here."""
    return "--" if text == "-" else on_one_line(text).translate(_LATEX_CHARACTERS).replace("--", "-{}-")


def _latex_number(text: str) -> str:
    r"""Return a number with minus sign and powers of ten as they are typeset: ``1e-06`` is ``$1 \times 10^{-6}$``."""
    number = _LATEX_NUMBER.fullmatch(text)
    if number is None:
        return _latex_text(text)
    power = rf" \times 10^{{{int(number['power'])}}}" if number["power"] else ""
    return f"${number['digits']}{power}$" if power or text.startswith("-") else text


_TEXT_FORMS: dict[str, Callable[[pa.Table], str]] = {
    "csv": _csv, "json": _json, "markdown": _markdown, "latex": _latex,
}  # fmt: skip

FORMATS = ("table", *_TEXT_FORMS, "parquet")


def _text_form(form: str) -> Callable[[pa.Table], str]:
    if form not in _TEXT_FORMS:
        raise QueryError(f"The format must be one of {', '.join(FORMATS)}. Got {form!r}.")
    return _TEXT_FORMS[form]


def _binary(stream: TextIO) -> IO[bytes]:
    if stream.isatty():
        raise QueryError("A terminal cannot show Parquet. Name a file with --out, or redirect the output.")
    return stream.buffer
