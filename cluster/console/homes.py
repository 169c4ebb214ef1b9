"""A user without a home that can be used, as in a container: the temporary folder takes its place."""

from __future__ import annotations

import os
import pwd
import stat
import tempfile
from contextlib import suppress
from pathlib import Path

_NAMES_OF_USER = ("LOGNAME", "USER", "LNAME", "USERNAME")
_WEIGHTS = {"TORCH_HOME": "torch", "HF_HOME": "huggingface"}
"""Variables that say where weights are kept -> folders of a cache that are those places by default."""


def make_usable() -> str | None:
    """Let this process, and those that it starts, have a home and a folder for caches that can be written.

    Returns
    -------
    str or None
        What is to be said about it; None where all is as usual.
    """
    _name_user()
    home = _home()
    if home is None:
        folder = _of_this_user("home")
        if folder is None:
            return None  # there is nothing else
        said = os.environ.get("HOME")
        os.environ["HOME"] = str(folder)
        lacks = f"HOME={said!r} is no folder to be used as a home" if said else "This user has no home folder"
        return f"{lacks}, so {folder} takes its place. Set HOME to another one to keep what is cached."
    if not os.environ.get("HOME"):
        os.environ["HOME"] = str(home)
    return _usable_cache(home)


def _usable_cache(home: Path) -> str | None:
    """Find a place for caches where those of a home cannot be written. Weights that are there are still found."""
    usual = home / ".cache"
    if os.environ.get("XDG_CACHE_HOME") or _is_writable(usual if usual.exists() else home):
        return None
    folder = _of_this_user("cache")
    if folder is None:
        return None
    os.environ["XDG_CACHE_HOME"] = str(folder)
    for variable, name in _WEIGHTS.items():
        if (usual / name).is_dir():
            os.environ.setdefault(variable, str(usual / name))
    return (
        f"The home folder {home} cannot be written, so caches lie in {folder}. Set XDG_CACHE_HOME to another folder to "
        "keep them."
    )


def _home() -> Path | None:
    """Return the home that the variable or the list of users names, if it is a folder of a user."""
    named = os.environ.get("HOME")
    if not named:
        with suppress(KeyError):
            named = pwd.getpwuid(os.getuid()).pw_dir
    home = Path(named or "")
    return home if home.is_absolute() and _is_folder(home) and (home != Path("/") or _is_writable(home)) else None


def _name_user() -> None:
    """Give a user who is in no list a name, which torch asks for."""
    if not any(os.environ.get(name) for name in _NAMES_OF_USER):
        try:
            pwd.getpwuid(os.getuid())
        except KeyError:
            os.environ["LOGNAME"] = f"user-{os.getuid()}"


def _of_this_user(what: str) -> Path | None:
    """Return a folder in the temporary one that only this user can read; None if there is no place for one."""
    try:
        folder = Path(tempfile.gettempdir()) / f"probestore-{what}-{os.getuid()}"
        with suppress(FileExistsError):
            folder.mkdir(mode=0o700)
        found = folder.lstat()
        if stat.S_ISDIR(found.st_mode) and found.st_uid == os.getuid() and not found.st_mode & 0o077:
            return folder
        return Path(tempfile.mkdtemp(prefix=f"probestore-{what}-"))  # somebody else has made that one
    except OSError:
        return None


def _is_folder(path: Path) -> bool:
    try:
        return path.is_dir()
    except OSError:  # it lies where this user may not look
        return False


def _is_writable(path: Path) -> bool:
    return os.access(path, os.W_OK | os.X_OK)
