"""Everything below a dataset's folder: images by folder, and what is none, counted with a reason."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path, PurePosixPath

import numpy as np
import numpy.typing as npt

from featurestore.images.dataset_files import DatasetFolder, printable
from featurestore.images.image_paths import Names
from featurestore.images.inventory import MOST_EXAMPLES, Inventory

# Files that are never meant as images; every other file is one, and is reported when it cannot be read.
_NOT_IMAGES = {".txt", ".json", ".csv", ".md", ".xml", ".yaml", ".yml", ".db", ".ini"}
READABLE = {"", ".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".apng", ".webp", ".gif", ".bmp", ".dib", ".tif", ".tiff"}
READABLE |= {".ppm", ".pgm", ".pbm", ".pnm", ".avif", ".avifs"}
"""Ends of names of images that can be read, and none; other ends may be those of images, too."""
# Code, documents and weights. A folder of nothing else is no folder of images; beside images they are reported.
_OTHER_KINDS = {".py", ".ipynb", ".sh", ".bat", ".r", ".m", ".js", ".css", ".html", ".htm", ".rst", ".tex", ".bib"}
_OTHER_KINDS |= {".pdf", ".doc", ".docx", ".ppt", ".pptx", ".xls", ".xlsx", ".log", ".toml", ".cfg", ".conf", ".lock"}
_OTHER_KINDS |= {".pt", ".pth", ".ckpt", ".onnx", ".safetensors", ".tflite"}
# Folders that systems make on their own. Names that begin with a dot are hidden, and left out, too.
_SYSTEM_FOLDERS = {
    "__macosx",
    "@eadir",
    "#recycle",
    "@recycle",
    "@recently-snapshot",
    "#snapshot",
    "$recycle.bin",
    "system volume information",
    "lost+found",
    "__pycache__",
}
_NO_IMAGE = "its name is not that of an image"
_HIDDEN = "hidden"
_MADE_BY_SYSTEM = "made by a system, no part of the data"


class FolderTree:
    """The images below a folder, by the folder that holds them.

    Links are followed inside the permitted places; one that leads out is kept in mind and not followed. A linked folder
    is listed under each link to it, but not inside itself. Paths are relative to the root and have slashes; the root is
    an empty text.

    Attributes
    ----------
    images : dict of str to Names
        Folder -> names of the images directly in it, sorted. Every folder is a key that is not hidden or a system's.
    linked : list of str
        Images that are links, or that lie below a link.
    leading_out : list of str
        Links that lead out. They are not in the inventory.

    Raises
    ------
    PermissionError
        If a folder may not be read.
    """

    def __init__(self, folder: DatasetFolder, inventory: Inventory) -> None:
        self.images: dict[str, Names] = {}
        self.linked: list[str] = []
        self.leading_out: list[str] = []
        self._folder = folder
        self._inventory = inventory
        self._links: list[str] = []
        self._walk("")
        for link in self._links:
            self._walk_link(link)
        self._leave_out_other_kinds()

    @cached_property
    def children(self) -> dict[str, list[str]]:
        """Names of the folders directly in each folder, sorted."""
        found: dict[str, list[str]] = {folder: [] for folder in self.images}
        for folder in sorted(self.images):
            if folder:
                parent, _, name = folder.rpartition("/")
                found[parent].append(name)
        return found

    @cached_property
    def totals(self) -> dict[str, int]:
        """Number of images in each folder and the folders below it."""
        totals = {folder: len(names) for folder, names in self.images.items()}
        for folder in sorted(totals, key=lambda path: path.count("/"), reverse=True):
            if folder:
                totals[folder.rpartition("/")[0]] += totals[folder]
        return totals

    def folders(self, of: str) -> list[str]:
        """Return the names of the folders directly in a folder that hold images, at any depth."""
        return [name for name in self.children[of] if self.totals[joined(of, name)]]

    def below(self, folder: str) -> Iterator[str]:
        """Yield a folder and all folders below it that hold images."""
        yield folder
        for name in self.folders(folder):
            yield from self.below(joined(folder, name))

    def all_images(self, folder: str) -> tuple[list[str], npt.NDArray[np.int32], list[str]]:
        """Return the images in a folder and in the folders below it, sorted by their paths.

        Returns
        -------
        folders : list of str
            Folders that hold them.
        places : ndarray of int32, shape (n,)
            Place in `folders` of the folder of each image.
        names : list of str
            Name of each image in its folder.
        """
        folders = [place for place in self.below(folder) if self.images[place]]
        names = [name for place in folders for name in self.images[place]]
        places = np.repeat(np.arange(len(folders), dtype=np.int32), [len(self.images[place]) for place in folders])
        if len(folders) > 1:
            paths = [joined(folders[place], name) for place, name in zip(places.tolist(), names, strict=True)]
            order = sorted(range(len(paths)), key=paths.__getitem__)
            places, names = places[order], [names[number] for number in order]
        return folders, places, names

    def mention(self, word: str) -> bool:
        """Return whether the path of an image holds a word, whatever its case."""
        return any(word in place.lower() or self.images[place].mention(word) for place in self.below(""))

    def names(self) -> Iterator[str]:
        """Yield the paths of all images in no order."""
        return (joined(place, name) for place in self.below("") for name in self.images[place])

    def note_empty_folders(self) -> None:
        """Count the folders without images in the inventory, each with all folders below it as one."""
        for folder in sorted(self.totals):
            parent = folder.rpartition("/")[0]
            if folder and not self.totals[folder] and (self.totals[parent] or not parent):
                self._inventory.add("folder", printable(folder), reason="it holds no image")

    def _leave_out_other_kinds(self) -> None:
        """Leave out the files of folders in which, at any depth, is nothing but code, documents or weights."""
        holding = {""}
        for folder, names in self.images.items():
            if any(ending(name) not in _OTHER_KINDS for name in names):
                holding.update((folder, *map(str, PurePosixPath(folder).parents)))
        for folder, names in self.images.items():
            if folder not in holding and names:
                self.note_images(folder, reason=_NO_IMAGE)
                self.images[folder] = Names()

    def note_images(self, folder: str, *, reason: str) -> None:
        """Count the images directly in a folder in the inventory as left out."""
        names = self.images[folder]
        some = [printable(joined(folder, name)) for name in names.first(MOST_EXAMPLES)]
        self._inventory.add_all("file", some, reason=reason, count=len(names))

    def _walk(self, top: str) -> None:
        """List a folder and those below it. Links to folders wait until all others are listed."""
        waiting = [top]
        while waiting:
            waiting.extend(self._list(waiting.pop(), linked=False))

    def _walk_link(self, link: str) -> None:
        """List a linked folder and those below it, each of them once, so that links to links come to an end."""
        waiting, seen = [link], set()
        while waiting:
            folder = waiting.pop(0)
            real = os.path.realpath(self._folder.path / folder)
            if real in seen:
                self._inventory.add("folder", printable(folder), reason="a link to a folder that is listed already")
                continue
            seen.add(real)
            waiting.extend(self._list(folder, linked=True))

    def _list(self, folder: str, *, linked: bool) -> list[str]:
        """List one folder, and return the folders in it that are to be listed, too."""
        try:
            with os.scandir(self._folder.path / folder) as entries:
                found = sorted(entries, key=lambda entry: entry.name)
        except OSError as error:
            if error.errno != errno.ENAMETOOLONG:
                raise
            self._inventory.add("folder", printable(folder), reason="its path is too long to be opened")
            return []
        images, below = [], []
        for entry in found:
            name = joined(folder, entry.name)
            is_plain = _is_plain_image(entry)
            if not is_plain and self._is_left_out(entry, name):
                continue
            if not is_plain and _is_folder(entry):
                below.extend(self._folder_or_link(entry, name, linked=linked))
            elif is_plain or self._is_image(entry, name):
                images.append(entry.name)
                if linked or entry.is_symlink():
                    self.linked.append(name)
        self.images[folder] = Names(images)
        return below

    def _is_left_out(self, entry: os.DirEntry[str], name: str) -> bool:
        """Return whether an entry is left out, whatever is in it, or leads out of the folder; note it if so."""
        if (reason := _why_not(entry)) is not None:
            self._leave_out(entry, name, reason)
            return True
        if not entry.is_symlink() or not (_is_folder(entry) or _may_be_image(entry.name)):
            return False
        return self._leads_out(entry, name)

    def _folder_or_link(self, entry: os.DirEntry[str], name: str, *, linked: bool) -> list[str]:
        if not entry.is_symlink():
            return [name]
        if self._is_inside_itself(Path(entry.path)):
            self._inventory.add("folder", printable(name), reason="a link to a folder that the link lies in")
        elif linked:
            return [name]
        else:
            self._links.append(name)
        return []

    def _leads_out(self, link: os.DirEntry[str], name: str) -> bool:
        if self._folder.holds(Path(link.path)):
            return False
        self.leading_out.append(name)
        return True

    def _is_inside_itself(self, link: Path) -> bool:
        return PurePosixPath(os.path.realpath(link.parent)).is_relative_to(os.path.realpath(link))

    def _is_image(self, entry: os.DirEntry[str], name: str) -> bool:
        """Return whether an entry is an image: a regular file, or a link to anything but a folder, with such a name.

        A link to nothing is an image that somebody has lost.
        """
        if not _may_be_image(entry.name):
            self._inventory.add("file", printable(name), reason=_NO_IMAGE)
            return False
        if not entry.is_symlink() and not entry.is_file():
            self._inventory.add("file", printable(name), reason="a pipe, a socket or a device")
            return False
        return True

    def _leave_out(self, entry: os.DirEntry[str], name: str, reason: str) -> None:
        """Count a hidden entry, or one of a system, with all files below it."""
        if entry.is_symlink() or not entry.is_dir():
            self._inventory.add("file", printable(name), reason=reason)
            return
        self._inventory.add("folder", printable(name), reason=reason)
        for place, _, files in os.walk(entry.path):
            if files:
                inside = os.path.relpath(place, self._folder.path)
                self._inventory.add_all("file", [printable(f"{inside}/{file}") for file in files], reason=reason)


def joined(folder: str, name: str) -> str:
    """Return the path of a name in a folder; the root is an empty text."""
    return f"{folder}/{name}" if folder else name


def _is_folder(entry: os.DirEntry[str]) -> bool:
    if not entry.is_symlink():
        return entry.is_dir()
    return os.path.isdir(entry.path)  # noqa: PTH112 - a DirEntry's own method raises on a link to itself


def ending(name: str) -> str:
    """Return the end of a file's name from its last dot on, in small letters, such as ``.jpg``; else an empty text.

    What `pathlib` of Python 3.11 calls the suffix, in a tenth of the time.
    """
    dot = name.rfind(".")
    return name[dot:].lower() if name.rfind("/") + 1 < dot < len(name) - 1 else ""


def _may_be_image(name: str) -> bool:
    return ending(name) not in _NOT_IMAGES


def _is_plain_image(entry: os.DirEntry[str]) -> bool:
    """Return whether an entry is what nearly all are: a regular file that is not hidden, with the name of an image."""
    return entry.is_file(follow_symlinks=False) and not entry.name.startswith(".") and _may_be_image(entry.name)


def _why_not(entry: os.DirEntry[str]) -> str | None:
    """Return why an entry is left out whatever is in it; None if its name does not say that."""
    if entry.name.startswith("."):
        return _HIDDEN
    if entry.name.lower() in _SYSTEM_FOLDERS and _is_folder(entry):
        return _MADE_BY_SYSTEM
    return None
