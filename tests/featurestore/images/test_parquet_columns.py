"""Columns that hold images and labels are found by name, by metadata or by the record, or offered."""

import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from parquet_given import png, write

from featurestore.catalogue.datasets import DatasetSpec
from featurestore.errors import DatasetError
from featurestore.images.sources import open_source
from featurestore.images.splits import Dataset

LABELS = [0, 1] * 20


def table(path, columns, metadata=None):
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table(columns).replace_schema_metadata(metadata), path)
    return path.parent


def spec(folder, **fields):
    return DatasetSpec(name="pets", source=f"parquet:{folder}", **fields)


def contents(folder, **fields):
    return [raw.content for raw in open_source(spec(folder, **fields)).read("train", np.arange(40))]


STRUCTS = [{"bytes": png(row), "path": None} for row in range(40)]
PNGS = [png(row) for row in range(40)]


@pytest.mark.parametrize(
    "images",
    [
        {"images": [[one] for one in STRUCTS]},
        {"images": [[one] for one in PNGS]},
        {"images": pa.array([[one] for one in PNGS], pa.large_list(pa.large_binary()))},
        {"images": pa.array([[one] for one in PNGS], pa.list_(pa.binary(), 1))},
        {"img": STRUCTS},
    ],
    ids=["structs", "bytes", "large", "fixed", "img"],
)
def test_a_list_of_one_image_is_an_image(tmp_path, images):
    assert contents(table(tmp_path / "train.parquet", {**images, "label": LABELS})) == PNGS


def test_a_list_of_no_image_or_several_is_an_unreadable_image_with_that_reason(tmp_path):
    images = [[], None, STRUCTS[:2], [None], STRUCTS[:1]]
    table(tmp_path / "train.parquet", {"images": images, "label": [0, 1, 0, 1, 0]})
    raws = open_source(spec(tmp_path)).read("train", np.arange(5))
    assert [raw.reason for raw in raws] == [
        "the row has no image",
        "the row has no image",
        "the row has 2 images instead of one",
        "the row has no image",
        None,
    ]


def test_names_with_dots_lead_into_structs(tmp_path):
    columns = {
        "sample": [{"image": one, "site": str(row % 3)} for row, one in enumerate(STRUCTS)],
        "annotation": [{"who": "x", "label": label} for label in LABELS],
    }
    fields = {"image_column": "sample.image", "label_column": "annotation.label", "group_column": "sample.site"}
    metadata = {"huggingface": json.dumps({"info": {"features": {"annotation": {"label": {"names": ["cat", "dog"]}}}}})}
    folder = table(tmp_path / "train.parquet", columns, metadata)
    assert contents(folder, **fields) == PNGS
    source = open_source(spec(folder, **fields))
    assert source.classes == ("cat", "dog")
    assert source.labels("train").tolist() == LABELS
    assert source.groups("train")[:4] == ["0", "1", "2", "0"]


def test_a_name_with_a_dot_may_be_that_of_a_column(tmp_path):
    columns = {"a.b": PNGS, "a": [{"b": label} for label in LABELS], "a.b.c": LABELS}
    folder = table(tmp_path / "train.parquet", columns)
    assert contents(folder, image_column="a.b", label_column="a.b.c") == PNGS


def test_an_image_in_a_struct_that_is_null_is_no_image(tmp_path):
    table(tmp_path / "train.parquet", {"sample": [None, {"image": STRUCTS[0]}], "label": [0, 1]})
    raws = list(open_source(spec(tmp_path, image_column="sample.image")).read("train", np.arange(2)))
    assert [raw.reason for raw in raws] == ["the row has no image", None]


def test_columns_of_other_names_are_offered_by_what_they_can_hold(tmp_path):
    folder = table(tmp_path / "train.parquet", {"jpg": PNGS, "mask": STRUCTS, "target": LABELS, "url": ["x"] * 40})
    with pytest.raises(
        DatasetError,
        match="no column 'image', .* for images; there are jpg, .*'jpg', 'mask' can hold images: name one with",
    ):
        open_source(spec(folder))
    with pytest.raises(
        DatasetError, match="no column 'label', .*'target', 'url' can hold labels: name one with label_column"
    ):
        open_source(spec(folder, image_column="jpg"))
    assert open_source(spec(folder, image_column="jpg", label_column="target")).classes == ("0", "1")


