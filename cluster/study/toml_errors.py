"""What is wrong with a text that is not TOML, in words for people who write it by hand."""

from __future__ import annotations

import re

_AT_LINE = re.compile(r"\(at line (\d+), column \d+\)")
_CURLY_QUOTES = re.compile("[\u2018-\u201f\u00ab\u00bb]")
_ADVICE = (
    ("Cannot overwrite a value", "This key is there twice; perhaps a line such as [[dataset]] is missing above it."),
    ("Cannot declare", "Lists of models and datasets have two brackets, [[model]]; other tables are there once."),
    ("immutable namespace", "This key is there twice: the lists of names are models and datasets, with an s."),
    ("Unescaped '\\'", "In \"...\" a backslash begins an escape: write the path with / or in '...'."),
    ("Invalid hex value", "In \"...\" a backslash begins an escape: write the path with / or in '...'."),
    ("Invalid value", 'A value is "text" in quotes, a number, true, false, or a list of them in [ ].'),
)


def in_words(error: Exception, text: str) -> str:
    """Return what is wrong, the line where it is, and what to write instead where that is known.

    Parameters
    ----------
    error : TOMLDecodeError
        What `tomllib` said of `text`.
    text : str
        The text that is not TOML.
    """
    said = str(error)
    found = _AT_LINE.search(said)
    line = text.replace("\r\n", "\n").split("\n")[int(found[1]) - 1].strip() if found else ""
    if quotes := "".join(dict.fromkeys(_CURLY_QUOTES.findall(line))):
        advice = f"Text is quoted with \" or ', not with {quotes}."
    else:
        advice = next((advice for start, advice in _ADVICE if start in said), "")
    shown = f"{said}. The line is: {line}" if line else said
    return f"{shown}\n{advice}" if advice else shown
