"""Any file system that fsspec has a driver for: a file is uploaded to the staging folder and moved to its place."""

from __future__ import annotations

from featurestore.store import layout
from featurestore.store.backends import Content
from featurestore.store.backends.object_store import put_by_copy
from featurestore.store.places import Place


class DriverFolder:
    """The folder of a store behind a driver of fsspec. No driver promises to make new files only."""

    puts_new = False

    def __init__(self, place: Place) -> None:
        self._place = place

    def put(self, name: str, content: Content, *, new: bool = False) -> bool:
        for parent in (layout.STAGING, name.rpartition("/")[0]):  # it may be a file system with real folders
            self._place.filesystem.create_dir(self._place.path(parent), recursive=True)
        put_by_copy(self._place, name, content)
        return True

    def hold(self, name: str) -> str | None:
        return name

    def put_back(self, held: str, name: str) -> None:
        pass

    def external(self, name: str) -> str:
        return f"{self._place.uri}/{name}"

    def remove_empty_folders(self, folder: str) -> None:
        pass


def open(place: Place) -> DriverFolder:  # noqa: A001 - the name of the one function of every backend
    """Open a folder behind a driver."""
    return DriverFolder(place)
