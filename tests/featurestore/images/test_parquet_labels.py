"""Labels of any type and numbering become the classes that occur, or are refused with what is wrong."""

import random

import numpy as np
import pyarrow as pa
import pytest
from parquet_given import write
from seeds import seeds

from featurestore.catalogue.datasets import DatasetSpec
from featurestore.errors import DatasetError
from featurestore.images.sources import open_source
from featurestore.images.splits import Dataset

NAMES = ("ant", "bee", "cat", "dog", "eel")


def opened(folder, **fields):
    return Dataset(DatasetSpec(name="pets", source=f"parquet:{folder}", **fields))


def both(folder, labels, **more):
    write(folder / "train.parquet", labels, **more)
    write(folder / "test.parquet", labels, start=100, **more)
    return folder


@pytest.mark.parametrize(
    ("labels", "names", "classes"),
    [
        ([1, 2], (), ("1", "2")),
        ([3, 7], (), ("3", "7")),
        ([921, 207], (), ("207", "921")),
        ([2**62, 10], (), ("10", str(2**62))),
        ([1, 4], NAMES, ("bee", "eel")),
        (pa.array([0.0, 1.0]), (), ("0", "1")),
        (pa.array([3.0, 1.0], pa.float32()), NAMES, ("bee", "dog")),
        (pa.array([1, 3], pa.decimal128(5, 1)), (), ("1", "3")),
        (pa.array([True, False]), (), ("0", "1")),
        (pa.array([1, 3], pa.uint8()), (), ("1", "3")),
        (["10", "9"], (), ("10", "9")),
        (pa.array(["b", "a"]).dictionary_encode(), (), ("a", "b")),
        (pa.array([7, 3]).dictionary_encode(), (), ("3", "7")),
        (pa.array(["dog", "bee"], pa.large_string()), NAMES, ("bee", "dog")),
        (pa.array(["dog", "bee"], pa.string_view()), (), ("bee", "dog")),
    ],
)
def test_classes_are_those_that_occur_in_order(tmp_path, labels, names, classes):
    twenty = (
        pa.concat_arrays([pa.array(labels)] * 20)
        if not isinstance(labels, pa.Array)
        else pa.concat_arrays([labels] * 20)
    )
    dataset = opened(both(tmp_path, twenty, names=names))
    assert dataset.classes == classes
    index = [classes.index(text(label, names)) for label in twenty.to_pylist()]
    assert dataset.labels("test").tolist() == index
    assert np.bincount(dataset.labels("train")).tolist() == [16, 16]


def text(label, names):
    if isinstance(label, str):
        return label
    return names[int(label)] if names else str(int(label))


@pytest.mark.parametrize("names", [(), NAMES])
def test_lists_of_labels_may_have_gaps(tmp_path, names):
    dataset = opened(both(tmp_path, [[4], [1, 4], [], [1]] * 10, names=names), metric="map_11point")
    assert dataset.classes == (("bee", "eel") if names else ("1", "4"))
    assert dataset.labels("test").astype(int).tolist()[:4] == [[0, 1], [1, 1], [0, 0], [1, 0]]


@pytest.mark.parametrize("type_", [pa.large_list(pa.int32()), pa.list_(pa.float64()), pa.list_(pa.string())])
def test_lists_of_any_type_are_read(tmp_path, type_):
    values = [["a"], ["b"], ["b", "a"]] if type_ == pa.list_(pa.string()) else [[0], [1], [1, 0]]
    dataset = opened(both(tmp_path, pa.array(values * 8, type_)), metric="map_11point")
    assert dataset.labels("test").astype(int).tolist()[:3] == [[1, 0], [0, 1], [1, 1]]


# ---- class names ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("with_names", ["train", "test"])
def test_names_come_from_whichever_file_has_them(tmp_path, with_names):
    for split in ("train", "test"):
        write(tmp_path / f"{split}.parquet", [0, 1] * 20, names=("cat", "dog") if split == with_names else ())
    dataset = opened(tmp_path)
    assert dataset.classes == ("cat", "dog")
    assert dataset.labels("test").tolist() == [0, 1] * 20


