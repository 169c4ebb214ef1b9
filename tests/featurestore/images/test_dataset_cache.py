"""Datasets are opened once on a node: the first process looks at the files, others map its listing of them."""

from __future__ import annotations

import fcntl
import multiprocessing
import os
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from seeds import seeds
from tiny import save_images

from featurestore.catalogue.datasets import DatasetSpec
from featurestore.errors import DatasetError, OtherFilesError
from featurestore.images import dataset_cache, opened_images, sources
from featurestore.images.dataset_cache import DatasetCache
from featurestore.images.listing import ListedImages
from featurestore.images.splits import Dataset
from featurestore.store import node_cache
from featurestore.store.schema import SPLITS

LIMIT = 10**8
RUN = "a run"


@pytest.fixture
def cache(tmp_path: Path) -> DatasetCache:
    return DatasetCache(tmp_path / "cache", LIMIT)


@pytest.fixture
def opened(monkeypatch) -> list[str]:
    """The datasets whose source was opened, in order."""
    found: list[str] = []
    original = opened_images.open_source

    def open_source(spec: DatasetSpec) -> object:
        found.append(spec.name)
        return original(spec)

    monkeypatch.setattr(opened_images, "open_source", open_source)
    return found


@pytest.fixture
def pets(tmp_path: Path) -> DatasetSpec:
    images = save_images(tmp_path / "images", {"cats": 20, "dogs": 20})
    return DatasetSpec(name="pets", source=f"image_folder:{images}")


def folder(root: Path) -> DatasetSpec:
    for split, extra in (("train", 9), ("dev", 5)):
        save_images(root / split, {"cats": 20 + extra, "dogs": 20})
    (root / "train" / "dogs" / "nested").mkdir()
    (root / "train" / "dogs" / "nested" / "猫.png").write_bytes(b"no image")
    (root / os.fsdecode(b"train/dogs/\xff.png")).write_bytes(b"")
    return DatasetSpec(name="pets", source=f"image_folder:{root}", limit=30)


def parquet(root: Path, labels: list[object], **fields: object) -> DatasetSpec:
    for number, split in enumerate(("train", "train", "extra")):
        images = [{"bytes": bytes([number, row]), "path": None} for row in range(len(labels))]
        table = pa.table({"image": images, "label": labels, "site": [str(row % 7) for row in range(len(labels))]})
        pq.write_table(table, root / f"{split}-{number}.parquet", row_group_size=7)
    return DatasetSpec(name="rows", source=f"parquet:{root}", group_column="site", **fields)  # type: ignore[arg-type]


MADE: dict[str, Callable[[Path], DatasetSpec]] = {
    "a folder": folder,
    "rows": lambda root: parquet(root, [row % 3 for row in range(40)]),
    "rows of several splits": lambda root: parquet(
        root, ["a", "b"] * 20, splits={"train": ("train",), "test": ("extra",)}
    ),
    "two splits in one": lambda root: parquet(root, [0, 1] * 20, splits={"train": ("extra", "train")}),
    "several labels": lambda root: parquet(root, [[row % 3, 3] if row % 2 else [] for row in range(40)]),
    "a split column": lambda root: parquet(root, [0, 1] * 20, split_column="site", splits={"train": ("2", "0", "5")}),
    "arrays": lambda _: DatasetSpec(name="digits", source="packaged:digits", limit=200),
}


@pytest.mark.parametrize("make", MADE.values(), ids=MADE)
def test_the_listing_of_a_dataset_says_all_that_the_dataset_says(tmp_path, cache, opened, make):
    (tmp_path / "images").mkdir()
    spec = make(tmp_path / "images")
    dataset, kept = Dataset(spec), Dataset(spec)
    cache.keep(kept, RUN)
    listed = cache.open(spec, dataset.fingerprint, RUN)
    assert len(opened) == 2
    assert isinstance(kept.images, ListedImages)  # the driver lets go of what it has opened
    assert listed.record() == dataset.record()
    assert list(listed.inventory) == list(dataset.inventory)
    for split in SPLITS:
        n = len(dataset.splits[split].rows)
        assert listed.key_parts(split) == dataset.key_parts(split)
        assert listed.splits[split].rows.tolist() == dataset.splits[split].rows.tolist()
        assert listed.labels(split).tolist() == dataset.labels(split).tolist()
        for start, stop in ((0, n), (1, 3), (n - 1, n), (0, 0)):
            assert listed.groups(split, start, stop) == dataset.groups(split, start, stop)
            assert [said(raw) for raw in listed.read(split, start, stop)] == [
                said(raw) for raw in dataset.read(split, start, stop)
            ]


