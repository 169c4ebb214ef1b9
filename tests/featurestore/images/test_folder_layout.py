"""What folders of images people have, and what they are read as. The files need no content here."""

import os
import re
import tomllib

import numpy as np
import pytest
from random_folders import entries, link, litter, random_folder
from source_contract import check_that_numbers_add_up, used_images

from featurestore.catalogue.datasets import DatasetSpec
from featurestore.errors import DatasetError, ProbestoreError
from featurestore.images.class_names import alike
from featurestore.images.sources import open_source
from featurestore.images.splits import Dataset


def make(root, *folders: str, n: int = 6):
    """Make `n` files in each folder; ``name:3`` makes three."""
    for text in folders:
        folder, _, size = text.partition(":")
        (root / folder).mkdir(parents=True, exist_ok=True)
        for number in range(int(size or n)):
            (root / folder / f"{number}.png").write_bytes(f"{folder}{number}".encode())
    return root


def opened(root, **fields) -> Dataset:
    return Dataset(DatasetSpec(name="pets", source=f"image_folder:{root}", **fields))


def sizes(dataset: Dataset) -> dict[str, int]:
    return used_images(dataset.inventory)


def said(dataset: Dataset) -> str:
    return "\n".join(dataset.notes)


# ---- what is no data


@pytest.mark.parametrize("layout", [("cat", "dog"), ("train/cat", "train/dog", "test/cat", "test/dog")])
def test_what_systems_leave_behind_makes_no_class_and_is_counted(tmp_path, layout):
    make(tmp_path, *layout)
    before = opened(tmp_path)
    for number, (place, _, _) in enumerate(list(os.walk(tmp_path))):
        litter(tmp_path / place, np.random.default_rng(number))
    make(tmp_path, "__MACOSX/train/cat", "@eaDir/cat", "new folder:0", "__MACOSX/cat")
    dataset = check_that_numbers_add_up(before.spec, len(entries(tmp_path)))
    assert dataset.classes == ("cat", "dog")
    assert sizes(dataset) == sizes(before)
    assert dataset.fingerprint == before.fingerprint
    assert "left out: it holds no image (new folder" in said(dataset)
    assert "files left out: made by a system, no part of the data (" in said(dataset)
    assert not before.notes


def test_loose_images_are_in_no_split_and_named(tmp_path):
    make(tmp_path, "train/a", "train/b", "train:2", "test/a", "test/b", ".:3")
    dataset = opened(tmp_path)
    assert sizes(dataset) == {"train": 12, "test": 12}
    assert "2 files left out: it lies beside the class folders (train/0.png, train/1.png)" in said(dataset)
    assert "3 files left out: it lies beside the folders of the splits" in said(dataset)


# ---- folders below classes


def test_images_below_a_class_folder_belong_to_the_class(tmp_path):
    make(tmp_path, "train/cat", "train/cat/video_1", "train/cat/video_1/far/away", "train/dog/video_1", "test/cat/x")
    make(tmp_path, "test/dog")
    dataset = opened(tmp_path)
    assert sizes(dataset) == {"train": 24, "test": 12}
    assert np.bincount(dataset.labels("test")).tolist() == [6, 6]
    assert "18 files used as train images: in folders below class folders (train/cat/video_1/0.png" in said(dataset)
    assert opened(make(tmp_path / "flat", "cat/1", "cat/2", "dog/1")).classes == ("cat", "dog")


def test_splits_below_classes_are_refused_because_they_would_be_pooled(tmp_path):
    make(tmp_path, "bottle/train", "bottle/test", "cable/train", "cable/test")
    with pytest.raises(DatasetError, match="bottle/test, which is called like a split, lies below the class folder"):
        opened(tmp_path)


def test_classes_once_more_below_a_class_are_refused(tmp_path):
    make(tmp_path, "train/a", "train/b", "train/extra/a", "train/extra/b", "test/a", "test/b")
    with pytest.raises(DatasetError, match="train/extra holds the folders 'a', 'b', which are called as the classes"):
        opened(tmp_path)


def test_folders_that_all_classes_have_may_be_the_classes(tmp_path):
    make(tmp_path, "2021/a", "2021/b", "2022/a", "2022/b")
    assert "all of them hold the folders 'a', 'b'. If these are the classes, `splits`" in said(opened(tmp_path))
    assert opened(tmp_path, splits={"train": ("2021",), "test": ("2022",)}).classes == ("a", "b")


