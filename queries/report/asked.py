"""The questions of the page: what each was asked with, what it said, and how to ask it again."""

from __future__ import annotations

import base64
import io
import re
import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from queries.asking import formats, questions
from queries.asking.database import Database
from queries.asking.questions import Question

Row = dict[str, Any]

MOST_ROWS_TO_DOWNLOAD = 5_000
"""Longer answers are not in the page, which says by which command they are had."""

SLICE = ("setting", "probe", "tap", "n_per_class")
"""The parameters that name a comparison, see the question `slices`."""

_OF_THE_PAGE = (
    "leaderboard", "scores_by_dataset", "cheap_scores", "probe_agreement",
    "transfer_points", "transfer_band", "correlation_by_setting", "correlation_by_dataset",
    "correlation_by_training_size", "transfer_residuals", "leave_one_out", "predicted_transfer",
    "settings_cells", "settings_by_dataset", "pretraining_gain", "few_shot_curves", "steps_to_reach",
    "tuning_curves", "fit_health", "chosen_regularization",
    "recipe_effects", "recipe_partial_correlation", "regularization_study",
    "hardest_images", "leaks", "representations", "cost",
    "coverage", "open_failures", "skipped_images", "datasets_used", "models_used", "provenance",
)  # fmt: skip
_OF_EACH_SETTING = ("leaderboard", "transfer_points", "transfer_band")

# Bands are looked at, not read; nor does the page show more of the groups than r and Fisher's interval.
_REPLICATES = {"transfer_band": 500, "correlation_by_training_size": 500}


@dataclass(frozen=True)
class Asked:
    """A question and its answer.

    Attributes
    ----------
    question : Question
    parameters : mapping of str to object
        Those that were given; the others had their defaults.
    table : pyarrow.Table
    store : str
        URI, for the command line.
    """

    question: Question
    parameters: Mapping[str, object]
    table: pa.Table
    store: str

    @property
    def name(self) -> str:
        """The question's."""
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
        """The rows in which columns have these values."""
        table = self.table
        for column, value in values.items():
            table = table.filter(pc.equal(table[column], value))
        return table

    def values(self, column: str) -> list[str]:
        """What a column holds, each once, by alphabet."""
        return sorted(set(self.table[column].to_pylist()))

    @property
    def command(self) -> str:
        """The command line that asks the same."""
        given = [
            f"-p {shlex.quote(f'{name}={_as_text(value)}')}"
            for name, value in self.parameters.items()
            if _literal(value) != self._defaults[name].partition("::")[0]
        ]
        return " ".join(["probestore query", self.name, *given, "--store", shlex.quote(self.store)])

    @property
    def sql(self) -> str:
        """The file with values in the place of its parameters, for `probestore sql` and any copy of the tables."""
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
class Answers:
    """What the page is made from.

    Attributes
    ----------
    slices : list of dict
        Rows of the question `slices`; the first is shown, and the page names the others.
    asked : mapping of str to Asked
        By the question's name; all of them about the slice that is shown, where they are about one.
    by_setting : mapping of str to mapping of str to Asked
        For each other setting with the same probe, tap and number of training images: `leaderboard` and the points and
        bands of the correlation.
    """

    slices: list[Row]
    asked: Mapping[str, Asked]
    by_setting: Mapping[str, Mapping[str, Asked]]

    def __getitem__(self, name: str) -> Asked:
        return self.asked[name]

    @property
    def correlation(self) -> Row:
        """The row of `correlation_by_setting` of what is shown; without one, that of no models."""
        shown = self.slices[0]["setting"] if self.slices else None
        rows = [row for row in self["correlation_by_setting"] if row["setting"] == shown]
        return rows[0] if rows else {"n_models": 0, "n_datasets": 0, "r": None}

    @property
    def other_slices(self) -> list[Row]:
        """Those that differ in more than the setting from what is shown."""
        return [other for other in self.slices[1:] if not _differs_in_setting_only(other, self.slices[0])]


def ask(database: Database) -> Answers:
    """Ask everything that the page shows, about the setting, probe, tap and training images that most results have."""
    slices = database.query("slices").to_pylist()
    shown = _values(slices[0]) if slices else {}
    asked = {name: _ask(database, name, shown) for name in _OF_THE_PAGE}
    by_setting = {
        other["setting"]: {name: _ask(database, name, _values(other)) for name in _OF_EACH_SETTING}
        for other in slices[1:]
        if _differs_in_setting_only(other, slices[0])
    }
    return Answers(slices, asked, by_setting)


def _ask(database: Database, name: str, slice_: Mapping[str, object]) -> Asked:
    """Ask with those values of a slice that the question has parameters for."""
    question = questions.describe(name)
    known = {parameter.name for parameter in question.parameters}
    values = {parameter: value for parameter, value in slice_.items() if parameter in known}
    if name in _REPLICATES:
        values["replicates"] = _REPLICATES[name]
    return Asked(question, values, database.query(name, **values), database.uri)


def _values(slice_: Row) -> Row:
    return {name: slice_[name] for name in SLICE}


def _differs_in_setting_only(other: Row, shown: Row) -> bool:
    return all(other[name] == shown[name] for name in SLICE if name != "setting")


def _as_text(value: object) -> str:
    return "null" if value is None else str(value)


def _literal(value: object) -> str:
    """A value as SQL."""
    if isinstance(value, str):
        return "'" + value.replace("'", "''") + "'"
    return _as_text(value).upper() if value is None or isinstance(value, bool) else str(value)
