"""Which split each Parquet file is, by names: whatever tree, every file and every row is somewhere, once."""

import random
from pathlib import PurePosixPath

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from parquet_given import write
from seeds import seeds

from featurestore.catalogue.datasets import DatasetSpec
from featurestore.errors import DatasetError
from featurestore.images.parquet_parts import parts_of
from featurestore.images.sources import open_source
from featurestore.images.splits import Dataset


def parts(*names, mapped=False):
    found = parts_of(sorted(map(PurePosixPath, names)), "pets", "/data", mapped=mapped)
    return {part.name: [str(file) for file in part.files] for part in found}


@pytest.mark.parametrize(
    "name",
    [
        "train.parquet",
        "train-00000-of-00002.parquet",
        "train-00000-of-00001-a09b74b3ef9c3b56.parquet",
        "train_3.parquet",
        "train.part-7.snappy.parquet",
        "train/part-00000-0b4a5a26-9e3c-4b9d-8f5e-7f0c9c8d7e6f-c000.snappy.parquet",
        "default/train/0000.parquet",
        "split=train/data_0.parquet",
        "train.parquet/part.0.parquet",
        "train/images.parquet",
        "Train-0.parquet",
        "training.parquet",
    ],
)
def test_a_split_is_what_is_left_of_a_name_without_its_numbers(name):
    (found,) = parts(name)
    assert found.lower() in ("train", "training")


@pytest.mark.parametrize(
    "name",
    ["extra-00000-of-00001", "holdout", "test_corrupted-00000", "test-corrupted", "test (1)", "testset", "pretrain"],
)
def test_a_name_that_only_holds_that_of_a_split_is_another_split(name):
    found = parts("train-0.parquet", "test-0.parquet", f"{name}.parquet")
    assert found.pop("train") == ["train-0.parquet"]
    assert found.pop("test") == ["test-0.parquet"]
    assert list(found.values()) == [[f"{name}.parquet"]]


@pytest.mark.parametrize(
    ("names", "splits"),
    [
        (["cifar10_train", "cifar10_test"], ["train", "test"]),
        (["cifar10-train-00000-of-00001", "cifar10-test-00000-of-00001"], ["train", "test"]),
        (["train_images", "val_images", "test_images"], ["train", "val", "test"]),
        (["train2017", "val2017"], ["train", "val"]),
        (["coco_train2017", "coco_dev2017"], ["train", "dev"]),
        (["a_train", "a_test", "a_test_hard"], ["train", "test", "test_hard"]),
    ],
)
def test_what_all_names_have_in_common_is_no_part_of_the_split(names, splits):
    assert sorted(parts(*(f"{name}.parquet" for name in names))) == sorted(splits)


@pytest.mark.parametrize(
    "names",
    [
        ["a.parquet", "b.parquet"],
        ["train_clean.parquet", "train_other.parquet", "test_clean.parquet"],
        ["train1.parquet", "test1.parquet", "train2.parquet"],
        ["main/0.parquet", "eval/0.parquet"],
    ],
)
def test_several_names_of_which_none_is_a_split_are_refused_and_can_be_mapped(names):
    with pytest.raises(DatasetError, match=r"none of these is the name of a split.*`splits = \{train = \["):
        parts(*names)
    assert sum(map(len, parts(*names, mapped=True).values())) == len(names)


@pytest.mark.parametrize("names", [["data.parquet"], ["0000.parquet", "0001.parquet"], ["x/part-0.parquet"]])
def test_files_of_one_name_alone_are_train_and_that_is_said(names):
    (part,) = parts_of([PurePosixPath(name) for name in names], "pets", "/data", mapped=False)
    assert (part.name, part.reason) == ("train", "no name says a split, and there is no other")


def test_the_word_in_a_name_alone_is_its_split():
    assert list(parts("pets_test.parquet")) == ["test"]
    assert list(parts("pets_train.parquet")) == ["train"]


def test_folders_that_each_have_splits_are_configurations_and_are_never_pooled():
    names = ["plain/train-0.parquet", "plain/test-0.parquet", "other/train-0.parquet", "other/test-0.parquet"]
    with pytest.raises(DatasetError, match=r'2 places: other, plain.*source = "parquet:/data/other".*"other/train"'):
        parts(*names)
    with pytest.raises(DatasetError, match=r'2 places: a, b\..*\{train = \["a/train"\], test = \["b/test"\]\}`'):
        parts("a/train.parquet", "b/test.parquet")
    with pytest.raises(DatasetError, match=r'2 places: de, en\..*/en", .*train = \["en/train"\], test = \["en/test"\]'):
        parts("de/train.parquet", "en/train.parquet", "en/test.parquet")
    assert sorted(parts(*names, mapped=True)) == ["other/test", "other/train", "plain/test", "plain/train"]


def test_folders_beside_those_of_splits_are_splits_of_another_name():
    found = parts("data/train/0.parquet", "data/test/0.parquet", "data/extra/0.parquet", "raw/0.parquet")
    assert sorted(found) == ["data/extra", "raw/unnamed", "test", "train"] or sorted(found) == [
        "extra",
        "raw",
        "test",
        "train",
    ]