@pytest.mark.parametrize(
    ("folders", "remedy"),
    [
        (("flowers/rose", "flowers/tulip"), r"write `source = \"image_folder:.*/flowers\"`"),
        (("data/train/rose", "data/test/rose"), r"write `source = \"image_folder:.*/data\"`"),
        (("train/images/rose", "train/images/tulip"), "move the folders 'rose', 'tulip' up"),
    ],
)
def test_a_folder_around_the_classes_is_named(tmp_path, folders, remedy):
    with pytest.raises(DatasetError, match=f"must have at least two class folders. It has one.*{remedy}"):
        opened(make(tmp_path, *folders))


# ---- splits or classes


@pytest.mark.parametrize("names", [("bus", "car", "plane", "train"), ("control", "test"), ("dev", "x", "VAL")])
def test_folders_that_are_called_like_splits_and_hold_images_are_classes(tmp_path, names):
    dataset = opened(make(tmp_path, *names))
    assert set(dataset.classes) == set(names)
    assert sizes(dataset) == {"train": 6 * len(names)}


def test_a_class_can_be_called_like_a_split_inside_splits(tmp_path):
    folders = [f"{split}/{name}" for split in ("train", "test") for name in ("bus", "train", "test")]
    assert opened(make(tmp_path, *folders)).classes == ("bus", "test", "train")


@pytest.mark.parametrize(
    ("splits", "used"),
    [
        (("Training", "Testing"), {"train", "test"}),
        (("train", "testing"), {"train", "test"}),
        (("train", "dev", "test"), {"train", "val", "test"}),
        (("TRAIN", "Valid"), {"train", "val"}),
        (("training", "development"), {"train", "val"}),
    ],
)
def test_splits_have_many_names(tmp_path, splits, used):
    make(tmp_path, *(f"{split}/{name}" for split in splits for name in ("a", "b")))
    assert sizes(opened(tmp_path)) == dict.fromkeys(used, 12)


def test_a_folder_beside_splits_that_is_none_is_named(tmp_path):
    make(tmp_path, "train/a", "train/b", "test/a", "test/b", "eval/a", "eval/c", "masks:4")
    dataset = opened(tmp_path)
    assert dataset.classes == ("a", "b")
    assert "12 files left out: 'eval' is not known as the name of a split; `splits` can say" in said(dataset)
    assert "4 files left out: 'masks' is not known" in said(dataset)
    assert "1 class left out: no image of train or test has it (c)" in said(dataset)


@pytest.mark.parametrize(
    ("folders", "message"),
    [
        (
            ("train", "test"),
            r"'test', 'train' look like splits. If they are, put .* classes, say `splits = {train = \[\"\.\"\]}`",
        ),
        (
            ("train_images/a", "train_images/b", "testset/a", "testset/b"),
            r"`splits = {train = \[\"train_images\"\], test",
        ),
        (("bus/x", "car/x", "train/x"), "'train' may be a split or a class beside 'bus', 'car'"),
        (("train/a", "train", "bus"), "'train' may be a split or a class beside 'bus'"),
    ],
)
def test_what_can_be_read_in_two_ways_is_refused_until_the_map_says(tmp_path, folders, message):
    make(tmp_path, *folders)
    with pytest.raises(DatasetError, match=message):
        opened(tmp_path)
    names = tuple(sorted({folder.split("/")[0] for folder in folders}))
    assert opened(tmp_path, splits={"train": (".",)}).classes == names


# ---- splits without labels, classes without images


@pytest.mark.parametrize("test", ["test:20", "test/unknown:20"])
def test_a_test_split_without_labels_is_refused_and_the_map_does_without_it(tmp_path, test):
    make(tmp_path, "train/cat", "train/dog", test)
    with pytest.raises(DatasetError, match=r"To work without it, give the dataset `splits = {train = \[\"train\"\]}`"):
        opened(tmp_path)
    dataset = opened(tmp_path, splits={"train": ("train",)})
    assert sizes(dataset) == {"train": 12}
    assert "20 files left out: `splits` does not name 'test'" in said(dataset)


def test_a_class_with_test_images_only_is_an_error(tmp_path):
    make(tmp_path, "train/a", "train/b", "train/c:0", "test/a", "test/b", "test/c")
    with pytest.raises(DatasetError, match="1 of 3 has none: c is in test only. Give train images"):
        opened(tmp_path)


def test_an_empty_split_folder_is_named_and_held_out(tmp_path):
    dataset = opened(make(tmp_path, "train/a", "train/b", "test/a:0"))
    assert "1 folder left out: it holds no image (test)" in said(dataset)
    assert dataset.splits["test"].origin == "train"


