"""Texts of the report's tables."""

from __future__ import annotations

import pytest

from queries.report.cell_text import cell_text, fields, is_number, plural


@pytest.mark.parametrize(
    ("value", "kind", "text"),
    [
        (0.12345, "number:2", "0.12"),
        (-0.5, "signed:1", "−0.5"),
        (0.5, "signed:1", "+0.5"),
        (-0.001, "signed:2", "0.00"),
        (0.794, "percent:1", "79.4"),
        (2e-5, "p", "< 0.001"),
        (0.0234, "p", "0.023"),
        (0.234, "p", "0.23"),
        (1_234_567, "count", "1,234,567"),
        (0, "bytes", "0 B"),
        (3_300_000, "bytes", "3.3 MB"),
        (250_000_000_000, "bytes", "250 GB"),
        (0.25, "seconds", "0.25 s"),
        (119, "seconds", "2 min"),
        (7_200, "seconds", "2.0 h"),
        (1e-4, "short", "0.0001"),
        ("sha256:0123456789abcdef", "digest", "sha256:0123456789ab…"),
        ("finetuned", "setting", "fine-tuned"),
        ('{"a": 1}', "fields", "a 1"),
        (None, "number:2", "–"),
        ("", "", "–"),
        (True, "", "yes"),
        ("a-b", "", "a-b"),
    ],
)
def test_values_are_written_by_their_kind(value: object, kind: str, text: str) -> None:
    assert cell_text({"x": value}, "x", kind) == text


def test_intervals_have_two_ends_or_one_value() -> None:
    row = {"low": -0.123, "high": 0.456, "none": None}
    assert cell_text(row, ("low", "high"), "interval:2") == "−0.12 to 0.46"
    assert cell_text(row, ("low", "low"), "interval:1") == "−0.1"
    assert cell_text(row, ("low", "none"), "interval:1") == "–"
    assert cell_text(row, ("high", "low"), "error:1") == "+0.5 ± −0.1"


def test_numbers_are_set_flush_right_and_words_are_not() -> None:
    row = {"n": 1, "none": None, "yes": True, "word": "a"}
    assert [is_number(row, name) for name in row] == [True, False, False, False]
    assert is_number(row, "none", "percent:1")
    assert not is_number(row, "word", "setting")


def test_what_is_no_json_stays_as_it_is() -> None:
    assert (fields('{"a": 1, "b": "x"}'), fields("not json"), fields(None), fields("[1]")) == (
        "a 1, b x",
        "not json",
        "",
        "[1]",
    )


def test_one_is_singular() -> None:
    assert (plural(1, "model"), plural(1200, "model")) == ("1 model", "1,200 models")