def test_files_whose_names_are_in_another_order_are_read_by_name(tmp_path):
    write(tmp_path / "train.parquet", [0, 1, 2] * 20, names=("cat", "dog", "eel"))
    write(tmp_path / "test.parquet", [0, 1] * 10, names=("eel", "cat"))
    dataset = opened(tmp_path)
    assert dataset.classes == ("cat", "dog", "eel")
    assert dataset.labels("test").tolist() == [2, 0] * 10
    assert any("its labels are read by name (test.parquet)" in note for note in dataset.notes)


def test_files_whose_names_do_not_fit_each_other_are_refused_with_both_lists(tmp_path):
    write(tmp_path / "train.parquet", [0, 1] * 20, names=("cat", "dog"))
    write(tmp_path / "test.parquet", [0, 1] * 20, names=("cat", "wolf"))
    with pytest.raises(DatasetError, match=r"test\.parquet has cat, wolf; .*train\.parquet has cat, dog"):
        opened(tmp_path)


def test_a_file_without_names_beside_files_of_different_orders_is_refused(tmp_path):
    write(tmp_path / "train-0.parquet", [0, 1] * 20, names=("cat", "dog"))
    write(tmp_path / "train-1.parquet", [0, 1] * 20, names=("dog", "cat"))
    write(tmp_path / "train-2.parquet", [0, 1] * 20)
    with pytest.raises(DatasetError, match=r"train-2\.parquet must have the class names.*cat, dog, and dog, cat"):
        opened(tmp_path)


def test_names_of_a_file_that_is_not_used_say_nothing(tmp_path):
    write(tmp_path / "train.parquet", [0, 1] * 20, names=("cat", "dog"))
    write(tmp_path / "extra.parquet", ["x", "y"] * 20)
    assert opened(tmp_path).classes == ("cat", "dog")


def test_a_class_that_only_test_images_have_is_refused(tmp_path):
    write(tmp_path / "train.parquet", [0, 1] * 20)
    write(tmp_path / "test.parquet", [0, 1, 5] * 20)
    with pytest.raises(DatasetError, match="needs a training image, but 1 of 3 has none: 5 is in test only"):
        opened(tmp_path)


# ---- labels that are not there --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("hidden", "cause"),
    [
        ([-1] * 40, r"row 0 of test has -1 \(40 such rows\)\. A label of -1 usually means an unlabelled split"),
        (pa.nulls(40, pa.int64()), "none of the 40 rows of test has one"),
        (pa.nulls(40), "none of the 40 rows of test has one"),
        (pa.array([float("nan")] * 40), "none of the 40 rows of test has one"),
    ],
    ids=["minus one", "null", "nothing", "nan"],
)
@pytest.mark.parametrize("names", [(), ("cat", "dog")])
def test_hidden_labels_are_named_before_anything_runs_with_what_to_do(tmp_path, hidden, cause, names):
    write(tmp_path / "train.parquet", [0, 1] * 20, names=names)
    write(tmp_path / "validation.parquet", [0, 1] * 20, names=names, start=50)
    write(tmp_path / "test.parquet", hidden, names=names, start=100)
    with pytest.raises(DatasetError, match=cause) as caught:
        opened(tmp_path)
    assert '`splits = {train = ["train"], val = ["validation"]}`' in str(caught.value)
    without = opened(tmp_path, splits={"train": ("train",), "val": ("validation",)})
    assert {split: len(one.rows) for split, one in without.splits.items()} == {"train": 32, "val": 40, "test": 8}


def test_a_test_split_without_the_column_of_labels_is_named_with_what_to_do(tmp_path):
    write(tmp_path / "train.parquet", [0, 1] * 20)
    write(tmp_path / "test.parquet", [0, 1] * 20)
    import pyarrow.parquet as pq

    pq.write_table(pq.read_table(tmp_path / "test.parquet").drop(["label"]), tmp_path / "test.parquet")
    with pytest.raises(
        DatasetError, match=r"test\.parquet has no column 'label'.*`splits = \{train = \[\"train\"\]\}`"
    ):
        opened(tmp_path)


