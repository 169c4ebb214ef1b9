"""What a study file that is not TOML is told."""

from pathlib import Path

import pytest

from cluster.study.study_file import parse_study
from featurestore.errors import ConfigurationError


@pytest.mark.parametrize(
    ("text", "advice"),
    [
        ('\nname = “garden”', "line 2.*The line is: name = “garden”\nText is quoted with \" or ', not with “”"),
        ("name = garden", "The line is: name = garden\nA value is \"text\" in quotes"),
        ("store = \"C:\\data\\x\"", "write the path with / or in '...'"),
        ("store = \"C:\\x\"", "write the path with / or in '...'"),
        ('[[model]]\nname = "a"\nname = "b"\n', r"line 3.*\n.*a line such as \[\[dataset\]\] is missing above it"),
        ('model = ["a"]\n[[model]]\nname = "a"', "models and datasets, with an s"),
        ('[probe]\nseed = 1\n[probe]\nseed = 2', "other tables are there once"),
        ("a = 1\r\nb =\r\n", "line 2, column 4.*The line is: b =\n"),
        ("a = [1,", "is not TOML: .*end of document"),
    ],
)  # fmt: skip
def test_a_file_that_is_not_toml_shows_the_line_and_what_to_write(text: str, advice: str) -> None:
    with pytest.raises(ConfigurationError, match=advice):
        parse_study(text, Path("study.toml"))
