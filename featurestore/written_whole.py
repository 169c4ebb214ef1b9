"""A file or folder appears at its place whole or not at all, whatever stops its writer."""

from __future__ import annotations

import os
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


class AlreadyThereError(Exception):
    """Raised if another file has the place already and was not to be replaced."""


@contextmanager
def written_whole(
    path: Path, *, staged: Path | None = None, durable: bool = False, replace: bool = True, folders: bool = True
) -> Iterator[Path]:
    """Give a path to write a file or a folder to; it takes its place at `path` when the block ends without an error.

    Whoever is killed in between leaves at most the staged file.

    Parameters
    ----------
    path : Path
    staged : Path, optional
        Path to write to, on the same file system; by default beside `path`, as ``<stem>-<random>.partial``.
    durable : bool
        Wait until the disk has the file and its name, so that both outlive a power failure. With the environment
        variable ``PROBESTORE_FSYNC=0`` nothing is waited for: this is for tests and throw-away stores only.
    replace : bool
        Whether a file at `path` is replaced. If not, of several writers only one succeeds. Folders are never replaced.
    folders : bool
        Whether folders on the way are made. Where a person typed `path`, a mistyped folder is better refused.

    Raises
    ------
    AlreadyThereError
        If there is a file at `path` and `replace` is false.
    OSError
        If it cannot be written, or there is a folder at `path` with something in it. Nothing has changed then.
    """
    staged = staged or path.with_name(f"{path.stem}-{uuid.uuid4().hex}.partial")
    durable = durable and os.environ.get("PROBESTORE_FSYNC") != "0"
    if folders:
        for folder in (path.parent, staged.parent):
            folder.mkdir(parents=True, exist_ok=True)
    try:
        yield staged
        if durable:
            _flush(staged)
        if replace:
            staged.replace(path)
        else:
            _link(staged, path)
        if durable:
            _flush(path.parent)
    finally:
        _remove(staged)


def _link(staged: Path, path: Path) -> None:
    """Give a staged file its name unless another file has it: the only step that fails for all writers but one."""
    try:
        os.link(staged, path)
    except FileExistsError as error:
        raise AlreadyThereError from error
    except OSError as error:
        # A file system without hard links: here two writers within this moment replace each other, whole by whole.
        if path.exists():
            raise AlreadyThereError from error
        staged.replace(path)


def _flush(path: Path) -> None:
    """Wait until the disk has a file, or the names in a folder."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _remove(staged: Path) -> None:
    if staged.is_dir():
        shutil.rmtree(staged, ignore_errors=True)
    else:
        staged.unlink(missing_ok=True)
