"""Which files of a folder are Parquet files of a dataset; everything else is named and counted."""

from __future__ import annotations

import os
from pathlib import Path

from featurestore.errors import DatasetError
from featurestore.images.dataset_files import DatasetFolder, printable
from featurestore.images.inventory import Inventory

SUFFIXES = (".parquet", ".parq", ".pq")


def list_parquet_files(folder: DatasetFolder, inventory: Inventory) -> list[Path]:
    """Return the Parquet files of a folder and all folders in it, sorted; note in the inventory what else is there.

    Links to files are followed inside the folder, and those of a Hugging Face cache from snapshots/ to blobs/. A link
    to a folder is followed where it leads out of the dataset, which the record must permit; inside, its files are met
    where they lie.

    Raises
    ------
    DatasetError
        If a Parquet file is there under two names, or is a link to nothing or out of the folder; or if a folder may not
        be read.
    """
    try:
        files = sorted(_walk(folder.path, folder, inventory, hidden=False))
    except PermissionError as error:
        raise DatasetError(
            f"{error.filename} may not be read by this user. Permit it, or move it elsewhere."
        ) from error
    _refuse_the_same_file(files)
    return files


def is_parquet_name(name: str) -> bool:
    """Return whether a file of this name should be a Parquet file."""
    return name.lower().endswith(SUFFIXES)


def _walk(place: Path, folder: DatasetFolder, inventory: Inventory, *, hidden: bool) -> list[Path]:
    """List the Parquet files of a folder, and note the other things that are in it."""
    files: list[Path] = []
    with os.scandir(place) as entries:
        found = sorted(entries, key=lambda entry: entry.name)
    for entry in found:
        path, name = Path(entry.path), folder.name(Path(entry.path))
        is_hidden = hidden or entry.name.startswith((".", "_"))
        if entry.is_dir():
            if _is_met_elsewhere(path, folder, is_hidden):
                inventory.add("folder", name, reason="a link to a folder of the dataset")
                continue
            below = _walk(path, folder, inventory, hidden=is_hidden)
            if not below and not is_hidden:
                inventory.add("folder", name, reason="no Parquet file is in it")
            files += below
        elif is_hidden:
            inventory.add("file", name, reason="hidden, because a name in its path begins with . or _")
        elif not is_parquet_name(entry.name):
            inventory.add("file", name, reason=f"its name does not end with {', '.join(SUFFIXES)}")
        elif _is_file(path, folder):
            files.append(path)
        else:
            inventory.add("file", name, reason="no regular file")
    return files


def _is_met_elsewhere(path: Path, folder: DatasetFolder, is_hidden: bool) -> bool:
    """Return whether a folder is a link whose files are not looked for here."""
    if not path.is_symlink():
        return False
    if is_hidden or os.path.realpath(path).startswith(os.path.realpath(folder.path) + os.sep):
        return True
    folder.check(path)
    return False


def _is_file(path: Path, folder: DatasetFolder) -> bool:
    """Return whether this is a regular file, or a link to one that may be followed."""
    if path.is_symlink():
        if not path.exists():
            raise DatasetError(
                f"{path} is a link to a file that is not there. Fetch the file again, or remove the link."
            )
        _check_link(path, folder)
    return path.is_file()


def _check_link(path: Path, folder: DatasetFolder) -> None:
    """Refuse links that lead out of the folder, but for those of a Hugging Face cache from snapshots/ to blobs/."""
    target = path.resolve()
    cache = target.parent.parent
    if target.parent.name == "blobs" and folder.path.resolve().is_relative_to(cache / "snapshots"):
        return
    folder.check(path)


def _refuse_the_same_file(files: list[Path]) -> None:
    """Refuse a file that is there under two names: its rows would count twice, or stand in two splits."""
    first: dict[str, Path] = {}
    for path in files:
        other = first.setdefault(os.path.realpath(path), path)
        if other is not path:
            raise DatasetError(
                f"{printable(str(other))} and {printable(str(path))} are the same file. Remove one of them."
            )
