import gzip
import io
import json
import os
import pickle

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image
from tiny import save_images, shared

from featurestore.datasets import DatasetSpec
from featurestore.errors import DatasetError, UnknownNameError
from featurestore.sources import open_source, packaged
from featurestore.splits import Dataset


def png(value: int) -> bytes:
    buffer = io.BytesIO()
    Image.new("L", (5, 4), value).save(buffer, "PNG")
    return buffer.getvalue()


def write_parquet(path, labels, *, names=("cat", "dog"), image="image", row_group_size=3, **columns):
    images = [{"bytes": png(i), "path": None} if image == "image" else png(i) for i in range(len(labels))]
    table = pa.table({image: images, "label": labels, **columns})
    if names:
        info = {"info": {"features": {"label": {"names": list(names), "_type": "ClassLabel"}}}}
        table = table.replace_schema_metadata({"huggingface": json.dumps(info)})
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table, path, row_group_size=row_group_size)


def pixel(raw) -> int:
    return int(np.asarray(Image.open(io.BytesIO(raw.content)))[0, 0])


# ---- image_folder


def test_an_image_folder_has_its_splits_and_classes(tmp_path):
    for split in ("train", "validation", "test"):
        save_images(tmp_path / split, {"cats": 3, "dogs": 2})
    source = open_source(DatasetSpec(name="pets", source=f"image_folder:{tmp_path}"))
    assert source.classes == ("cats", "dogs")
    assert source.splits() == {"test": 5, "train": 5, "val": 5}
    assert source.labels("test").tolist() == [0, 0, 0, 1, 1]
    assert [raw.origin for raw in source.read("val", np.array([0, 4]))] == [
        "validation/cats/000.png",
        "validation/dogs/001.png",
    ]


def test_the_fingerprint_of_a_folder_changes_with_its_files(tmp_path):
    save_images(tmp_path, {"cats": 3, "dogs": 2})
    spec = DatasetSpec(name="pets", source=f"image_folder:{tmp_path}")
    before = open_source(spec).fingerprint()
    assert open_source(spec).fingerprint() == before
    (tmp_path / "cats" / "000.png").write_bytes(png(9))
    assert open_source(spec).fingerprint() != before


def test_a_missing_folder_is_named(tmp_path):
    with pytest.raises(DatasetError, match="there is no folder .*nowhere"):
        Dataset(DatasetSpec(name="pets", source=f"image_folder:{tmp_path}/nowhere"))


def test_an_empty_class_is_named(tmp_path):
    save_images(tmp_path, {"cats": 8, "dogs": 8, "fish": 0})
    with pytest.raises(DatasetError, match="every class needs a training image, but 1 of 3 have none: fish"):
        Dataset(DatasetSpec(name="pets", source=f"image_folder:{tmp_path}"))


def test_a_link_out_of_the_dataset_is_refused(tmp_path):
    save_images(tmp_path / "data", {"cats": 3, "dogs": 2})
    (tmp_path / "secret.png").write_bytes(png(1))
    (tmp_path / "data" / "cats" / "link.png").symlink_to(tmp_path / "secret.png")
    with pytest.raises(DatasetError, match="outside the dataset's folder"):
        Dataset(DatasetSpec(name="pets", source=f"image_folder:{tmp_path}/data"))


# ---- parquet


def test_hugging_face_parquet_has_its_splits_names_and_order(tmp_path):
    write_parquet(tmp_path / "train-00000-of-00002.parquet", [0, 1, 0, 1])
    write_parquet(tmp_path / "train-00001-of-00002.parquet", [1, 1])
    write_parquet(tmp_path / "test-00000-of-00001.parquet", [0])
    source = open_source(DatasetSpec(name="pets", source=f"parquet:{tmp_path}"))
    assert source.classes == ("cat", "dog")
    assert source.splits() == {"test": 1, "train": 6}
    assert source.labels("train").tolist() == [0, 1, 0, 1, 1, 1]
    assert [pixel(raw) for raw in source.read("train", np.array([0, 3, 4, 5]))] == [0, 3, 0, 1]


def test_a_plain_bytes_column_and_text_labels_work(tmp_path):
    write_parquet(tmp_path / "train.parquet", ["dog", "cat", "dog"], names=None, image="bytes")
    source = open_source(DatasetSpec(name="pets", source=f"parquet:{tmp_path}"))
    assert source.classes == ("cat", "dog")
    assert source.labels("train").tolist() == [1, 0, 1]
    assert [pixel(raw) for raw in source.read("train", np.array([2]))] == [2]


def test_lists_of_labels_make_a_multilabel_dataset(tmp_path):
    write_parquet(tmp_path / "train.parquet", [[0], [0, 1], [], [1]], names=None)
    source = open_source(DatasetSpec(name="pets", source=f"parquet:{tmp_path}"))
    assert source.labels("train").astype(int).tolist() == [[1, 0], [1, 1], [0, 0], [0, 1]]


