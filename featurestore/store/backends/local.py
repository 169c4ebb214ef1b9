"""A local or mounted file system: a file is written under the staging folder, flushed, and linked or renamed."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from featurestore.store import layout
from featurestore.store.backends import Content
from featurestore.store.places import Place
from featurestore.written_whole import AlreadyThereError, written_whole


class LocalFolder:
    """The folder of a store on a local file system. Two writers of a new file cannot both succeed."""

    puts_new = True

    def __init__(self, place: Place) -> None:
        self._root = Path(place.root)

    def put(self, name: str, content: Content, *, new: bool = False) -> bool:
        target, staged = self._root / name, self._root / layout.staging_name(name)
        try:
            with written_whole(target, staged=staged, durable=True, replace=not new):
                staged.write_bytes(content)
        except AlreadyThereError:
            return False
        return True

    def hold(self, name: str) -> str | None:
        held = layout.staging_name(name)
        (self._root / held).parent.mkdir(exist_ok=True)
        try:
            (self._root / name).rename(self._root / held)
        except FileNotFoundError:
            return None
        return held

    def put_back(self, held: str, name: str) -> None:
        with suppress(AlreadyThereError), written_whole(self._root / name, staged=self._root / held, replace=False):
            pass

    def external(self, name: str) -> str:
        return str(self._root / name)

    def remove_empty_folders(self, folder: str) -> None:
        for place in (folder, *(str(parent) for parent in Path(folder).parents if parent.name)):
            try:
                (self._root / place).rmdir()
            except OSError:  # it is a file's name, gone, or not empty
                continue


def open(place: Place) -> LocalFolder:  # noqa: A001 - the name of the one function of every backend
    """Open a local folder."""
    return LocalFolder(place)
