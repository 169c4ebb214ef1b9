"""Random trees of files as people have them: splits, classes, junk, nesting, odd names, links."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np

_CLASSES = ("cat", "Dog", "train", "test", "50% off", "猫 & 犬", "cafe\u0301", "a=b", "it's", "new\nline", "x" * 60)
_SPLITS = ("train", "Training", "val", "dev", "test", "Testing", "extra", "holdout", "labels")
_JUNK_FOLDERS = ("__MACOSX", "@eaDir", ".ipynb_checkpoints", "empty", ".git", "lost+found")
_JUNK_FILES = ("Thumbs.db", ".DS_Store", "._a.png", "notes.txt", "desktop.ini", "labels.csv", ".hidden")
_NESTED = ("video_1", "video_2", "2021", "é")


def random_folder(root: Path, rng: np.random.Generator) -> Path:
    """Make a folder that may be a dataset, or may not."""
    classes = _some(rng, _CLASSES, 4)
    splits = _some(rng, _SPLITS, 4) if rng.random() < 0.7 else ("",)
    for split in splits:
        for name in _some(rng, classes, len(classes)) if rng.random() < 0.2 else classes:
            _images(root / split / name, rng)
            if rng.random() < 0.3:
                _images(root / split / name / _one(rng, _NESTED), rng)
    folders = [Path(place) for place, _, _ in os.walk(root)]
    for folder in folders:
        if rng.random() < 0.2:
            litter(folder, rng)
        if rng.random() < 0.05:
            _images(folder, rng)
    return root


def litter(folder: Path, rng: np.random.Generator) -> None:
    """Put into a folder what systems and people leave there."""
    for name in _some(rng, _JUNK_FILES, 3):
        (folder / name).write_bytes(b"junk")
    junk = folder / _one(rng, _JUNK_FOLDERS)
    junk.mkdir(exist_ok=True)
    if junk.name != "empty":
        (junk / "deeper").mkdir(exist_ok=True)
        (junk / "deeper" / "._x.png").write_bytes(b"junk")
    if rng.random() < 0.3 and not (folder / "pipe.png").exists():
        os.mkfifo(folder / "pipe.png")


def link(root: Path, rng: np.random.Generator) -> None:
    """Put links into a tree: to files and folders of it, to their own parents, to nothing."""
    folders = sorted(Path(place) for place, _, _ in os.walk(root))
    files = sorted(Path(place) / name for place, _, names in os.walk(root) for name in names)
    for number in range(3):
        target = _one(rng, [*folders, *files, root / "nothing.png"])
        (_one(rng, folders) / f"link_{number}").symlink_to(target)


def entries(root: Path) -> list[Path]:
    """All that is no folder below a root, links to folders aside."""
    found = [Path(place, name) for place, _, names in os.walk(root) for name in names]
    return [path for path in found if not path.is_dir()]


def _images(folder: Path, rng: np.random.Generator) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(int(rng.integers(1, 7))):
        suffix = _one(rng, (".png", ".JPG", ".jpeg", ""))
        (folder / f"{number}{suffix}").write_bytes(os.fsencode(folder) + bytes([number]))


def _one(rng: np.random.Generator, of: Sequence[Path] | Sequence[str]):  # type: ignore[no-untyped-def]
    return of[int(rng.integers(len(of)))]


def _some(rng: np.random.Generator, of: Sequence[str], most: int) -> tuple[str, ...]:
    chosen = rng.choice(len(of), int(rng.integers(1, most + 1)), replace=False)
    return tuple(of[int(number)] for number in chosen)