@pytest.mark.parametrize(
    ("classes", "message"),
    [
        (
            (("Cat", "Dog"), ("cat", "dog")),
            "differ in case, spaces or Unicode form only: 'Cat' and 'cat', 'Dog' and 'dog'. Rename",
        ),
        ((("caf\u00e9", "th\u00e9"), ("cafe\u0301", "th\u00e9")), r"'cafe\\u0301' and 'caf\\xe9'. Rename"),
    ],
)
def test_classes_that_differ_in_form_only_are_said_to(tmp_path, classes, message):
    train, test = classes
    make(tmp_path, *(f"train/{name}" for name in train), *(f"test/{name}" for name in test))
    with pytest.raises(DatasetError, match=message):
        opened(tmp_path)
    both = make(tmp_path / "both", *{*train, *test})
    assert "names of classes differ in case, spaces or Unicode form only" in said(opened(both))


def test_names_are_alike_whatever_the_order():
    assert alike(["stra\u00dfe", "a", "STRASSE", "b "]) == [["stra\u00dfe", "STRASSE"]]


# ---- links


def test_links_lead_into_folders_that_the_record_permits(tmp_path):
    store = make(tmp_path / "store", "a", "b")
    for split in ("train", "test"):
        (tmp_path / "data" / split).mkdir(parents=True)
        for name in ("a", "b"):
            (tmp_path / "data" / split / name).symlink_to(store / name)
    with pytest.raises(DatasetError, match=rf"or permit links into its folder: `link_roots = \[\"{store}\"\]`"):
        opened(tmp_path / "data")
    dataset = opened(tmp_path / "data", link_roots=(str(store),))
    assert sizes(dataset) == {"train": 12, "test": 12}
    assert all(raw.content for raw in dataset.read("test", 0, 12))
    assert "12 images are the same files as others, by links; 12 images are in several splits that way" in said(dataset)
    assert "link_roots" not in dataset.key_parts("train")
    with pytest.raises(DatasetError, match="outside the dataset's folder"):
        opened(tmp_path / "data", link_roots=(str(tmp_path / "stor"),))


def test_a_link_that_leads_out_beside_the_splits_is_counted_and_disturbs_nobody(tmp_path):
    root = make(tmp_path / "data", "train/a", "train/b", "test/a", "test/b")
    (root / "latest").symlink_to(tmp_path)
    (root / "train" / "a" / "notes.txt").symlink_to(tmp_path / "nothing")
    dataset = check_that_numbers_add_up(DatasetSpec(name="pets", source=f"image_folder:{root}"))
    assert "1 file left out: a link that leads out of the dataset's folder, beside the splits (latest)" in said(dataset)
    (root / "train" / "c").symlink_to(tmp_path)
    with pytest.raises(DatasetError, match="outside the dataset's folder"):
        opened(root)


def test_links_to_their_own_parents_come_to_an_end(tmp_path):
    make(tmp_path, "cat/one", "dog")
    (tmp_path / "cat" / "up").symlink_to(tmp_path / "cat")
    (tmp_path / "cat" / "one" / "round").symlink_to(tmp_path / "dog")
    (tmp_path / "dog" / "again").symlink_to(tmp_path / "cat" / "one")
    dataset = opened(tmp_path)
    assert "1 folder left out: a link to a folder that the link lies in (cat/up)" in said(dataset)
    assert "a link to a folder that is listed already" in said(dataset)
    assert sizes(dataset)["train"] == 24 + 12


def test_random_links_end_and_their_images_are_in_the_splits_that_they_lie_in(tmp_path):
    made = 0
    for seed in range(25):
        root, rng = tmp_path / str(seed), np.random.default_rng(seed)
        link(random_folder(root, rng), rng)
        try:
            check_that_numbers_add_up(DatasetSpec(name="pets", source=f"image_folder:{root}"))
            made += 1
        except ProbestoreError:
            continue
    assert made


# ---- tiny and imbalanced classes


def test_a_class_of_one_image_stays_in_train_and_what_has_no_test_image_is_said(tmp_path):
    dataset = opened(make(tmp_path, "big:40", "one:1", "two:2", "three:3"))
    assert np.bincount(dataset.labels("train")).min() >= 1
    assert "2 of 4 classes have no test image: one, two (9 of 46 train images held out" in said(dataset)
    assert "classes have no val image" in said(dataset)