def said(raw: sources.RawImage) -> tuple[object, ...]:
    content = raw.content.tolist() if isinstance(raw.content, np.ndarray) else raw.content
    return content, raw.origin, raw.reason


def test_a_source_is_opened_once_in_a_run_on_a_node(cache, opened, pets):
    fingerprint = Dataset(pets).fingerprint
    for run in (RUN, RUN, "another run", RUN, "another run"):
        cache.open(pets, fingerprint, run)
    assert len(opened) - 1 == 2


def test_processes_of_a_node_wait_for_the_first_one(tmp_path, pets):
    fingerprint = Dataset(pets).fingerprint
    context = multiprocessing.get_context("spawn")
    with context.Pool(3) as pool:
        answers = pool.starmap(open_slowly, [(tmp_path / "cache", pets, fingerprint)] * 6)
    assert sum(answers) == 1


def open_slowly(place: Path, spec: DatasetSpec, fingerprint: str) -> int:
    """Return how often this process has opened the source."""
    found: list[str] = []
    original = opened_images.open_source

    def open_source(spec: DatasetSpec) -> sources.Source:
        import time

        time.sleep(0.5)
        found.append(spec.name)
        return original(spec)

    opened_images.open_source = open_source
    try:
        DatasetCache(place, LIMIT).open(spec, fingerprint, RUN)
    finally:
        opened_images.open_source = original
    return len(found)


def test_the_driver_waits_for_nobody(tmp_path, cache, opened, pets):
    dataset = Dataset(pets)
    cache.open(pets, dataset.fingerprint, RUN)
    (looks,) = (tmp_path / "cache").glob("*.looks")
    with looks.open("a+") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        cache.keep(dataset, "another run")
    cache.open(pets, dataset.fingerprint, "another run")
    assert len(opened) == 3


def test_another_machine_that_shares_the_folder_looks_at_its_own_files(cache, opened, pets, monkeypatch):
    fingerprint = Dataset(pets).fingerprint
    cache.open(pets, fingerprint, RUN)
    monkeypatch.setattr(dataset_cache, "_this_node", lambda: "other")
    cache.open(pets, fingerprint, RUN)
    assert len(opened) == 3


def test_a_node_with_other_files_is_refused_and_looks_once(cache, opened, pets):
    for _ in range(3):
        with pytest.raises(OtherFilesError, match="have changed since the run was planned, or this node sees other"):
            cache.open(pets, "what the driver saw", RUN)
    assert len(opened) == 1


def test_files_that_have_changed_before_the_next_run_are_seen(cache, pets):
    fingerprint = Dataset(pets).fingerprint
    cache.open(pets, fingerprint, RUN)
    touch(next(Path(pets.location).rglob("*.png")))
    with pytest.raises(OtherFilesError):
        cache.open(pets, fingerprint, "the next run")


def touch(path: Path) -> None:
    status = path.stat()
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns + 1))


def test_what_is_left_out_is_said_as_it_is_now(cache, pets):
    cache.keep(Dataset(pets), "before")
    Path(pets.location, "cats", "readme.txt").touch()
    kept, opened = Dataset(pets), Dataset(pets)
    cache.keep(kept, RUN)
    for dataset in (kept, cache.open(pets, opened.fingerprint, "another run")):
        assert isinstance(dataset.images, ListedImages)
        assert dataset.notes == opened.notes != []


def test_a_file_that_changes_during_a_run_is_not_read_under_the_old_key(cache, pets):
    dataset = cache.open(pets, Dataset(pets).fingerprint, RUN)
    changed = Path(pets.location) / next(dataset.read("test", 0, 1)).origin
    touch(changed)
    with pytest.raises(DatasetError, match=f"{changed.name} has changed since the dataset was listed. Run the command"):
        list(dataset.read("test", 0, 1))


