import pytest
from tiny import save_images

from cluster.work.unreadable_images import UnreadableImages
from featurestore.catalogue.datasets import DatasetSpec
from featurestore.images.splits import Dataset


@pytest.fixture
def told(tmp_path):
    """Ten training images of cats, then ten of dogs, in shards of five: (split, shard, reasons) -> what is said."""
    for number, split in enumerate(("train", "val", "test")):
        save_images(tmp_path / split, {"cats": 10, "dogs": 10}, seed=number)
    dataset = Dataset(DatasetSpec(name="pets", source=f"image_folder:{tmp_path}", shard_images=5))
    unreadable = UnreadableImages({"pets": dataset})
    return lambda split, shard, reasons: list(unreadable.note("pets", split, shard, reasons))


def test_a_shard_without_a_readable_image_is_said_at_once_and_once(told):
    assert told("test", 1, dict.fromkeys(range(5, 10), "no such file")) == [
        "Dataset pets: none of 5 images of test (shard 1) can be read: no such file"
    ]
    assert told("test", 2, dict.fromkeys(range(10, 15), "no such file")) == []


def test_a_class_without_a_readable_training_image_is_said_by_name_when_the_last_of_them_is_seen(told):
    assert told("train", 0, {0: "cut short", 1: "empty"}) == []
    assert told("train", 1, {}) == []
    assert told("train", 2, dict.fromkeys(range(10, 14), "cut short")) == []
    assert told("train", 3, dict.fromkeys(range(15, 20), "empty")) == [
        "Dataset pets: none of 5 images of train (shard 3) can be read: empty"
    ]
    assert told("train", 2, dict.fromkeys(range(10, 14), "cut short") | {14: "empty"}) == [
        "Dataset pets: no training image of 'dogs' can be read: empty (6 of 10); cut short (4 of 10)"
    ]
    assert told("train", 3, dict.fromkeys(range(15, 20), "empty")) == []