def test_a_limit_that_costs_a_class_its_images_is_named_with_one_that_is_enough(tmp_path):
    make(tmp_path, *"abcdefgh", n=10)
    with pytest.raises(DatasetError, match=r"The limit is the cause; (\d+) is enough") as caught:
        opened(tmp_path, limit=5)
    enough = int(str(caught.value).split("cause; ")[1].split()[0])
    assert len(opened(tmp_path, limit=enough).classes) == 8


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"limit": 2}, "limit = 2 leaves too few of 20 for three splits. Raise the limit"),
        ({"val_fraction": 0.001}, "val_fraction is too small for so few images. Raise it"),
        ({"test_fraction": 0.99}, "all of them are held out. Lower test_fraction"),
        ({"test_fraction": 0.9, "val_fraction": 0.4}, "Hold out a smaller share"),
    ],
)
def test_an_empty_split_is_too_small_only_where_the_images_are_too_few(tmp_path, fields, message):
    make(tmp_path, "a", "b", n=10)
    with pytest.raises(DatasetError, match=message) as caught:
        opened(tmp_path, **fields)
    assert "too small. Give more" not in str(caught.value)


def test_the_order_of_a_flat_folder_is_that_of_names(tmp_path):
    make(tmp_path, "b", "a", n=12)
    source = open_source(DatasetSpec(name="pets", source=f"image_folder:{tmp_path}"))
    origins = [raw.origin for raw in source.read("train", np.arange(24))]
    assert origins == sorted(origins)


def test_all_links_that_lead_out_are_permitted_by_the_one_line_that_is_advised(tmp_path):
    for place in ("one/a", "one/b", "two/a", "two/b"):
        store, own = make(tmp_path, place) / place, tmp_path / "data" / place[-1]
        own.mkdir(parents=True, exist_ok=True)
        for image in store.iterdir():
            (own / f"{place[:3]}_{image.name}").symlink_to(image)
    given = (str(tmp_path / "one" / "b"),)
    with pytest.raises(DatasetError, match="and 17 other links lead out, too") as caught:
        opened(tmp_path / "data", link_roots=given)
    advised = tomllib.loads(re.findall("`(link_roots = .*)`", str(caught.value))[0])["link_roots"]
    assert advised == [*given, str(tmp_path)]
    assert sizes(opened(tmp_path / "data", link_roots=tuple(advised))) == {"train": 24}


# ---- what is beside the images


def test_folders_of_code_documents_and_weights_are_no_classes(tmp_path):
    make(tmp_path, "a", "b")
    for name in ("code/train.py", "docs/paper/a.pdf", "weights/best.pt"):
        (tmp_path / name).parent.mkdir(parents=True)
        (tmp_path / name).touch()
    (tmp_path / "a" / "notes.py").touch()
    dataset = opened(tmp_path)
    assert dataset.classes == ("a", "b")
    assert sizes(dataset) == {"train": 13}  # as ever, what lies among images is read, and reported
    assert "3 files left out: its name is not that of an image" in said(dataset)
    assert "3 folders left out: it holds no image" in said(dataset)


def test_a_class_without_a_file_that_is_called_like_an_image_is_said(tmp_path):
    make(tmp_path, "a", "b", "videos", "arrays")
    for folder, kind in (("videos", ".MP4"), ("arrays", ".npy")):
        for file in (tmp_path / folder).iterdir():
            file.rename(file.with_suffix(kind))
    assert "no file of 2 classes is called like an image that can be read: arrays (6 .npy), videos (6 .mp4)" in said(
        opened(tmp_path)
    )


def test_masks_that_are_taken_for_images_are_said(tmp_path):
    whole = make(tmp_path / "whole", "train/images", "train/masks")
    each = make(tmp_path / "each", "a/images", "a/masks", "b/images", "b/masks")
    assert "6 images in folders called as masks or annotations are taken for images" in said(opened(whole))
    assert "12 images in folders called as masks or annotations are taken for images" in said(opened(each))
    assert not opened(make(tmp_path / "faces", "mask", "no_mask")).notes


def test_names_of_images_that_say_splits_are_refused_until_the_record_decides(tmp_path):
    make(tmp_path, "a", "b")
    for number in range(3):
        for name in ("a", "b"):
            (tmp_path / name / f"{number}.png").rename(tmp_path / name / f"train_{number}.png")
            (tmp_path / name / f"{number + 3}.png").rename(tmp_path / name / f"{number}-test.png")
    with pytest.raises(DatasetError, match=r"may say splits \(train 6, test 6\), such as a/0-test\.png") as caught:
        opened(tmp_path)
    assert 'splits = {train = ["."]}' in str(caught.value)
    assert sizes(opened(tmp_path, splits={"train": (".",)})) == {"train": 12}


@pytest.mark.parametrize("key", ["image_column", "label_column", "group_column", "split_column"])
def test_a_column_of_a_source_without_columns_is_refused(tmp_path, key):
    with pytest.raises(DatasetError, match=f"{key} must name columns, which image_folder: sources do not have"):
        opened(make(tmp_path, "a", "b"), **{key: "x"})