def test_the_fingerprint_changes_with_a_label(tmp_path):
    spec = DatasetSpec(name="pets", source=f"parquet:{tmp_path}")
    write_parquet(tmp_path / "train.parquet", [0, 1, 0, 1])
    before = open_source(spec).fingerprint()
    assert open_source(spec).fingerprint() == before
    write_parquet(tmp_path / "train.parquet", [1, 0, 1, 0])
    assert open_source(spec).fingerprint() != before


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        (pa.array(["dog", "cat", "dog"]).dictionary_encode(), [1, 0, 1]),
        (pa.array([[0], [1], [0, 1]], pa.large_list(pa.int64())), [[1, 0], [0, 1], [1, 1]]),
    ],
    ids=["dictionary", "large list"],
)
def test_labels_as_other_writers_encode_them_are_read(tmp_path, labels, expected):
    write_parquet(tmp_path / "train.parquet", labels, names=None)
    found = open_source(DatasetSpec(name="pets", source=f"parquet:{tmp_path}")).labels("train")
    assert found.astype(int).tolist() == expected


@pytest.mark.parametrize("labels", [[0.7, 0.2, 1.0], [[0], [None], [1]]])
def test_labels_that_are_no_classes_are_refused(tmp_path, labels):
    write_parquet(tmp_path / "train.parquet", labels)
    with pytest.raises(DatasetError, match="whole numbers or class names"):
        Dataset(DatasetSpec(name="pets", source=f"parquet:{tmp_path}"))


def test_a_name_that_is_no_class_is_out_of_range(tmp_path):
    write_parquet(tmp_path / "train.parquet", ["cat", "fish", "dog"])
    with pytest.raises(DatasetError, match=r"row 1 of train"):
        Dataset(DatasetSpec(name="pets", source=f"parquet:{tmp_path}"))


def test_groups_come_from_their_column(tmp_path):
    write_parquet(tmp_path / "train.parquet", [0, 1], site=["a", "b"])
    assert open_source(DatasetSpec(name="p", source=f"parquet:{tmp_path}", group_column="site")).groups("train") == [
        "a",
        "b",
    ]


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ([0, 2, 1], r"labels must lie in 0..1 .*row 1 of train has 2 \(1 such rows\)"),
        ([0, -1, -1], r"row 1 of train has -1 \(2 such rows\).*unlabelled split"),
        ([0, None, 1], "1 rows of train have no label"),
    ],
)
def test_labels_out_of_range_are_counted_and_placed(tmp_path, labels, message):
    write_parquet(tmp_path / "train.parquet", labels)
    with pytest.raises(DatasetError, match=message):
        Dataset(DatasetSpec(name="pets", source=f"parquet:{tmp_path}"))


def test_a_missing_column_is_named_with_those_there_are(tmp_path):
    write_parquet(tmp_path / "train.parquet", [0, 1])
    with pytest.raises(
        DatasetError, match="no column 'lable' for labels; there are image, label. Did you mean 'label'"
    ):
        open_source(DatasetSpec(name="pets", source=f"parquet:{tmp_path}", label_column="lable"))


def test_a_file_that_is_not_parquet_is_named(tmp_path):
    (tmp_path / "train.parquet").write_text("no")
    with pytest.raises(DatasetError, match=r"train\.parquet is not a readable Parquet file"):
        open_source(DatasetSpec(name="pets", source=f"parquet:{tmp_path}"))


def test_cifar10_as_hugging_face_stores_it_opens():
    dataset = Dataset(DatasetSpec(name="cifar10", source=f"parquet:{shared('data/cifar10')}", limit=100))
    assert dataset.classes[:3] == ("airplane", "automobile", "bird")
    assert np.bincount(dataset.labels("test")).tolist() == [10] * 10


# ---- packaged


@pytest.mark.parametrize(
    ("name", "count", "side"), [("digits", 1797, 8), ("mnist_5k", 5000, 28), ("animals", 10_000, 28)]
)
def test_packaged_images_are_all_there(name, count, side):
    source = open_source(DatasetSpec(name=name, source=f"packaged:{name}"))
    assert source.splits() == {"train": count}
    assert source.images.shape == (count, side, side)
    assert np.bincount(source.labels("train")).min() >= count // 11


def test_digits_are_those_of_scikit_learn():
    from sklearn.datasets import load_digits

    bunch, source = load_digits(), open_source(DatasetSpec(name="digits", source="packaged:digits"))
    np.testing.assert_array_equal(source.images, np.round(bunch.images * 255 / 16))
    np.testing.assert_array_equal(source.targets, bunch.target)


def test_a_packaged_pickle_can_only_hold_arrays(tmp_path, monkeypatch):
    class Malicious:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "owned"),)

    (tmp_path / "evil").mkdir()
    (tmp_path / "evil" / "data.gz").write_bytes(gzip.compress(pickle.dumps(Malicious())))
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(DatasetError, match="may not refer to posix.mkdir"):
        packaged._read_arrays("evil/data.gz", "evil")
    assert not (tmp_path / "owned").exists()


def test_an_unknown_packaged_dataset_comes_with_suggestions():
    with pytest.raises(UnknownNameError, match="Did you mean 'digits'"):
        open_source(DatasetSpec(name="d", source="packaged:digit"))
