"""Opens the dashboard in the browser without its token on a command line, which all users of a machine can read."""

from __future__ import annotations

import html
import tempfile
import webbrowser
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def opened_in_browser(url: str) -> Iterator[None]:
    """Open an address in the browser through a file that sends the browser there. Only the owner can read the file.

    The file is removed at the end of the ``with`` statement.

    Parameters
    ----------
    url : str
        The address with its token.
    """
    with tempfile.NamedTemporaryFile("w", prefix="probestore-", suffix=".html", encoding="utf-8") as file:  # mode 0600
        file.write(f'<!DOCTYPE html><meta http-equiv="refresh" content="0; url={html.escape(url)}">\n')
        file.flush()
        webbrowser.open(Path(file.name).as_uri())
        yield