def test_a_folder_called_like_a_split_may_hold_several():
    assert sorted(parts("test/train-0.parquet", "test/test-0.parquet")) == ["test", "train"]


def test_a_file_that_contradicts_its_folder_is_refused():
    with pytest.raises(DatasetError, match=r"must not contradict its folder's. Got train/test-0.parquet in train"):
        parts("train/test-0.parquet", "test/test-0.parquet")


@pytest.mark.parametrize(
    "second",
    [
        "train-00000-of-00002.parquet",
        "train.parquet",
        "train-00000-of-00001-0b74b3ef9c3b5611.parquet",
        "train-3.parquet",
    ],
)
def test_parts_that_do_not_make_one_whole_are_refused(second):
    with pytest.raises(DatasetError, match="different parts of one whole"):
        parts("train-00000-of-00001-a09b74b3ef9c3b56.parquet", second)


# ---- any tree -------------------------------------------------------------------------------------------------------

FILES = [
    "train",
    "test",
    "dev",
    "Val",
    "extra",
    "test_corrupted",
    "data",
    "0000",
    "train-00000-of-00001",
    "part-1",
    "_side",
]
FOLDERS = ["", "", "data", "train", "test", "extra", ".cache", "plain_text", "TESTING"]
SUFFIXES = [".parquet", ".parquet", ".parquet", ".PARQUET", ".pq", ".json", ".parquet.bak"]


def random_tree(root, seed):
    """Write a tree; return the number of files, and row numbers of each Parquet file that is not hidden."""
    chance, rows, files = random.Random(seed), {}, set()
    for _ in range(chance.randint(1, 7)):
        folder = root / chance.choice(FOLDERS) / chance.choice(FOLDERS)
        path = folder / f"{chance.choice(FILES)}{chance.choice(SUFFIXES)}"
        if path in files:
            continue
        files.add(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        start = sum(map(len, rows.values()))
        mine = list(range(start, start + chance.randint(0, 3)))
        images = pa.array([str(row).encode() for row in mine], pa.binary())
        pq.write_table(pa.table({"image": images, "label": pa.array([row % 2 for row in mine], pa.int64())}), path)
        relative = path.relative_to(root)
        if path.suffix.lower() in (".parquet", ".pq") and not any(part[0] in "._" for part in relative.parts):
            rows[relative.as_posix()] = mine
    return len(files), rows


@pytest.mark.parametrize("seed", seeds(40, 400))
def test_in_any_tree_every_file_and_row_is_met_once_and_used_as_what_its_path_says_or_refused(tmp_path, seed):
    n_files, rows = random_tree(tmp_path, seed)
    try:
        source = open_source(DatasetSpec(name="pets", source=f"parquet:{tmp_path}"))
    except DatasetError:
        return
    inventory = source.inventory()
    assert inventory.seen("file") == n_files
    assert inventory.seen("row") == sum(map(len, rows.values()))
    place = {row: path for path, mine in rows.items() for row in mine}
    met = []
    for split, size in source.splits().items():
        own = [int(raw.content) for raw in source.read(split, np.arange(size))]
        met += own
        if len(source.splits()) == 1:
            continue
        words = [set(place[row].lower().replace("/", " ").replace(".", " ").replace("-", " ").split()) for row in own]
        assert all(split.lower() in found for found in words if "/" not in split and split != "unnamed"), split
    assert sorted(met) == sorted(place)


def test_unknown_splits_are_left_out_and_counted(tmp_path):
    for number, split in enumerate(["train", "test", "extra"]):
        write(tmp_path / f"{split}-00000-of-00001.parquet", [0, 1] * 10, start=40 * number)
    dataset = Dataset(DatasetSpec(name="pets", source=f"parquet:{tmp_path}"))
    assert {split: len(one.rows) for split, one in dataset.splits.items()} == {"train": 16, "val": 4, "test": 20}
    assert any(note.startswith("20 rows left out: 'extra' is not known") for note in dataset.notes)
    mapped = DatasetSpec(
        name="pets", source=f"parquet:{tmp_path}", splits={"train": ("train", "extra"), "test": ("test",)}
    )
    assert len(Dataset(mapped).splits["train"].rows) == 32
    assert Dataset(mapped).notes == []


def test_a_train_split_without_rows_is_named(tmp_path):
    write(tmp_path / "train.parquet", pa.array([], pa.int64()))
    write(tmp_path / "test.parquet", [0, 1] * 10)
    with pytest.raises(DatasetError, match="its split 'train' must have images. It has none"):
        Dataset(DatasetSpec(name="pets", source=f"parquet:{tmp_path}"))


def test_a_part_that_is_not_there_is_named(tmp_path):
    write(tmp_path / "train-00000-of-00003.parquet", [0, 1] * 10)
    notes = Dataset(DatasetSpec(name="pets", source=f"parquet:{tmp_path}")).notes
    assert notes == ["1 file used as train images: 2 of 3 parts not there (train-00000-of-00003.parquet)"]
