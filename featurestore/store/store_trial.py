"""A trial of all that a run will ask of a store, so that what is not allowed is known before anything is computed."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress

import pyarrow as pa
import pyarrow.fs as pafs

from featurestore.store import layout, s3_client
from featurestore.store.backends import Backend
from featurestore.store.backends.object_store import upload
from featurestore.store.places import Place

_CONTENT = b"probestore tries whether this place can be used\n" * 64
"""Longer than what a server says when it refuses: pyarrow has no room for such an answer to a read of a few bytes."""


class Trial:
    """Small files in the staging folder that are written, listed, read and removed again.

    Parameters
    ----------
    place, backend : callable
        Return the place of the store and its backend, which may become others while a step is tried.
    """

    def __init__(self, place: Callable[[], Place], backend: Callable[[], Backend]) -> None:
        self._find_place = place
        self._find_backend = backend
        self._name, self._large = layout.staging_name("trial"), layout.staging_name("trial")

    @property
    def _place(self) -> Place:
        return self._find_place()

    def steps(self) -> list[tuple[str, Callable[[], object]]]:
        """Return what is tried, in this order: words that follow "cannot", and a function that raises OSError."""
        tried: list[tuple[str, Callable[[], object]]] = [
            ("write a file to", lambda: self._find_backend().put(self._name, _CONTENT)),
            ("list the files of", self._list),
            ("read a file of", self._read),
            ("remove a file of", self._remove),
        ]
        if self._place.kind == "s3":
            tried += [("write a file of more than 8 MiB to", self._write_in_parts)]
        return tried

    def clear(self) -> None:
        """Remove what a trial has left that failed, as far as that is possible."""
        for name in (self._name, self._large):
            with suppress(OSError, pa.ArrowException):
                self._place.filesystem.delete_file(self._place.path(name))

    def _list(self) -> None:
        found = self._place.filesystem.get_file_info(pafs.FileSelector(self._place.path(layout.STAGING)))
        if self._place.path(self._name) not in [file.path for file in found]:
            raise OSError("a file that was just written is not among them")

    def _read(self) -> None:
        with self._place.filesystem.open_input_file(self._place.path(self._name)) as file:
            if file.read() != _CONTENT:
                raise OSError("a file that was just written has another content")

    def _write_in_parts(self) -> None:
        """Write a file as those are written that take more than one request, and let the server move it."""
        filesystem = s3_client.open_s3(self._place.root.split("/")[0], self._place.options, in_parts=True)
        with filesystem.open_output_stream(self._place.path(self._large)) as stream:
            stream.write(_CONTENT)
        self._place.filesystem.move(self._place.path(self._large), self._place.path(self._name))
        self._remove()

    def _remove(self) -> None:
        self._place.filesystem.delete_file(self._place.path(self._name))
        self._find_backend().remove_empty_folders(layout.STAGING)


def takes_uploads(place: Place) -> bool:
    """Return whether a small file can be uploaded to a place, and arrives as it is."""
    name = layout.staging_name("trial")
    try:
        upload(place, name, _CONTENT)
    except OSError:
        return False
    with suppress(OSError):
        place.filesystem.delete_file(place.path(name))
    return True
