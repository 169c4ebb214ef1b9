"""A store in a notebook: questions, and their answers as data frames, tables or files.

Users import the module ``probestore``, which opens a store by this one.
"""

from __future__ import annotations

import weakref
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from featurestore.errors import QueryError
from featurestore.plain_text import visible
from featurestore.store.storage_options import Options
from queries.asking import formats, questions
from queries.asking.database import Database, connect

if TYPE_CHECKING:
    import pandas
    import polars

    from queries.drawing.figures.figure import Figure

_ROWS_SHOWN = 50  # of an answer that a notebook displays


@dataclass(frozen=True, repr=False)
class Answer:
    """The answer to a question.

    Attributes
    ----------
    sql : str
        The SQL that was run, header and comments included.
    table : pyarrow.Table
    """

    sql: str
    table: pa.Table

    def arrow(self) -> pa.Table:
        """Return the answer as a pyarrow.Table."""
        return self.table

    def rows(self) -> list[dict[str, Any]]:
        """Return the answer as a list of dictionaries, one per row. A column with a time that Python lacks is text."""
        return formats.records(self.table)

    def df(self) -> pandas.DataFrame:
        """Return the answer as a pandas DataFrame.

        Raises
        ------
        QueryError
            If pandas is not installed.
        """
        try:
            import pandas  # noqa: F401 - pyarrow says less clearly that it is missing
        except ImportError as error:
            raise QueryError(_missing("pandas", "df")) from error
        return self.table.to_pandas()

    def pl(self) -> polars.DataFrame:
        """Return the answer as a polars DataFrame.

        Raises
        ------
        QueryError
            If polars is not installed.
        """
        try:
            import polars
        except ImportError as error:
            raise QueryError(_missing("polars", "pl")) from error
        frame = polars.from_arrow(self.table)
        assert isinstance(frame, polars.DataFrame)  # only an array would become a series
        return frame

    def save(self, path: str | Path) -> Path:
        """Write the answer to a file: .csv, .json, .md, .tex, .txt or .parquet.

        Returns
        -------
        Path
            `path`.

        Raises
        ------
        QueryError
            If the suffix is another, or the file cannot be written.
        """
        path = Path(path)
        formats.save(self.table, formats.form_of(path), path)
        return path

    def __len__(self) -> int:
        """Return the number of rows."""
        return int(self.table.num_rows)

    def __repr__(self) -> str:
        return f"<Answer: {_size(self.table)}; .df() .pl() .arrow() .rows() .save(path) .sql>"

    def _repr_html_(self) -> str:
        """Return a table for notebooks."""
        return _html(self.table)


class OpenStore:
    """A store that answers questions.

    It is closed by `close`, at the end of a ``with`` statement, or when it is no longer used.

    Parameters
    ----------
    uri : str
    storage_options : mapping of str to str, optional
        See `featurestore.store.places.open_place`.
    """

    def __init__(self, uri: str, *, storage_options: Options | None = None) -> None:
        self._database = connect(uri, storage_options=storage_options)
        self._closing = weakref.finalize(self, self._database.close)

    @property
    def uri(self) -> str:
        """The place of the store."""
        return self._database.uri

    def query(self, name: str, /, **parameters: object) -> Answer:
        """Answer a question that comes with probestore, or that of a .sql file.

        Parameters
        ----------
        name : str
            One of `questions`, or the path of a file, which ends in ``.sql``.
        **parameters
            Values for the parameters in its header.

        Raises
        ------
        UnknownNameError
            If there is no such question.
        QueryError
            If a parameter is unknown or has the wrong type, the file cannot be read, or the SQL fails.
        """
        if name.endswith(".sql"):
            return Answer(questions.read(Path(name)).sql, self._open().run_file(name, **parameters))
        return Answer(questions.describe(name).sql, self._open().query(name, **parameters))

    def sql(self, text: str) -> Answer:
        """Run one SELECT over the store's tables.

        Raises
        ------
        QueryError
            If the text is anything else, reaches outside the store, or fails.
        """
        return Answer(text, self._open().sql(text))

    def figure(
        self,
        number: int,
        *,
        probe: str = "logistic",
        tap: str = "penultimate",
        dataset: str | None = None,
        models: Sequence[str] = (),
        seed: int = 0,
    ) -> Figure:
        """Draw a figure of the paper; `.save(path)` writes it as .svg, .pdf or .png.

        Parameters
        ----------
        number : int
            1 to 9; `probestore figure --help` describes them.
        probe, tap : str
            The probe whose results are drawn, and the layer that its features come from.
        dataset : str, optional
            The dataset of figure 4; of figures 8 and 9 the only panel to draw.
        models : sequence of str
            Two for figure 4; one for figures 8 and 9.
        seed : int
            Seed of bootstrap, draws and t-SNE.

        Raises
        ------
        QueryError
            If the store lacks what the figure shows.
        """
        from queries.drawing.figures.catalogue import draw
        from queries.drawing.figures.choice import Choice

        return draw(number, self._open(), Choice(probe, tap, dataset, tuple(models), seed))

    def questions(self) -> Answer:
        """Return the questions that come with probestore, by topic."""
        rows = [{"question": found.name, "topic": found.topic, "text": found.text} for found in questions.by_topic()]
        return Answer("", pa.Table.from_pylist(rows))

    def close(self) -> None:
        """Release DuckDB's memory."""
        self._closing()

    def _open(self) -> Database:
        if not self._closing.alive:
            raise QueryError(f"This store was closed. Open it again: probestore.open({self.uri!r})")
        return self._database

    def __enter__(self) -> OpenStore:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<OpenStore {self.uri}; .questions() .query(name, ...) .sql(text) .figure(number)>"


def _missing(package: str, method: str) -> str:
    return f".{method}() needs {package}, which is not installed. Run: pip install {package}"


def _size(table: pa.Table) -> str:
    return f"{table.num_rows} row{'' if table.num_rows == 1 else 's'} of {', '.join(table.column_names)}"


def _html(table: pa.Table) -> str:
    """Return the first rows as HTML in which every name is text."""
    numbers = [formats.is_number(field) for field in table.schema]
    head = "".join(f'<th scope="col">{escape(visible(name))}</th>' for name in table.column_names)
    body = "".join(
        f"<tr>{''.join(_cell(text, number) for text, number in zip(row, numbers, strict=True))}</tr>"
        for row in formats.readable_rows(table.slice(0, _ROWS_SHOWN))
    )
    rows = f"{table.num_rows} row{'' if table.num_rows == 1 else 's'}"
    shown = f"{rows}, of which the first {_ROWS_SHOWN} are shown" if table.num_rows > _ROWS_SHOWN else rows
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table><p>{shown}</p>"


def _cell(text: str, number: bool) -> str:
    return f'<td style="text-align: {"right" if number else "left"}">{escape(text)}</td>'
