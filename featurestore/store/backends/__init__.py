"""One way of writing bytes to a kind of file system per file. A backend is a class with what `Backend` asks for."""

from __future__ import annotations

import sys
from typing import Protocol, TypeAlias

import pyarrow as pa

from featurestore import registry
from featurestore.store.places import Kind, Place

Content: TypeAlias = bytes | pa.Buffer


class Backend(Protocol):
    """A writer to one kind of file system. Reading is the same for all: `Place.filesystem` does it.

    Attributes
    ----------
    puts_new : bool
        Whether `put` with ``new=True`` lets exactly one of several writers succeed.
    """

    puts_new: bool

    def put(self, name: str, content: Content, *, new: bool = False) -> bool:
        """Try once to make `content` visible as `name`, whole or not at all; return whether it was made.

        Parameters
        ----------
        name : str
            Relative to the root of the store.
        new : bool
            Do nothing if there is such a file. Only asked of a backend that `puts_new`.

        Raises
        ------
        OSError
            If it did not work; nothing has changed then.
        """

    def hold(self, name: str) -> str | None:
        """Take a file from its place, so that nobody else reaches it; return its name now, or None if it is not there.

        Where that cannot be done in one step the file stays, and has its name.
        """

    def put_back(self, held: str, name: str) -> None:
        """Put a file that `hold` has taken back to its place, unless there is a newer one."""

    def external(self, name: str) -> str:
        """Return the path of `name` as other programs (DuckDB) open it."""

    def remove_empty_folders(self, folder: str) -> None:
        """Remove a folder, and those above it in the store, as far as nothing is in them."""


_MODULES: dict[Kind, str] = {"local": "local", "s3": "object_store", "gs": "object_store", "fsspec": "driver"}


def backend(place: Place) -> Backend:
    """Return the backend of a place."""
    module = registry.load(sys.modules[__name__], "backend", _MODULES[place.kind])
    made: Backend = module.open(place)
    return made
