from collections.abc import Mapping

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from tiny import save_images

from featurestore.catalogue.datasets import DatasetSpec
from featurestore.errors import ConfigurationError, DatasetError
from featurestore.images.splits import Dataset
from featurestore.store.layout import content_key

SIZES = {"train": 8, "extra": 3, "dev": 2, "holdout": 1}


def folders(root, sizes: Mapping[str, int] = SIZES):
    for number, (split, size) in enumerate(sizes.items()):
        save_images(root / split, {"cats": size, "dogs": size}, seed=number)
    return f"image_folder:{root}"


def parquet(root, sizes: Mapping[str, int] = SIZES):
    for number, (split, size) in enumerate(sizes.items()):
        rows = [{"bytes": f"{number}.{label}.{i}".encode()} for label in range(2) for i in range(size)]
        (root / split).mkdir()
        pq.write_table(pa.table({"image": rows, "label": [0] * size + [1] * size}), root / split / "part.parquet")
    return f"parquet:{root}"


def opened(source: str, **splits: tuple[str, ...]) -> Dataset:
    return Dataset(DatasetSpec(name="pets", source=source, splits=splits or None))


def sizes(dataset: Dataset) -> dict[str, int]:
    return {split: len(part.rows) for split, part in dataset.splits.items()}


@pytest.fixture(params=[folders, parquet])
def source(request, tmp_path) -> str:
    return request.param(tmp_path)


def test_a_map_says_what_the_splits_of_a_source_are(source):
    dataset = opened(source, train=("train",), test=("dev",))
    assert sizes(dataset) == {"train": 13, "val": 3, "test": 4}
    assert dataset.splits["test"].made == "all 4 test images of the source"
    assert any("extra" in note and "left out" in note for note in dataset.notes)


def test_a_split_can_be_made_of_several(source):
    dataset = opened(source, train=("train", "extra"), val=("holdout",), test=("dev",))
    assert sizes(dataset) == {"train": 22, "val": 2, "test": 4}
    assert np.bincount(dataset.labels("train")).tolist() == [11, 11]
    origins = [raw.origin for raw in dataset.read("train", 14, 18)]
    assert len(set(origins)) == 4
    assert [origin.split("/")[0].split("[")[0] for origin in origins] == ["train"] * 2 + ["extra"] * 2
    assert list(dataset.read("val", 0, 0)) == []


def test_a_split_whose_name_is_not_known_is_in_no_split_and_named(source):
    dataset = opened(source)
    assert sizes(dataset)["val"] == 4
    assert sum(sizes(dataset).values()) == 20
    said = "\n".join(dataset.notes)
    assert "'extra' is not known as the name of a split; `splits` can say what it is" in said
    assert "'holdout'" in said


def test_a_name_in_the_map_that_the_source_lacks_is_an_error_with_a_suggestion(source):
    with pytest.raises(DatasetError, match=r"Got 'hold-out'; the source has .*'train'.* Did you mean 'holdout'"):
        opened(source, train=("train",), test=("hold-out",))


def test_two_names_for_one_split_are_refused_until_the_map_says_what_they_are(tmp_path):
    source = folders(tmp_path, {"train": 8, "Training": 4})
    with pytest.raises(
        DatasetError, match=r"for train; merge them, or say which count, such as `splits = \{train = \["
    ):
        opened(source)
    assert sum(sizes(opened(source, train=("train", "Training"))).values()) == 24
    assert sum(sizes(opened(source, train=("train",))).values()) == 16


def test_a_source_without_a_training_split_says_which_splits_it_has(tmp_path):
    with pytest.raises(DatasetError, match=r"a split called train. It has: 'test'. `splits` says which of them"):
        opened(folders(tmp_path, {"test": 4}))


def test_a_map_enters_keys_and_no_map_does_not(source):
    plain, mapped = opened(source), opened(source, train=("train",), val=("dev",))
    assert "splits" not in plain.key_parts("train")
    assert content_key(plain.key_parts("train")) != content_key(mapped.key_parts("train"))


@pytest.mark.parametrize(
    ("splits", "message"),
    [
        ({"trian": ("a",)}, "Unknown split 'trian'. Did you mean 'train'"),
        ({"test": ("a",)}, "must say what train is"),
        ({"train": ()}, "must give train as a list of names"),
        ({"train": "training"}, "must give train as a list of names"),
        ({"train": ("a",), "test": ("a",)}, "'a' is there twice"),
    ],
)
def test_a_map_that_cannot_be_meant_is_refused_before_anything_is_opened(splits, message):
    with pytest.raises(ConfigurationError, match=message):
        DatasetSpec(name="pets", source="packaged:digits", splits=splits)


def test_the_advice_to_work_without_splits_names_all_that_have_no_labels(tmp_path):
    save_images(tmp_path / "train", {"cats": 8, "dogs": 8})
    save_images(tmp_path / "val", {"images": 4})
    save_images(tmp_path / "test", {"images": 4})
    with pytest.raises(DatasetError, match="No class of val and test is one of train: perhaps they have") as caught:
        opened(f"image_folder:{tmp_path}")
    assert 'splits = {train = ["train"]}`; its val and test splits are then held out' in str(caught.value)
    assert sizes(opened(f"image_folder:{tmp_path}", train=("train",))) == {"train": 10, "val": 3, "test": 3}
