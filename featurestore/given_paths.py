"""Paths as people give them, on a command line or in a study file."""

from __future__ import annotations

import os
from pathlib import Path


def given_path(text: str) -> Path:
    """Return a path with ``~`` and ``~user`` replaced at its beginning, as a shell does it.

    Where there is no such home it stays as it is, and so does the ``~`` of ``./~``, which `pathlib` would replace.

    Examples
    --------
    >>> str(given_path("~nobody-of-this-name/images")), str(given_path("./~"))
    ('~nobody-of-this-name/images', '~')
    """
    return Path(os.path.expanduser(text))  # noqa: PTH111 - pathlib's own raises where there is no home
