from dataclasses import replace

import numpy as np
import pytest
from tiny import save_images

from featurestore.catalogue.datasets import DatasetSpec
from featurestore.errors import DatasetError
from featurestore.images.hold_outs import stratified_sample
from featurestore.images.splits import Dataset


def test_missing_splits_are_held_out_stratified_and_disjoint(image_spec):
    dataset = Dataset(image_spec)
    rows = [set(dataset.splits[split].rows) for split in ("train", "val", "test")]
    assert [len(part) for part in rows] == [26, 6, 8]
    assert len(set.union(*rows)) == 40
    assert np.bincount(dataset.labels("test")).tolist() == [4, 4]
    assert dataset.splits["test"].made == "8 of 40 train images held out, stratified, seed 0"
    assert dataset.splits["train"].made == "all 40 train images of the source, less 8 for test, less 6 for val"


def test_the_seed_decides_the_hold_out(image_spec):
    first, again, other = (Dataset(replace(image_spec, seed=seed)) for seed in (0, 0, 1))
    assert first.splits["test"].rows.tolist() == again.splits["test"].rows.tolist()
    assert first.splits["test"].rows.tolist() != other.splits["test"].rows.tolist()
    assert first.samples("test") == again.samples("test") != other.samples("test")


def test_splits_of_the_source_are_kept(tmp_path):
    save_images(tmp_path / "train", {"cats": 8, "dogs": 8})
    save_images(tmp_path / "test", {"cats": 3, "dogs": 2})
    dataset = Dataset(DatasetSpec(name="pets", source=f"image_folder:{tmp_path}"))
    assert dataset.splits["test"].made == "all 5 test images of the source"
    assert dataset.splits["val"].origin == "train"


def test_a_limit_keeps_the_shares_of_the_classes(image_spec):
    dataset = Dataset(replace(image_spec, limit=20))
    assert sum(len(split.rows) for split in dataset.splits.values()) == 20
    assert dataset.splits["train"].made.startswith("20 of the source's 40 train images, stratified, seed 0")


@pytest.mark.parametrize("size", [0, 1, 7, 50, 100])
def test_a_stratified_sample_is_as_even_as_whole_numbers_allow(size):
    labels = np.repeat([0, 1, 2], [60, 30, 10])
    chosen = stratified_sample(labels, size, seed=0)
    assert len(set(chosen)) == size
    shares = np.bincount(labels[chosen], minlength=3) - size * np.array([0.6, 0.3, 0.1])
    assert np.abs(shares).max() <= 1


def test_shards_depend_on_the_dataset_alone_and_cover_it(image_spec):
    dataset = Dataset(image_spec)
    ranges = [dataset.shard_range("train", shard) for shard in range(dataset.n_shards("train"))]
    assert ranges == [(0, 8), (8, 16), (16, 24), (24, 26)]


@pytest.mark.parametrize(("n_images", "size"), [(20, 128), (9000, 128), (50_000, 1024), (1_281_167, 4096)])
def test_large_splits_have_larger_shards(image_spec, n_images, size):
    dataset = Dataset(replace(image_spec, shard_images=None))
    dataset.splits["train"] = replace(dataset.splits["train"], rows=np.arange(n_images))
    assert dataset.shard_images("train") == size


def test_two_images_are_too_few(tmp_path):
    save_images(tmp_path, {"cats": 1, "dogs": 1})
    with pytest.raises(DatasetError, match="no image left for its (test|val) split"):
        Dataset(DatasetSpec(name="pets", source=f"image_folder:{tmp_path}"))


def test_one_class_is_too_few(tmp_path):
    save_images(tmp_path, {"cats": 20})
    with pytest.raises(DatasetError, match=r"at least two classes. It has 1 \('cats'\)"):
        Dataset(DatasetSpec(name="pets", source=f"image_folder:{tmp_path}"))


def test_what_no_seed_and_no_share_can_do_is_not_advised(tmp_path):
    save_images(tmp_path, {f"class{number}": 1 for number in range(12)})
    with pytest.raises(DatasetError, match="No seed and no share gives each class a training image: give these"):
        Dataset(DatasetSpec(name="pets", source=f"image_folder:{tmp_path}"))
