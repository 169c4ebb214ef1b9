"""The answers that the page shows: what each question was asked with, what it said, and how to ask it again."""

from __future__ import annotations

import base64
import io
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from featurestore.plain_text import shell_command
from queries.asking import formats, questions
from queries.asking.database import Database
from queries.asking.questions import Question

Row = dict[str, Any]

MOST_ROWS_TO_DOWNLOAD = 5_000
"""Longer answers are not in the page; it names the command that gives them."""

SLICE = ("setting", "probe", "tap", "n_per_class")
"""The parameters that name a comparison, see the question `slices`."""

_OF_EACH_SETTING = ("leaderboard", "transfer_points", "transfer_band")


@dataclass(frozen=True)
class PageAnswer:
    """A question and its answer.

    Attributes
    ----------
    question : Question
    parameters : mapping of str to object
        The parameters that were given; the others had their defaults.
    table : pyarrow.Table
    store : str
        URI of the store, for the command line.
    """

    question: Question
    parameters: Mapping[str, object]
    table: pa.Table
    store: str

    @property
    def name(self) -> str:
        """The name of the question."""
        return self.question.name

    def __len__(self) -> int:
        return int(self.table.num_rows)

    def __iter__(self) -> Iterator[Row]:
        return iter(self.rows)

    @cached_property
    def rows(self) -> list[Row]:
        """The answer as dictionaries."""
        rows: list[Row] = self.table.to_pylist()
        return rows

    def where(self, **values: object) -> pa.Table:
        """Return the rows in which columns have these values."""
        table = self.table
        for column, value in values.items():
            table = table.filter(pc.equal(table[column], value))
        return table

    def values(self, column: str) -> list[str]:
        """Return the values of a column, each once, by alphabet."""
        return sorted(set(self.table[column].to_pylist()))

    @property
    def command(self) -> str:
        """The command line that asks the same question."""
        given = [
            word
            for name, value in self.parameters.items()
            if _literal(value) != self._defaults[name].partition("::")[0]
            for word in ("-p", f"{name}={_as_text(value)}")
        ]
        return shell_command("probestore", "query", self.name, *given, "--store", self.store)

    @property
    def sql(self) -> str:
        """The SQL with values in the place of its parameters, for `probestore sql` and any copy of the tables."""
        values = self._defaults | {
            name: _literal(value) if value is not None else self._defaults[name]
            for name, value in self.parameters.items()
        }
        return "\n".join(
            line if line.startswith("--") else re.sub(r"\$(\w+)", lambda match: values[match[1]], line)
            for line in self.question.sql.strip().splitlines()
        )

    @property
    def download(self) -> str | None:
        """The answer as CSV in a data: URI; None if it is too long for a page."""
        if len(self) > MOST_ROWS_TO_DOWNLOAD:
            return None
        text = io.StringIO()
        formats.write(self.table, "csv", text)
        return f"data:text/csv;charset=utf-8;base64,{base64.b64encode(text.getvalue().encode()).decode()}"

    @property
    def _defaults(self) -> dict[str, str]:
        return {parameter.name: parameter.default for parameter in self.question.parameters}


@dataclass(frozen=True)
class PageAnswers:
    """All answers that the page is made from.

    Attributes
    ----------
    slices : list of dict
        Rows of the question `slices`; the first is shown, and the page names the others.
    by_question : mapping of str to PageAnswer
        Name of the question -> its answer, about the slice that is shown where the question is about a slice.
    by_setting : mapping of str to mapping of str to PageAnswer
        For each other setting with the same probe, tap and number of training images: `leaderboard` and the points and
        bands of the correlation.
    """

    slices: list[Row]
    by_question: Mapping[str, PageAnswer]
    by_setting: Mapping[str, Mapping[str, PageAnswer]]

    def __getitem__(self, name: str) -> PageAnswer:
        return self.by_question[name]

    @property
    def correlation(self) -> Row:
        """The row of `correlation_by_setting` for the setting that is shown; a row of no models where there is none."""
        shown = self.slices[0]["setting"] if self.slices else None
        rows = [row for row in self["correlation_by_setting"] if row["setting"] == shown]
        return rows[0] if rows else {"n_models": 0, "n_datasets": 0, "r": None}

    @property
    def other_slices(self) -> list[Row]:
        """The slices that differ in more than the setting from the one that is shown."""
        return [other for other in self.slices[1:] if not _differs_in_setting_only(other, self.slices[0])]


def ask(database: Database, wanted: Mapping[str, Mapping[str, object]]) -> PageAnswers:
    """Ask about the setting, probe, tap and number of training images that most results have.

    Parameters
    ----------
    database : Database
    wanted : mapping of str to mapping
        Question -> parameters that are not its defaults, beside those of what is shown.
    """
    slices = database.query("slices").to_pylist()
    shown = _values(slices[0]) if slices else {}
    by_question = {name: _ask(database, name, {**shown, **parameters}) for name, parameters in wanted.items()}
    by_setting = {
        other["setting"]: {
            name: _ask(database, name, {**_values(other), **wanted.get(name, {})}) for name in _OF_EACH_SETTING
        }
        for other in slices[1:]
        if _differs_in_setting_only(other, slices[0])
    }
    return PageAnswers(slices, by_question, by_setting)


def _ask(database: Database, name: str, values: Mapping[str, object]) -> PageAnswer:
    """Ask with those values that the question has parameters for."""
    question = questions.describe(name)
    known = {parameter.name for parameter in question.parameters}
    given = {parameter: value for parameter, value in values.items() if parameter in known}
    return PageAnswer(question, given, database.query(name, **given), database.uri)


def _values(slice_: Row) -> Row:
    return {name: slice_[name] for name in SLICE}


def _differs_in_setting_only(other: Row, shown: Row) -> bool:
    return all(other[name] == shown[name] for name in SLICE if name != "setting")


def _as_text(value: object) -> str:
    return "null" if value is None else str(value)


def _literal(value: object) -> str:
    """Return a value as SQL."""
    if isinstance(value, str):
        return "'" + value.replace("'", "''") + "'"
    return _as_text(value).upper() if value is None or isinstance(value, bool) else str(value)
