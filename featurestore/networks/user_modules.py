"""Import a user's modules by their path. Their folder never goes on Python's path.

A study's folder may hold any files: a ``queries.py``, a ``random.py``, a folder ``probes``. On Python's path they would
hide our own packages and the standard library from every import of the process. Here each folder is a package of its
own, with a private name: ``my_net.py`` is the module ``probestore_folder_1f2e3d4c.my_net``. Only modules of that folder
see their neighbours: in them, ``import layers`` finds ``layers.py`` beside them, as it does in a script.
"""

from __future__ import annotations

import builtins
import hashlib
import importlib
import sys
from collections.abc import Callable, Mapping, Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from importlib.util import find_spec
from pathlib import Path
from types import CodeType, ModuleType
from typing import Any

PREFIX = "probestore_folder_"
"""Start of the private names of folders."""
_INSTALLED = frozenset({"featurestore", "probes", "queries", "cluster", "probestore"}) | {
    "torch", "torchvision", "timm", "numpy", "PIL", "safetensors", "huggingface_hub"
}  # fmt: skip
"""Ours, and those that networks are made of: an import of these names never means a file of the user's."""

_folders: list[Path] = []  # that of the present study, if there is one
_instead: dict[Path, Path] = {}  # folder of a study -> where its modules lie on this node


def look_in(folder: Path | str) -> None:
    """Look for modules in this folder first, from now on, and no longer in that of another study."""
    place = Path(folder).absolute()
    _folders[:] = [*([_instead[place]] if place in _instead else []), place]


def look_instead(folder: Path | str, there: Path) -> None:
    """Look for modules of one folder in another first, whenever `look_in` names it."""
    _instead[Path(folder).absolute()] = there


def beside_a_study(path: str) -> Path:
    """Return where a path lies that is relative to a study file; as it is where nothing lies there."""
    given = Path(path).expanduser()
    return next((folder / given for folder in _folders if (folder / given).exists()), given)


def import_named(name: str) -> ModuleType:
    """Import a module by the name that a study gives: from a folder of `look_in`, else as Python does.

    Raises
    ------
    ImportError
        If there is none, or it imports one that is not there.
    """
    importlib.invalidate_caches()  # files may be new
    folder = _folder_of(name.split(".")[0])
    if folder is None:
        return importlib.import_module(name)
    try:
        return importlib.import_module(f"{_package(folder)}.{name}")
    except ImportError as error:
        raise ImportError(str(error).replace(f"{_package(folder)}.", "")) from error


def find(top: str) -> ModuleSpec | None:
    """Return where Python code of that name lies; nothing is imported."""
    folder = _folder_of(top)
    return PathFinder.find_spec(top, [str(folder)] if folder else None)


def registered_name(top: str) -> str:
    """Return the name under which Python keeps a module: studies of two folders may have modules of one name."""
    folder = _folder_of(top)
    return f"{_package(folder)}.{top}" if folder else top


def forget(top: str) -> None:
    """Forget a module, and all that its folder holds, so that the next import reads the files again."""
    folder = _folder_of(top)
    start = f"{_package(folder)}." if folder else f"{top}."
    for name in [name for name in sys.modules if name.startswith(start) or (name == top and folder is None)]:
        del sys.modules[name]
    importlib.invalidate_caches()


def _folder_of(top: str) -> Path | None:
    return next((folder for folder in _folders if _is_in(top, folder)), None)


def _is_in(top: str, folder: Path) -> bool:
    """Return whether a folder holds that module; a plain folder counts only where nothing is installed by its name."""
    found = PathFinder.find_spec(top, [str(folder)])
    return found is not None and (found.origin is not None or find_spec(top) is None)


def _package(folder: Path) -> str:
    """Return the private name of a folder, under which it is a package."""
    name = PREFIX + hashlib.sha256(str(folder).encode()).hexdigest()[:12]
    if name not in sys.modules:
        if _FINDER not in sys.meta_path:
            sys.meta_path.insert(0, _FINDER)  # before the one that would load these modules in the plain way
        package = ModuleType(name)
        package.__path__ = [str(folder)]
        sys.modules[name] = package
    return name


class _Finder(MetaPathFinder):
    """Finds modules of the private packages, and nothing else."""

    def find_spec(self, name: str, path: Sequence[str] | None, target: ModuleType | None = None) -> ModuleSpec | None:
        if not name.startswith(PREFIX):
            return None
        found = PathFinder.find_spec(name, path, target)
        if found is not None and isinstance(found.loader, SourceFileLoader):
            found.loader = _Loader(name, found.loader.path)
        return found


class _Loader(SourceFileLoader):
    """Runs a module whose import statements see the files beside it."""

    def get_code(self, fullname: str) -> CodeType:
        """Compile the file as it is now; a cached one is told from it by whole seconds only."""
        path = self.get_filename(fullname)
        return self.source_to_code(self.get_data(path), path)

    def exec_module(self, module: ModuleType) -> None:
        root = module.__name__.split(".")[0]
        vars(module)["__builtins__"] = {**vars(builtins), "__import__": _importer(root)}
        super().exec_module(module)


_FINDER = _Finder()


def _importer(root: str) -> Callable[..., Any]:
    """Return what import statements call in modules of a private package."""
    folder = Path(sys.modules[root].__path__[0])

    def import_(
        name: str,
        scope: Mapping[str, Any] | None = None,
        local: Mapping[str, Any] | None = None,
        wanted: Sequence[str] | None = (),
        level: int = 0,
    ) -> Any:
        top = name.split(".")[0]
        if level or top in _INSTALLED or top in sys.stdlib_module_names or not _is_in(top, folder):
            return builtins.__import__(name, scope, local, wanted or (), level)
        if wanted:  # from name import ...
            return builtins.__import__(f"{root}.{name}", scope, local, wanted, 0)
        importlib.import_module(f"{root}.{name}")
        return sys.modules[f"{root}.{top}"]

    return import_
