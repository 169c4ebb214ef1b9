"""Paths of images in columns, against the same from a plain walk."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import numpy as np
import pytest
from random_folders import random_folder
from seeds import seeds

from featurestore.catalogue.datasets import DatasetSpec
from featurestore.errors import DatasetError
from featurestore.images import image_paths
from featurestore.images.dataset_files import printable
from featurestore.images.folder_tree import ending
from featurestore.images.image_paths import ImagePaths
from featurestore.images.sources import open_source
from featurestore.images.split_names import split_of


def columns(*paths: str) -> ImagePaths:
    return ImagePaths.of(
        [([path.rpartition("/")[0]], np.zeros(1, np.int32), [path.rpartition("/")[2]]) for path in paths]
    )


def test_paths_of_any_bytes_come_back_as_they_were():
    paths = ["a.png", "cats/b.png", "cats/new\nline/猫.png", os.fsdecode(b"dogs/\xff\xe9.png"), "b/\ue000"]
    assert list(columns(*paths).texts()) == paths
    assert list(columns(*paths).take(np.array([3, 0])).texts()) == [paths[3], paths[0]]
    assert list(columns().texts()) == []


def test_images_of_one_folder_are_counted_where_they_first_come():
    assert list(columns("b/1", "a/1", "b/2").per_folder().items()) == [("b", 2), ("a", 1)]


@pytest.mark.parametrize("slow", [0.0, 1.0], ids=["threads", "one after the other"])
def test_threads_look_at_the_same_files(tmp_path, monkeypatch, slow):
    monkeypatch.setattr(image_paths, "_SLOW_SECONDS", slow)
    monkeypatch.setattr(image_paths, "_CHUNK", 3)
    names = [f"{number}.png" for number in range(20)]
    for number, name in enumerate(names):
        (tmp_path / name).write_bytes(b"x" * number)
    sizes, times = columns(*names).statuses(str(tmp_path))
    assert sizes.tolist() == list(range(20))
    assert times.tolist() == [(tmp_path / name).stat().st_mtime_ns for name in names]


def test_the_end_of_a_name_is_the_suffix_of_pathlib():
    names = ("a.png", ".hidden", "a.", "..b", "a.tar.GZ", "noend", "x.y/z", "x/.y", "...")
    assert [ending(name) for name in names] == [".png", "", "", ".b", ".gz", "", "", "", ""]


@pytest.mark.parametrize("seed", seeds(6, 100))
def test_a_folder_gives_the_images_labels_and_fingerprint_of_a_plain_walk(tmp_path, seed):
    """The plain walk takes the splits from the source: how they are found has its own tests."""
    spec = DatasetSpec(name="pets", source=f"image_folder:{random_folder(tmp_path, np.random.default_rng(seed))}")
    try:
        source = open_source(spec)
    except DatasetError:
        pytest.skip("no dataset")
    digest = hashlib.sha256()
    for split in sorted(source.splits(), key=lambda name: (split_of(name) or name, name)):
        rows = np.arange(source.splits()[split])
        origins = [raw.origin for raw in source.read(split, rows)]
        top = "" if not (tmp_path / split).is_dir() or not origins[0].startswith(f"{split}/") else f"{split}/"
        labels = source.labels(split)
        expected = [(name, path) for name in source.classes for path in walked(tmp_path, f"{top}{name}")]
        assert [(source.classes[label], origin) for label, origin in zip(labels, origins, strict=True)] == expected
        for _, path in expected if split_of(split) else ():
            status = (tmp_path / path).stat()
            line = f"{split_of(split)}\0{path}\0{status.st_size}\0{status.st_mtime_ns}\n"
            digest.update(line.encode())
    assert source.fingerprint() == digest.hexdigest()


def walked(root: Path, top: str) -> list[str]:
    """The images below a folder by their names alone, sorted by path."""
    found = []
    for place, folders, names in os.walk(root / top):
        folders[:] = [name for name in folders if name[0] not in ".@" and name not in ("__MACOSX", "lost+found")]
        paths = [Path(place, name) for name in names if name[0] != "."]
        found += [path for path in paths if path.is_file() and path.suffix not in (".db", ".txt", ".ini", ".csv")]
    return sorted(printable(path.relative_to(root).as_posix()) for path in found)
