"""Read files of a dataset, which anybody may have packed: only regular files of bounded size inside its folder."""

from __future__ import annotations

import errno
import json
import os
import stat
from collections.abc import Collection, Sequence
from pathlib import Path

from featurestore.errors import DatasetError
from featurestore.given_files import given_path
from featurestore.images.image_limits import MAX_BYTES, UnreadableImageError, check_bytes
from featurestore.plain_text import counted


class DatasetFolder:
    """A folder whose files may be read. Symbolic links are followed as long as they stay inside.

    Parameters
    ----------
    path : Path
    link_roots : collection of str
        Other folders that links may lead into.

    Attributes
    ----------
    path : Path
        The folder as it was given; it may itself be a link.
    """

    def __init__(self, path: Path, link_roots: Collection[str] = ()) -> None:
        self.path = path
        self._real = os.path.realpath(path)
        self._given = list(link_roots)
        self._roots = [self._real, *(os.path.realpath(given_path(root)) for root in link_roots)]

    def name(self, path: Path) -> str:
        """Return the path inside the folder in a form that any table or page can hold: as it is if it is UTF-8."""
        return printable(path.relative_to(self.path).as_posix())

    def holds(self, path: Path) -> bool:
        """Return whether the path, after all links are followed, lies where it may be read."""
        return self._is_inside(os.path.realpath(path))

    def check(self, path: Path) -> None:
        """Refuse a path that leads out of the folder, but for one into the link roots.

        Raises
        ------
        DatasetError
            If it does.
        """
        if not self.holds(path):
            raise self.leads_out([path])

    def leads_out(self, links: Sequence[Path]) -> DatasetError:
        """Return the error that says how to permit links that lead out, the first of which it names."""
        targets = [os.path.realpath(link) for link in links]
        roots = [*self._given, *_common_folders({str(Path(target).parent) for target in targets})]
        more = f", and {counted(len(links) - 1, 'other link')} lead out, too" if len(links) > 1 else ""
        return DatasetError(
            f"{links[0]} links to {targets[0]}, outside the dataset's folder {self._real}{more}. Copy it there, or "
            f"permit links into its folder: `link_roots = {json.dumps(roots, ensure_ascii=False)}`."
        )

    def read(self, path: Path, listed: tuple[int, int] | None = None) -> bytes:
        """Read an image file, after looking again at what it is: it may have changed since it was listed.

        Parameters
        ----------
        path : Path
        listed : tuple of int and int, optional
            Bytes and time of change (in ns) that it had when it was listed.

        Raises
        ------
        UnreadableImageError
            If it is no regular file inside the folder, or larger than an image may be.
        DatasetError
            If it is gone or has changed, or this user may not read it: that is no property of the image.
        OSError
            If the disk or the network fails.
        """
        real = os.path.realpath(path)
        if not self._is_inside(real):
            raise UnreadableImageError("a link that leads out of the dataset's folder")
        try:
            # Opening a pipe would wait for a writer; a link in the place of the file is followed no further.
            descriptor = os.open(real, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError as error:
            raise _explained(error, path) from error
        with os.fdopen(descriptor, "rb") as file:
            status = os.fstat(descriptor)
            if not stat.S_ISREG(status.st_mode):
                raise UnreadableImageError("not a regular file")
            if listed not in (None, (status.st_size, status.st_mtime_ns)):
                raise DatasetError(f"{path} has changed since the dataset was listed. Run the command again.")
            check_bytes(status.st_size)
            content = file.read(MAX_BYTES + 1)
        check_bytes(len(content))  # it may have grown
        return content

    def _is_inside(self, real: str) -> bool:
        return any(real == root or real.startswith(root.rstrip(os.sep) + os.sep) for root in self._roots)


def _common_folders(folders: Collection[str]) -> list[str]:
    """Return the folder that all of these lie in, or all of these where only the root or one folder in it is that."""
    common = os.path.commonpath(folders)
    return [common] if len(folders) == 1 or common.count(os.sep) > 1 else sorted(folders)


def printable(name: str) -> str:
    """Return a file's name in which bytes that are not UTF-8 are written as ``\\xff``."""
    return os.fsencode(name).decode("utf-8", "backslashreplace")


def _explained(error: OSError, path: Path) -> Exception:
    if error.errno in (errno.ELOOP, errno.ENXIO):
        return UnreadableImageError("not a regular file")
    if error.errno in (errno.ENOENT, errno.ENOTDIR):
        if path.is_symlink():
            return UnreadableImageError("a link to a file that is not there")
        return DatasetError(f"{path} was there when the dataset was listed and is gone now. Run the command again.")
    if error.errno in (errno.EACCES, errno.EPERM):
        return DatasetError(f"{path} may not be read by this user ({error.strerror}). Permit it, or move it elsewhere.")
    return error
