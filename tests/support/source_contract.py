"""What every image source must do. The test module of a source inherits it and says how to make a small dataset, and
how to make one of a random kind as people have them."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from featurestore.catalogue.datasets import DatasetSpec
from featurestore.errors import ProbestoreError
from featurestore.images import preprocessing
from featurestore.images.inventory import Inventory
from featurestore.images.source_splits import present_classes
from featurestore.images.sources import Source, open_source
from featurestore.images.splits import Dataset


def check_that_numbers_add_up(spec: DatasetSpec, n_files: int | None = None) -> Dataset:
    """Open a dataset, and check that everything is counted once and that no image is in two splits.

    Parameters
    ----------
    n_files : int, optional
        Number of files that there are, where the source has any.
    """
    source = open_source(spec)
    if n_files is not None:
        assert source.inventory().seen("file") == n_files
    assert used_images(source.inventory()) == {split: size for split, size in source.splits().items() if size}
    dataset = Dataset(spec)
    if n_files is not None:
        assert dataset.inventory.seen("file") == n_files
    used = used_images(dataset.inventory)
    made = {split: len(part.rows) for split, part in dataset.splits.items()}
    assert sum(used.values()) == sum(made.values())
    assert all(used.get(split, made[split]) >= made[split] for split in ("val", "test"))
    assert present_classes(dataset.labels("train"), len(dataset.classes)).all()
    origins = [raw.origin for split in made for raw in dataset.read(split, 0, made[split])]
    assert len(set(origins)) == len(origins) == sum(made.values())
    return dataset


def used_images(inventory: Inventory) -> dict[str, int]:
    """Return how many images each split has by an inventory, in rows where the source has rows, else in files."""
    thing = "row" if inventory.seen("row") else "file"
    found: Counter[str] = Counter()
    for entry in inventory:
        if entry.thing == thing and entry.used_as:
            found[entry.used_as.removesuffix(" images")] += entry.count
    return dict(found)


class SourceContract:
    """Inherited by a class whose fixture `spec` is the record of a dataset with two classes or more.

    `random_spec` makes a dataset of a random kind, or something that is none, and returns its record and the number of
    its files.
    """

    def random_spec(self, root: Path, rng: np.random.Generator) -> tuple[DatasetSpec, int] | None:
        return None

    @pytest.fixture
    def source(self, spec: DatasetSpec) -> Source:
        return open_source(spec)

    def test_it_has_a_training_split_and_no_empty_one(self, source: Source):
        assert "train" in source.splits()
        assert min(source.splits().values()) > 0

    def test_every_image_has_a_label_among_the_classes(self, source: Source):
        assert len(set(source.classes)) == len(source.classes) >= 2
        for split, size in source.splits().items():
            labels = source.labels(split)
            if labels.ndim == 1:
                assert labels.dtype == np.int64
                assert labels.shape == (size,)
                assert set(labels.tolist()) <= set(range(len(source.classes)))
            else:
                assert labels.dtype == np.bool_
                assert labels.shape == (size, len(source.classes))

    def test_groups_are_one_per_image_or_none_at_all(self, source: Source):
        for split, size in source.splits().items():
            groups = source.groups(split)
            assert groups is None or len(groups) == size

    def test_rows_are_read_in_the_order_that_is_asked_for(self, source: Source):
        in_order = [raw.origin for raw in source.read("train", np.arange(4))]
        assert len(set(in_order)) == 4
        assert [raw.origin for raw in source.read("train", np.array([3, 0, 0, 2]))] == [
            in_order[row] for row in (3, 0, 0, 2)
        ]
        assert list(source.read("train", np.arange(0))) == []

    def test_images_can_be_decoded(self, source: Source):
        for raw in source.read("train", np.arange(4)):
            assert raw.reason is None
            assert preprocessing.decode(raw.content).mode == "RGB"

    def test_its_fingerprint_is_that_of_what_is_there(self, spec: DatasetSpec):
        assert open_source(spec).fingerprint() == open_source(spec).fingerprint()

    def test_its_inventory_adds_up(self, spec: DatasetSpec):
        check_that_numbers_add_up(spec)

    def test_in_random_datasets_everything_is_counted_once_and_nothing_of_test_is_in_train(self, tmp_path: Path):
        opened, refused = 0, 0
        for seed in range(40):
            made = self.random_spec(tmp_path / str(seed), np.random.default_rng(seed))
            if made is None:
                return
            try:
                check_that_numbers_add_up(*made)
                opened += 1
            except ProbestoreError:
                refused += 1
        assert min(opened, refused) > 0

    def test_it_makes_a_dataset_of_three_splits(self, spec: DatasetSpec):
        dataset = Dataset(spec)
        assert all(len(dataset.splits[split].rows) for split in ("train", "val", "test"))

    def test_a_place_that_is_not_there_is_named(self, spec: DatasetSpec):
        with pytest.raises(ProbestoreError, match="nowhere"):
            open_source(DatasetSpec(name="none", source=f"{spec.family}:nowhere"))
