"""Text that people give: UTF-8 with or without its mark; anything else is named."""

from __future__ import annotations

from pathlib import Path

import pytest

from featurestore.errors import ConfigurationError, QueryError
from featurestore.given_files import read_given_text
from queries.asking import questions

TEXT = "# é\nname = 'x'\n"


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
@pytest.mark.parametrize("ends", ["\n", "\r\n", "\r"])
def test_a_mark_and_other_ends_of_lines_are_no_part_of_a_text(tmp_path: Path, encoding: str, ends: str) -> None:
    path = tmp_path / "study.toml"
    path.write_bytes(TEXT.replace("\n", ends).encode(encoding))
    assert read_given_text(path) == TEXT


@pytest.mark.parametrize(
    ("encoding", "told"),
    [
        ("utf-16", "is in UTF-16. .*iconv -f UTF-16 -t UTF-8 '.*my study.toml' > NEW_FILE"),
        ("utf-16-le", "has bytes of zero. .*iconv -f UTF-16"),
        ("utf-32", "is in UTF-32. "),
        ("latin-1", "the byte 0xe9 in line 1 is none of it. .*iconv -f LATIN1"),
    ],
)
def test_another_encoding_is_named_with_the_way_out(tmp_path: Path, encoding: str, told: str) -> None:
    path = tmp_path / "my study.toml"
    path.write_bytes(TEXT.encode(encoding))
    with pytest.raises(ConfigurationError, match=told):
        read_given_text(path)
    with pytest.raises(QueryError, match=told):
        questions.read(path)