def test_a_table_that_changes_during_a_run_is_not_read_under_the_old_key(tmp_path, cache):
    spec = parquet(tmp_path, [0, 1] * 20)
    dataset = cache.open(spec, Dataset(spec).fingerprint, RUN)
    for path in tmp_path.glob("*.parquet"):
        touch(path)
    with pytest.raises(DatasetError, match="has changed since the dataset was listed"):
        list(dataset.read("test", 0, 1))


@pytest.mark.parametrize("seed", seeds(8, 200))
def test_a_damaged_listing_is_made_again(tmp_path, cache, pets, seed):
    rng = np.random.default_rng(seed)
    right = Dataset(pets)
    cache.open(pets, right.fingerprint, RUN)
    other = cache.open(replace(pets, seed=1), right.fingerprint, RUN)
    assert other.samples("train") != right.samples("train")
    for path in sorted((tmp_path / "cache").iterdir()):
        damage(path, rng)
    dataset = cache.open(pets, right.fingerprint, RUN)
    assert dataset.labels("train").tolist() == right.labels("train").tolist()
    assert [raw.origin for raw in dataset.read("test", 0, 8)] == [raw.origin for raw in right.read("test", 0, 8)]
    assert cache.open(pets, right.fingerprint, RUN).splits["val"].rows.tolist() == right.splits["val"].rows.tolist()


def damage(path: Path, rng: np.random.Generator) -> None:
    content = bytearray(path.read_bytes())
    way = rng.integers(4)
    if way == 0:
        content[rng.integers(len(content))] ^= 1 << int(rng.integers(8))
    elif way == 1:
        del content[rng.integers(len(content)) :]
    elif way == 2:
        content = bytearray(next(path.parent.glob(f"*{path.suffix}")).read_bytes())
    else:
        path.unlink()
        return
    path.write_bytes(content)


def test_listings_make_room_for_each_other_within_the_limit(tmp_path, pets):
    place = tmp_path / "cache"
    fingerprint = Dataset(pets).fingerprint
    DatasetCache(place, LIMIT).open(pets, fingerprint, RUN)
    (first,) = place.glob("*.arrow")
    os.utime(first, (0, 0))
    cache = DatasetCache(place, int(1.5 * first.stat().st_size))
    cache.open(replace(pets, seed=1), fingerprint, RUN)
    (second,) = place.glob("*.arrow")
    assert second != first


@pytest.mark.parametrize("limit", [0, 10], ids=["nothing may be kept", "less than a listing"])
def test_a_listing_that_cannot_be_kept_costs_no_more_than_that(tmp_path, opened, pets, limit):
    fingerprint = Dataset(pets).fingerprint
    cache = DatasetCache(tmp_path / "cache", limit)
    assert [cache.open(pets, fingerprint, RUN).classes for _ in range(2)] == [("cats", "dogs")] * 2
    assert len(opened) == 3
    assert not list(tmp_path.rglob("*.arrow"))


def test_a_folder_that_cannot_be_made_costs_no_more_than_that(opened, pets):
    cache = DatasetCache(Path(os.devnull) / "cache", LIMIT)
    cache.keep(dataset := Dataset(pets), RUN)
    assert cache.open(pets, dataset.fingerprint, RUN).classes == ("cats", "dogs")
    assert len(opened) == 2


def test_a_source_that_cannot_be_listed_is_opened_by_each_process(cache, opened, pets, monkeypatch):
    monkeypatch.delattr(sys.modules["featurestore.images.sources.image_folder"], "reader")
    dataset = Dataset(pets)
    for _ in range(2):
        assert list(cache.open(pets, dataset.fingerprint, RUN).read("test", 0, 8))
    assert len(opened) == 3
    with pytest.raises(OtherFilesError):
        cache.open(pets, "what the driver saw", RUN)


def test_the_cache_of_the_environment_is_that_of_the_matrices():
    assert DatasetCache.default()._folder == node_cache.folder()
