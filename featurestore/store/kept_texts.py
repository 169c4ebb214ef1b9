"""The texts of study files that a store keeps, each with a last line that says where its file is, and signs it.

The line is a comment of TOML, so that a kept text can be run as it is.
"""

from __future__ import annotations

import json
from dataclasses import dataclass

from featurestore.store.digests import digest

_MARK = "# Kept by probestore: "


@dataclass(frozen=True)
class KeptText:
    """The text of a study file.

    Attributes
    ----------
    text : str
        With a line end.
    file : str, optional
        Path of the file, or the command, that wants what the study wants; None if it is not known.
    intact : bool, optional
        Whether both are as they were kept under this name; None if nothing says so, as in stores of earlier versions.
    """

    text: str
    file: str | None = None
    intact: bool | None = None


def written(name: str, text: str, file: str | None) -> bytes:
    """Return what is kept of the text of the study `name`."""
    text = text if text.endswith("\n") else f"{text}\n"
    record = {"file": file, "xxh3": _signature(name, text, file)}
    return f"{text}{_MARK}{json.dumps(record)}\n".encode()


def read(name: str, content: bytes) -> KeptText:
    """Read what is kept of the text of the study `name`, damaged or not."""
    whole = content.decode("utf-8", "replace")
    text, mark, line = whole.rpartition(_MARK)
    if not mark:
        return KeptText(whole)
    try:
        record = json.loads(line)
        file, signature = record["file"], record["xxh3"]
        intact = signature == _signature(name, text, file) and content == written(name, text, file)
    except (ValueError, KeyError, TypeError, RecursionError):
        return KeptText(text, intact=False)
    return KeptText(text, file if intact else None, intact)


def _signature(name: str, text: str, file: str | None) -> str:
    return digest(json.dumps([name, text, file]).encode())
