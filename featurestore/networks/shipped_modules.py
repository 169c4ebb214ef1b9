"""Modules beside a study, on their way to nodes that have no copy of its folder, or another one.

A node that has the same files imports its own. Another one gets them in a folder of its cache that is named by their
content. Only Python files travel; data that a module reads beside itself must be on every node.
"""

from __future__ import annotations

import hashlib
import sys
import tempfile
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from featurestore.networks import user_modules
from featurestore.store import node_cache
from featurestore.written_whole import written_whole


@dataclass(frozen=True)
class Shipment:
    """Python files of a folder.

    Attributes
    ----------
    folder : str
        Folder of the study, on the machine that started the run.
    files : tuple of (str, bytes)
        Paths in it, and contents.
    """

    folder: str
    files: tuple[tuple[str, bytes], ...]

    @property
    def digest(self) -> str:
        """Hash of paths and contents."""
        found = hashlib.sha256()
        for path, content in self.files:
            found.update(f"{path}\0{len(content)}\0".encode() + content)
        return found.hexdigest()[:32]

    def differing(self) -> list[str]:
        """Return the paths of the files that this node lacks or has with another content, or has beyond them."""
        root = Path(self.folder)
        own = dict(_read(root, {Path(path).parent for path, _ in self.files}))
        wanted = dict(self.files)
        return sorted(path for path in own.keys() | wanted.keys() if own.get(path) != wanted.get(path))

    def arrive(self) -> None:
        """Let modules of the study's folder be imported from these files, where this node has others."""
        if self.differing():
            user_modules.look_instead(self.folder, self._unpacked())

    def _unpacked(self) -> Path:
        place = node_cache.folder() / "modules" / self.digest
        if not _holds(place, self):
            try:
                with written_whole(place) as staged:
                    self._write(staged)
            except OSError:  # a node without a cache, another worker that was faster, or a damaged folder
                if not _holds(place, self):
                    place = Path(tempfile.mkdtemp(prefix="probestore-modules-"))
                    self._write(place)
        return place

    def _write(self, folder: Path) -> None:
        for path, content in self.files:
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / path).write_bytes(content)


def shipment(folder: Path | str, modules: Iterable[str]) -> Shipment | None:
    """Pack the modules that lie in a folder, the files beside them, and what they have imported from it.

    Parameters
    ----------
    folder : path
        Folder of a study.
    modules : iterable of str
        Names of modules, such as ``package.module``.

    Returns
    -------
    Shipment or None
        None if none of the modules lies there.
    """
    root = Path(folder).absolute()
    folders: set[Path] = set()
    for top in {name.split(".")[0] for name in modules}:
        if (root / f"{top}.py").is_file():
            folders.add(Path())
        elif (root / top).is_dir():
            folders.update(path.parent.relative_to(root) for path in (root / top).rglob("*.py"))
    if not folders:
        return None
    return Shipment(str(root), tuple(sorted(_read(root, folders | set(_imported(root))))))


def _imported(root: Path) -> Iterator[Path]:
    """Yield the folders, relative to the root, that modules were imported from."""
    for name in list(sys.modules):
        path = getattr(sys.modules[name], "__file__", None)
        if name.startswith(user_modules.PREFIX) and path and Path(path).is_relative_to(root):
            yield Path(path).parent.relative_to(root)


def _read(root: Path, folders: Collection[Path]) -> Iterator[tuple[str, bytes]]:
    for folder in folders:
        for path in (root / folder).glob("*.py"):
            if path.is_file():
                yield path.relative_to(root).as_posix(), path.read_bytes()


def _holds(folder: Path, files: Shipment) -> bool:
    """Whether a folder has these files as they are."""
    try:
        return all((folder / path).read_bytes() == content for path, content in files.files)
    except OSError:
        return False
