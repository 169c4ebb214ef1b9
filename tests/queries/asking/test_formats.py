"""Formats: what is written of an answer, and what never reaches a terminal."""

from __future__ import annotations

import io
import json
import random
import re
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from featurestore.errors import QueryError
from featurestore.plain_text import visible
from queries.asking import formats

ANSWER = pa.table(
    {"name": ["a|b", "[red]"], "value": [0.91230000001, None], "odd": [float("nan"), 1e-6], "n": [[1], []]}
)
HOSTILE = pa.table({"na\x1bme": ["\x1b]0;owned\x07\x1b[31mred", "\x9b2J", "a\u202egpj.exe"], "n": [1, 2, 3]})
CONTROLS = {"\x1b", "\x07", "\x9b", "\u202e"}


class Terminal(io.StringIO):
    """What is written to it was written to a terminal."""

    def isatty(self) -> bool:
        return True


def written(table: pa.Table, form: str, stream: io.StringIO | None = None) -> str:
    stream = stream or io.StringIO()
    formats.write(table, form, stream)
    return stream.getvalue()


def squeezed(text: str) -> str:
    """The text with one space where columns are aligned by several."""
    return re.sub(" +", " ", text)


def test_an_answer_is_written_in_every_format(tmp_path: Path) -> None:
    texts = {form: written(ANSWER, form) for form in formats.FORMATS[:-1]}
    assert "0.9123" in texts["table"]
    assert "0.91230000001" not in texts["table"]
    assert "[red]" in texts["table"]
    assert texts["csv"].splitlines() == ["name,value,odd,n", "a|b,0.91230000001,nan,[1]", "[red],,1e-06,[]"]
    assert json.loads(texts["json"])[0] == {"name": "a|b", "value": 0.91230000001, "odd": None, "n": [1]}
    rule, first = texts["markdown"].splitlines()[1:3]
    assert re.fullmatch(r"\|:-+\|-+:\|-+:\|:-+\|", rule)
    assert squeezed(first) == "| a\\|b | 0.9123 | nan | 1 |"
    formats.save(ANSWER, "parquet", tmp_path / "a.parquet")
    assert pq.read_table(tmp_path / "a.parquet").schema == ANSWER.schema


def test_a_time_that_python_has_not_is_written_as_duckdb_writes_it() -> None:
    """The calendar of Python ends with the year 9999."""
    table = duckdb.sql(
        "select date '290000-01-01' as day, 'infinity'::timestamp as time, timestamptz '-infinity' as there, "
        "[date '0044-01-01 (BC)'] as days union all select null, timestamp '2026-01-02 03:04', null, null"
    ).to_arrow_table()
    assert written(table, "csv").splitlines() == [
        "day,time,there,days",
        "290000-01-01,infinity,-infinity,['0044-01-01 (BC)']",
        ",2026-01-02 03:04:00,,",
    ]
    assert json.loads(written(table, "json"))[0]["day"] == "290000-01-01"
    assert "| 290000-01-01 | infinity | -infinity |" in squeezed(written(table, "markdown"))
    assert "290000-01-01 & infinity & -infinity" in squeezed(written(table, "latex"))
    assert "290000-01-01" in written(table, "table")


def test_an_unknown_format_and_an_impossible_file_are_refused(tmp_path: Path) -> None:
    with pytest.raises(QueryError, match=r"table, csv, json, markdown, latex, parquet\. Got 'xml'"):
        formats.write(ANSWER, "xml", io.StringIO())
    with pytest.raises(QueryError, match=r"Cannot write .*No such file"):
        formats.save(ANSWER, "csv", tmp_path / "absent" / "a.csv")


def test_latex_is_a_booktabs_table_with_numbers_at_the_right() -> None:
    lines = squeezed(written(ANSWER, "latex")).splitlines()
    assert lines[0] == r"% In the preamble: \usepackage{booktabs}"
    assert lines[1:] == [
        r"\begin{tabular}{lrrl}",
        r"\toprule",
        r"name & value & odd & n \\",
        r"\midrule",
        r"a\textbar{}b & 0.9123 & nan & 1 \\",
        r"{[}red] & -- & $1 \times 10^{-6}$ & \\",
        r"\bottomrule",
        r"\end{tabular}",
    ]


