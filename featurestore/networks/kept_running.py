"""What a network's code may not do: end the program that runs it, or write into its answers."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout

from featurestore.errors import BackboneError


@contextmanager
def kept_running(when: str) -> Iterator[None]:
    """Make an error of what would end the program: a study goes on without a network whose code calls sys.exit().

    Parameters
    ----------
    when : str
        When the code runs, in words.

    Raises
    ------
    BackboneError
        In the place of SystemExit.
    """
    try:
        yield
    except SystemExit as error:
        raise BackboneError(
            f"The code of the network ends the program, by sys.exit({error.code!r}), {when}. Have it raise an error "
            "that says why."
        ) from error


@contextmanager
def printing_aside() -> Iterator[None]:
    """Send what is printed to standard error: standard output may be a table that another program reads."""
    with redirect_stdout(sys.stderr):
        yield