def test_the_only_column_of_images_and_of_classes_in_the_metadata_is_taken(tmp_path):
    features = {"picture": {"_type": "Image"}, "species": {"_type": "ClassLabel", "names": ["cat", "dog"]}}
    metadata = {"huggingface": json.dumps({"info": {"features": features}})}
    folder = table(tmp_path / "train.parquet", {"picture": STRUCTS, "thumb": PNGS, "species": LABELS}, metadata)
    assert contents(folder) == PNGS
    assert open_source(spec(folder)).classes == ("cat", "dog")


def test_a_column_of_paths_says_what_it_is_and_what_would_do(tmp_path):
    folder = table(tmp_path / "train.parquet", {"image": ["a.png"] * 40, "raw": PNGS, "label": LABELS})
    with pytest.raises(
        DatasetError, match="Got string in the column 'image'. Texts, such as paths, are not opened. 'raw' can hold"
    ):
        open_source(spec(folder))


def test_rows_of_which_all_have_a_path_and_no_bytes_are_refused_before_anything_runs(tmp_path):
    rows = pa.array(
        [{"bytes": None, "path": "/x.png"}] * 40, pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    )
    folder = table(tmp_path / "train.parquet", {"image": rows, "label": LABELS})
    with pytest.raises(
        DatasetError, match="no row of train has bytes in the column 'image', and paths in rows are not"
    ):
        Dataset(spec(folder))


def test_columns_that_are_not_read_are_named(tmp_path):
    write(tmp_path / "train.parquet", LABELS, coarse_label=LABELS, id=list(range(40)))
    notes = Dataset(spec(tmp_path)).notes
    assert notes == ["2 columns left out: no key of the dataset's record names it (coarse_label, id)"]


def test_a_column_that_another_file_lacks_is_named(tmp_path):
    write(tmp_path / "train.parquet", LABELS, site=["a", "b"] * 20)
    write(tmp_path / "test.parquet", LABELS)
    with pytest.raises(DatasetError, match=r"test\.parquet.*'site'|no column 'site'"):
        open_source(spec(tmp_path, group_column="site"))


# ---- a column of splits ---------------------------------------------------------------------------------------------

SPLITS = ["train", "test", "train", "train", None, "extra", "train", "val"]
ALL_TRAIN = {"splits": {"train": ["train"]}}


def test_a_column_that_the_record_names_says_the_split_of_each_row(tmp_path):
    for number in range(2):
        labels = [0, 1, 1, 0] * 20
        write(tmp_path / f"part-{number}.parquet", labels, start=80 * number, part=SPLITS * 10)
    source = open_source(spec(tmp_path, split_column="part"))
    assert source.splits() == {"train": 80, "test": 20, "extra": 20, "val": 20}
    assert [raw.origin for raw in source.read("test", np.array([0, 10]))] == ["test[0]", "test[10]"]
    assert [raw.content for raw in source.read("test", np.array([10, 0, 1]))] == [png(81), png(1), png(9)]
    assert source.labels("test").tolist() == [1] * 20
    dataset = Dataset(spec(tmp_path, split_column="part"))
    assert {split: len(one.rows) for split, one in dataset.splits.items()} == {"train": 80, "test": 20, "val": 20}
    assert dataset.inventory.seen("row") == 160
    assert any("20 rows left out: no split in the column 'part'" in note for note in dataset.notes)
    assert any("20 rows left out: 'extra' is not known" in note for note in dataset.notes)


def test_a_column_called_split_is_read_where_no_name_says_a_split(tmp_path):
    write(tmp_path / "data.parquet", LABELS * 2, split=["train"] * 40 + ["test"] * 40)
    dataset = Dataset(spec(tmp_path))
    assert {split: len(one.rows) for split, one in dataset.splits.items()} == {"train": 32, "test": 40, "val": 8}
    assert any("40 rows used as test images: the column 'split' says so" in note for note in dataset.notes)


def test_rows_that_a_column_called_split_gives_to_another_split_than_their_file_are_said(tmp_path):
    write(tmp_path / "train.parquet", LABELS, split=["train"] * 35 + ["test"] * 5)
    notes = Dataset(spec(tmp_path)).notes
    assert "5 rows used as train images: though its column of splits says test" in notes[0]


def test_a_column_of_splits_is_part_of_what_a_dataset_is(tmp_path):
    write(tmp_path / "data.parquet", LABELS * 2, part=["train"] * 40 + ["test"] * 40)
    keys = {Dataset(spec(tmp_path, **more)).samples("train").key for more in (ALL_TRAIN, {"split_column": "part"})}
    assert len(keys) == 2