def test_latex_escapes_all_that_it_would_read_as_commands() -> None:
    table = pa.table({"a_b": ["50% & $x^2$ #1 {~\\input}", "line\nbreak"], "n": [-0.5, 20000.0]})
    text = squeezed(written(table, "latex"))
    assert r"50\% \& \$x\textasciicircum{}2\$ \#1 \{\textasciitilde{}\textbackslash{}input\} & $-0.5$ \\" in text
    assert r"a\_b & n \\" in text
    assert r"line\textbackslash{}nbreak & 20000 \\" in text


TEXTS = (
    "",
    "a",
    "漢字",
    "é",
    "e\u0301",
    "two  words ",
    " x",
    "\U0001f600",
    "[red]",
    "a\tb",
    "ﬀ",
    "\U0001f468\u200d\U0001f469",
)


def test_a_table_in_a_file_looks_as_rich_would_print_it(monkeypatch) -> None:
    rng = random.Random(0)
    for _ in range(60):
        names = rng.sample(["n", "name", "漢", "a b", "long name"], rng.randrange(1, 4))
        n = rng.choice([0, 1, 3])
        values = [
            [rng.choice(TEXTS) for _ in range(n)] if rng.random() < 0.7 else rng.sample(range(999), n) for _ in names
        ]
        kinds = [pa.int64() if own and isinstance(own[0], int) else pa.string() for own in values]
        table = pa.table([pa.array(own, kind) for own, kind in zip(values, kinds, strict=True)], names)
        assert formats.plain_grid(table, widest=100)
        text = written(table, "table")
        with monkeypatch.context() as patch:
            patch.setattr(formats, "plain_grid", lambda table, widest: None)
            assert text == written(table, "table")


def test_cells_of_several_lines_and_very_long_ones_are_left_to_rich() -> None:
    assert formats.plain_grid(pa.table({"a": ["two\nlines"]}), widest=100) is None
    assert formats.plain_grid(pa.table({"a": ["x" * 99]}), widest=100) is None
    assert "two   \n lines" in written(pa.table({"a": ["two\nlines"]}), "table")


@pytest.mark.parametrize("form", ["markdown", "latex"])
def test_no_rows_are_a_table_of_names_and_spaces_in_a_name_are_kept(form: str) -> None:
    table = pa.table({"name": ["  two  spaces"], "n": [1]})
    assert "  two  spaces" in written(table, form)
    assert "name" in written(table.slice(0, 0), form)


def test_markdown_from_a_name_opens_no_html() -> None:
    assert "\\<script>" in written(pa.table({"name": ["<script>"]}), "markdown")


@pytest.mark.parametrize("form", formats.FORMATS[:-1])
def test_no_name_sends_a_terminal_a_control_character(form: str) -> None:
    shown = re.sub(r"\x1b\[[0-2]?m", "", written(HOSTILE, form, Terminal()))  # bold and dim are rich's own
    assert not CONTROLS & set(shown)
    assert "31mred" in shown


def test_control_characters_are_written_out_so_that_they_can_be_seen() -> None:
    text = written(HOSTILE, "table")
    assert r"na\x1bme" in text
    assert r"\x1b]0;owned\x07\x1b[31mred" in text
    assert r"a\u202egpj.exe" in text
    assert json.loads(written(HOSTILE, "json"))[1]["na\x1bme"] == "\x9b2J"


def test_a_file_of_csv_holds_the_data_as_they_are() -> None:
    assert "\x9b2J,2" in written(HOSTILE, "csv").splitlines()


def test_a_readable_text_keeps_its_lines() -> None:
    assert visible("two\nlines\tand a tab") == "two\nlines\\tand a tab"


def test_the_suffix_of_a_file_says_its_form() -> None:
    assert formats.form_of(Path("a.tex")) == "latex"
    assert set(formats.SUFFIXES.values()) == set(formats.FORMATS)
    with pytest.raises(QueryError, match=r"must end in one of \.txt, .*\.parquet\. Got 'a\.xlsx'"):
        formats.form_of(Path("a.xlsx"))
