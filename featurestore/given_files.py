"""Paths and text files as people give them, on a command line or in a study file."""

from __future__ import annotations

import codecs
import os
from pathlib import Path

from featurestore.errors import ConfigurationError
from featurestore.plain_text import shell_command

_OTHER_MARKS = {  # the longer first: that of UTF-32 begins as that of UTF-16
    codecs.BOM_UTF32_LE: "UTF-32",
    codecs.BOM_UTF32_BE: "UTF-32",
    codecs.BOM_UTF16_LE: "UTF-16",
    codecs.BOM_UTF16_BE: "UTF-16",
}


def given_path(text: str) -> Path:
    """Return a path with ``~`` and ``~user`` replaced at its beginning, as a shell does it.

    Where there is no such home it stays as it is, and so does the ``~`` of ``./~``, which `pathlib` would replace.

    Examples
    --------
    >>> str(given_path("~nobody-of-this-name/images")), str(given_path("./~"))
    ('~nobody-of-this-name/images', '~')
    """
    return Path(os.path.expanduser(text))  # noqa: PTH111 - pathlib's own raises where there is no home


def check_utf8(what: str, path: Path) -> None:
    """Check that a path is text in UTF-8, as all paths are that a store keeps.

    Raises
    ------
    ConfigurationError
        If it is not; the message has the path and its first wrong byte.
    """
    try:
        str(path).encode()
    except UnicodeEncodeError as error:
        raise ConfigurationError(
            f"The path of {what} must be text in UTF-8, which it is not at {str(path)[error.start]!r}. "
            f"Got {str(path)!r}. Rename the folder, make a link to it whose name is, or choose a locale of UTF-8."
        ) from error


def read_given_text(path: Path) -> str:
    """Return the text of a file in UTF-8, with or without a byte order mark, and with any ends of lines.

    Raises
    ------
    ConfigurationError
        If it is in another encoding, which the message names as far as it can be told.
    OSError
        If the file cannot be read.
    """
    content = path.read_bytes()
    other = next((name for mark, name in _OTHER_MARKS.items() if content.startswith(mark)), None)
    if other or b"\0" in content:
        raise ConfigurationError(_wrong(path, f"is in {other}" if other else "has bytes of zero", other or "UTF-16"))
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        byte = f"the byte 0x{content[error.start]:02x} in line {line} is none of it"
        raise ConfigurationError(_wrong(path, byte, "LATIN1")) from error
    return text.replace("\r\n", "\n").replace("\r", "\n")


def _wrong(path: Path, what: str, encoding: str) -> str:
    command = shell_command("iconv", "-f", encoding, "-t", "UTF-8", str(path))
    return f"{path} must be text in UTF-8, but {what}. Save it as UTF-8, for instance with: {command} > NEW_FILE"