@pytest.mark.parametrize(
    ("labels", "cause"),
    [
        ([0, 1, None, 1], r"1 row of train has none in the column 'label' \(row 2 is the first\)"),
        (["a", "", "b", "a"], r"1 row of train has none in the column 'label' \(row 1 is the first\)"),
        ([[0], None, [1]], r"1 row of train has none in the column 'label' \(row 1 is the first\)"),
        ([[], [], []], "no row of train has a label; all of its lists are empty"),
        ([1, -1] * 4, "labels must not be negative, but row 1 of train has -1"),
        ([0, 1, 2, -7], r"labels must not be negative, but row 3 of train has -7 \(1 such rows\)\.$"),
        ([0.5, 1.0], "labels must be whole numbers or class names. Got fractions"),
        ([float("inf"), 1.0], "labels must be whole numbers or class names"),
        ([[1, 0, 0], [0, 1, 0]], "look like indicators"),
        ([[1, 0], [0, 1]], "look like indicators"),
    ],
)
def test_labels_that_cannot_be_used_are_counted_and_placed(tmp_path, labels, cause):
    write(tmp_path / "train.parquet", labels)
    with pytest.raises(DatasetError, match=cause):
        opened(tmp_path)


@pytest.mark.parametrize(
    ("labels", "empty"),
    [
        ([0, 1] * 20, pa.array([], pa.null())),
        (["a", "b"] * 20, pa.array([], pa.null())),
        (["a", "b"] * 20, pa.array([], pa.string())),
        ([[0], [1], [0, 1], []] * 10, pa.array([], pa.null())),
        ([[0], [1], [0, 1], []] * 10, pa.array([[], []])),
        ([["a"], ["b"], ["a", "b"], []] * 10, pa.array([[]], pa.list_(pa.null()))),
    ],
)
def test_files_without_labels_because_they_have_no_rows_or_empty_lists_are_read(tmp_path, labels, empty):
    write(tmp_path / "train-0.parquet", empty)
    write(tmp_path / "train-1.parquet", labels)
    metric = "map_11point" if isinstance(labels[0], list) else "top1"
    dataset = opened(tmp_path, metric=metric)
    assert len(dataset.classes) == 2
    assert sum(len(one.rows) for one in dataset.splits.values()) == len(empty) + 40


def test_half_precision_is_read(tmp_path):
    assert opened(both(tmp_path, pa.array(np.array([1, 3] * 20, np.float16)))).classes == ("1", "3")


@pytest.mark.parametrize("seed", seeds(20, 300))
def test_every_row_has_the_class_that_its_own_file_says_whatever_names_and_types_files_have_or_all_is_refused(
    tmp_path, seed
):
    chance = random.Random(seed)
    lists = [(), NAMES, NAMES, tuple(chance.sample(NAMES, k=5)), NAMES[:3], (*NAMES[:2], "fox")]
    chosen = [chance.choice(lists) for _ in range(3)]
    given = {names for names in chosen if names}
    said: dict[str, list[str]] = {"train": [], "test": []}
    for number, (split, names) in enumerate(zip(["train", "train", "test"], chosen, strict=True)):
        own = names or next(iter(given), tuple("01234"))
        labels = [chance.randrange(len(own)) for _ in range(20)] + list(range(len(own)))
        type_ = chance.choice([pa.int8(), pa.int64(), pa.float64(), pa.uint32()])
        write(tmp_path / f"{split}-{number}.parquet", pa.array(labels, type_), names=names)
        said[split] += [own[label] for label in labels]
    longest = max(given, key=len, default=())
    if any(not set(names) <= set(longest) for names in given) or (len(given) > 1 and () in chosen):
        with pytest.raises(DatasetError, match="class names"):
            opened(tmp_path)
        return
    source = open_source(DatasetSpec(name="pets", source=f"parquet:{tmp_path}"))
    for split, own in said.items():
        assert [source.classes[label] for label in source.labels(split).tolist()] == own


@pytest.mark.parametrize("blank", ["", " ", "\t\n", "\u00a0"])
def test_a_blank_text_is_no_label(tmp_path, blank):
    write(tmp_path / "train.parquet", ["cat", "dog", blank] * 10)
    with pytest.raises(DatasetError, match="10 rows of train have none in the column 'label'"):
        opened(tmp_path)


def test_names_that_programs_write_where_there_is_no_label_are_said(tmp_path):
    write(tmp_path / "train.parquet", ["cat", "dog", "nan", "<NA>"] * 10)
    assert any(note.startswith("'<NA>', 'nan' are taken for classes, though") for note in opened(tmp_path).notes)