@pytest.mark.parametrize(
    ("column", "values", "advice"),
    [
        ("set", ["train"] * 24 + ["test"] * 16, {}),
        ("Subset", ["training"] * 24 + ["dev"] * 8 + ["testing"] * 8, {}),
        ("data_partition", ["test"] * 16 + ["rest"] * 24, {"train": ["rest"], "test": ["test"]}),
        ("split", ["test"] * 16 + ["extra"] * 24, {"train": ["extra"], "test": ["test"]}),
        ("Split", ["trn"] * 24 + ["tst"] * 16, {"train": ["trn"], "test": ["tst"]}),
        ("split", [0] * 24 + [1] * 16, {"train": ["0"], "test": ["1"]}),
        ("is_train", [False] * 16 + [True] * 24, {"train": ["True"], "test": ["False"]}),
        ("test", [1] * 16 + [0] * 24, {"train": ["0"], "test": ["1"]}),
    ],
)
def test_a_column_that_may_say_splits_is_refused_with_a_record_that_decides(tmp_path, column, values, advice):
    write(tmp_path / "data.parquet", LABELS, **{column: values})
    with pytest.raises(DatasetError, match=f'split_column = "{column}"') as caught:
        open_source(spec(tmp_path))
    for split, names in advice.items():
        assert f'{split} = ["{names[0]}"]' in str(caught.value)
    decided = Dataset(spec(tmp_path, split_column=column, splits=advice or None))
    assert len(decided.splits["test"].rows) in (8, 16)
    assert open_source(spec(tmp_path, **ALL_TRAIN)).splits() == {"train": 40}


@pytest.mark.parametrize(
    ("column", "values"),
    [
        ("set", ["red", "blue"] * 20),
        ("split", ["same"] * 40),
        ("split", [f"id {number}" for number in range(40)]),
        ("test", [0.5] * 40),
        ("is_train", [True] * 40),
        ("caption", ["test"] * 40),
    ],
)
def test_a_column_that_says_something_else_leaves_all_rows_in_train(tmp_path, column, values):
    write(tmp_path / "data.parquet", LABELS, **{column: values})
    assert open_source(spec(tmp_path)).splits() == {"train": 40}


def test_groups_that_are_in_train_and_in_test_are_said(tmp_path):
    write(tmp_path / "train.parquet", LABELS, patient=[f"p{row // 8}" for row in range(40)])
    write(tmp_path / "test.parquet", LABELS[:20], start=40, patient=["p1"] * 3 + [None] * 2 + ["p9"] * 15)
    notes = Dataset(spec(tmp_path, group_column="patient")).notes
    assert any(note.startswith("3 test images of 20 are of 1 group (patient) of which train or val") for note in notes)
    write(tmp_path / "test.parquet", LABELS[:20], start=40, patient=["p9"] * 20)
    assert not Dataset(spec(tmp_path, group_column="patient")).notes


def test_groups_that_holding_out_tears_apart_are_said(tmp_path):
    write(tmp_path / "train.parquet", LABELS, patient=[f"p{row // 8}" for row in range(40)])
    notes = Dataset(spec(tmp_path, group_column="patient")).notes
    assert any("8 test images of 8 are of" in note and "held out, stratified, seed 0" in note for note in notes)


def test_a_file_that_git_lfs_has_not_fetched_is_said_to_be_one(tmp_path):
    write(tmp_path / "train.parquet", LABELS)
    (tmp_path / "test.parquet").write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 3\n")
    with pytest.raises(DatasetError, match=r"test\.parquet is not a readable .* it is a pointer of Git LFS"):
        open_source(spec(tmp_path))


def test_images_that_are_paths_alone_are_said_not_to_be_opened(tmp_path):
    table(tmp_path / "train.parquet", {"image": [{"bytes": None, "path": "x.png"}] * 40, "label": LABELS})
    with pytest.raises(DatasetError, match="Texts, such as paths, are not opened"):
        open_source(spec(tmp_path))


def test_a_file_that_is_named_alone_says_what_its_name_says(tmp_path):
    write(tmp_path / "test.parquet", LABELS)
    notes = Dataset(spec(tmp_path / "test.parquet")).notes
    assert "it is the only file, though its name says test" in notes[0]
