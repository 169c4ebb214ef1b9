import gzip
import io
import json
import os
import pickle
import shutil
import socket

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image
from tiny import save_images, shared

from featurestore.catalogue.datasets import DatasetSpec
from featurestore.errors import DatasetError, UnknownNameError
from featurestore.images import image_limits
from featurestore.images.sources import open_source, packaged
from featurestore.images.splits import Dataset


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
    assert source.splits() == {"test": 5, "train": 5, "validation": 5}
    assert source.labels("test").tolist() == [0, 0, 0, 1, 1]
    assert [raw.origin for raw in source.read("validation", np.array([0, 4]))] == [
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


def test_an_empty_class_is_left_out_and_named(tmp_path):
    save_images(tmp_path, {"cats": 8, "dogs": 8, "ants": 0})
    dataset = Dataset(DatasetSpec(name="pets", source=f"image_folder:{tmp_path}"))
    assert dataset.classes == ("cats", "dogs")
    assert np.bincount(dataset.labels("train")).tolist() == [5, 5]
    assert any("ants" in note for note in dataset.notes)


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
        ([0, None, 1], "every row needs a label, but 1 row of train has none"),
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


# ---- image_folder: what anybody may have packed


def folder_source(root):
    return open_source(DatasetSpec(name="pets", source=f"image_folder:{root}"))


def read_all(source, split="train"):
    return list(source.read(split, np.arange(source.splits()[split])))


def test_links_inside_the_dataset_are_followed(tmp_path):
    save_images(tmp_path / "data", {"cats": 3, "dogs": 2})
    (tmp_path / "data" / "cats" / "again.png").symlink_to("000.png")
    (tmp_path / "data" / "also cats").symlink_to("cats")
    (tmp_path / "link").symlink_to("data")
    source = folder_source(tmp_path / "link")
    assert source.splits() == {"train": 10}
    assert all(raw.content and raw.reason is None for raw in read_all(source))


@pytest.mark.parametrize("place", ["cats/link.png", "link", "test"])
@pytest.mark.parametrize("target", ["outside", "/etc"])
def test_a_link_that_leads_out_is_refused_whatever_it_stands_for(tmp_path, place, target):
    save_images(tmp_path / "outside", {"cats": 2})
    save_images(tmp_path / "data" / "train", {"cats": 3, "dogs": 2})
    root = tmp_path / "data" if place == "test" else tmp_path / "data" / "train"
    (root / place).symlink_to(tmp_path / target)
    with pytest.raises(DatasetError, match="outside the dataset's folder"):
        folder_source(root)


def test_a_link_out_that_comes_after_the_listing_is_not_followed(tmp_path):
    save_images(tmp_path / "outside", {"cats": 3})
    save_images(tmp_path / "data", {"cats": 3, "dogs": 3})
    source = folder_source(tmp_path / "data")
    (tmp_path / "data" / "dogs" / "000.png").unlink()
    (tmp_path / "data" / "dogs" / "000.png").symlink_to(tmp_path / "outside" / "cats" / "000.png")
    (tmp_path / "data" / "cats").rename(tmp_path / "data" / "old cats")
    (tmp_path / "data" / "cats").symlink_to(tmp_path / "outside" / "cats")
    reasons = [raw.reason for raw in read_all(source)]
    assert reasons == ["a link that leads out of the dataset's folder"] * 4 + [None] * 2


def test_pipes_devices_and_links_to_nothing_are_reported_or_left_out_and_never_waited_for(tmp_path):
    save_images(tmp_path, {"cats": 3, "dogs": 2})
    os.mkfifo(tmp_path / "cats" / "pipe.png")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(os.path.relpath(tmp_path / "cats" / "socket.png"))
    (tmp_path / "cats" / "to a pipe.png").symlink_to("pipe.png")
    (tmp_path / "cats" / "to nothing.png").symlink_to("nothing.png")
    (tmp_path / "cats" / "to itself.png").symlink_to("to itself.png")
    source = folder_source(tmp_path)
    (tmp_path / "dogs" / "000.png").unlink()
    os.mkfifo(tmp_path / "dogs" / "000.png")
    source.fingerprint()
    assert {raw.origin: raw.reason for raw in read_all(source) if raw.reason} == {
        "cats/to a pipe.png": "not a regular file",
        "cats/to itself.png": "not a regular file",
        "cats/to nothing.png": "a link to a file that is not there",
        "dogs/000.png": "not a regular file",
    }


def test_a_file_larger_than_an_image_may_be_is_not_read(tmp_path):
    save_images(tmp_path, {"cats": 2, "dogs": 1})
    with (tmp_path / "cats" / "000.png").open("r+b") as file:
        file.truncate(2**40)  # takes no room on the disk
    bad, *good = read_all(folder_source(tmp_path))
    assert bad.reason == "1,099,511,627,776 bytes; at most 268,435,456 are read"
    assert not any(raw.reason for raw in good)


def test_an_image_that_is_gone_or_forbidden_stops_the_dataset_and_is_no_unreadable_image(tmp_path):
    save_images(tmp_path, {"cats": 2, "dogs": 2})
    source = folder_source(tmp_path)
    (tmp_path / "cats" / "000.png").unlink()
    with pytest.raises(DatasetError, match=r"000\.png was there when the dataset was listed and is gone now"):
        read_all(source)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_what_this_user_may_not_read_is_named(tmp_path):
    save_images(tmp_path, {"cats": 2, "dogs": 2})
    (tmp_path / "cats" / "001.png").chmod(0)
    with pytest.raises(DatasetError, match=r"001\.png may not be read by this user"):
        read_all(folder_source(tmp_path))
    (tmp_path / "dogs").chmod(0)
    try:
        with pytest.raises(DatasetError, match="dogs may not be read by this user"):
            folder_source(tmp_path)
    finally:
        (tmp_path / "dogs").chmod(0o700)


@pytest.mark.parametrize(
    "name", [b"caf\xe9", b"two\nlines", b"a=b", b"'; drop table samples", b"<script>", b"\xc3\xa9"]
)
def test_any_name_of_a_class_or_an_image_is_text_that_parquet_json_and_sql_can_hold(tmp_path, name):
    save_images(tmp_path, {"dogs": 1})
    os.mkdir(os.fsencode(tmp_path) + b"/" + name)  # noqa: PTH102 - names that are no text
    place = os.fsencode(tmp_path) + b"/" + name + b"/" + name + b".png"
    os.link(tmp_path / "dogs" / "000.png", place)
    source = folder_source(tmp_path)
    source.fingerprint()
    written = name.decode("utf-8", "backslashreplace")
    assert written in source.classes
    (raw,) = [raw for raw in read_all(source) if raw.origin == f"{written}/{written}.png"]
    assert raw.reason is None
    assert json.loads(json.dumps(raw.origin)) == pa.array([raw.origin])[0].as_py() == raw.origin


def test_class_folders_that_differ_in_nothing_that_can_be_written_are_refused(tmp_path):
    save_images(tmp_path, {"\\xff": 1})
    shutil.copytree(tmp_path / "\\xff", os.fsdecode(os.fsencode(tmp_path) + b"/\xff"))
    with pytest.raises(DatasetError, match="names that differ when they are written as text"):
        folder_source(tmp_path)


def test_two_folders_for_one_split_are_refused_instead_of_losing_one(tmp_path):
    save_images(tmp_path / "val", {"cats": 2})
    save_images(tmp_path / "validation", {"cats": 2})
    with pytest.raises(DatasetError, match="has val and validation for val; merge them"):
        Dataset(DatasetSpec(name="pets", source=f"image_folder:{tmp_path}"))


def test_an_empty_folder_and_an_endlessly_deep_one_are_told_apart_from_images(tmp_path):
    with pytest.raises(DatasetError, match="It has no class folders"):
        folder_source(tmp_path)
    save_images(tmp_path, {"cats": 1, "dogs": 1})
    here = os.open(tmp_path / "cats", os.O_RDONLY)
    for _ in range(300):  # deeper than a path can be long
        os.mkdir("d" * 100, dir_fd=here)
        below = os.open("d" * 100, os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = below
    os.close(here)
    assert folder_source(tmp_path).splits() == {"train": 2}
    shutil.rmtree(tmp_path / "cats")


# ---- parquet: what anybody may have written


def parquet_source(tmp_path, **fields):
    return open_source(DatasetSpec(name="pets", source=f"parquet:{tmp_path}", **fields))


def write_table(path, columns, metadata=None, **options):
    table = pa.table(columns)
    pq.write_table(table.replace_schema_metadata(metadata) if metadata else table, path, **options)


PNGS = [png(value) for value in range(6)]


@pytest.mark.parametrize(
    "images",
    [
        pa.array(PNGS, pa.large_binary()),
        pa.array(PNGS).dictionary_encode(),
        pa.array([content.ljust(100, b"\0") for content in PNGS], pa.binary(100)),
        pa.array([{"bytes": content} for content in PNGS], pa.struct([("bytes", pa.large_binary())])),
        pa.array([{"path": [1], "bytes": content, "more": 1} for content in PNGS]),
    ],
    ids=["large", "dictionary", "fixed size", "struct of large", "struct with more"],
)
def test_images_as_other_writers_encode_them_are_read(tmp_path, images):
    write_table(tmp_path / "train.parquet", {"image": images, "label": [0, 1] * 3}, row_group_size=4)
    source = parquet_source(tmp_path)
    assert [pixel(raw) for raw in source.read("train", np.arange(6))] == list(range(6))
    assert [pixel(raw) for raw in source.read("train", np.array([5, 0, 3, 2]))] == [5, 0, 3, 2]


@pytest.mark.parametrize(
    "images",
    [[1, 2, 3], ["a", "b", "c"], [[1], [2], [3]], [{"path": "/etc/passwd"}] * 3, [{"bytes": "text"}] * 3, [None] * 3],
    ids=["numbers", "texts", "lists", "struct without bytes", "struct of text", "nothing"],
)
def test_a_column_that_cannot_hold_images_is_refused(tmp_path, images):
    write_table(tmp_path / "train.parquet", {"image": images, "label": [0, 1, 0]})
    with pytest.raises(DatasetError, match="images must be encoded files"):
        parquet_source(tmp_path)


def test_two_columns_of_one_name_are_refused(tmp_path):
    table = pa.Table.from_arrays([pa.array(PNGS), pa.array(PNGS), pa.array([0] * 6)], ["image", "image", "label"])
    pq.write_table(table, tmp_path / "train.parquet")
    with pytest.raises(DatasetError, match="must have one column 'image'"):
        parquet_source(tmp_path)


def test_a_row_without_bytes_is_unreadable_and_its_path_is_never_opened(tmp_path, monkeypatch):
    rows = [{"bytes": PNGS[0], "path": "/etc/passwd"}, {"bytes": None, "path": "/etc/passwd"}, None]
    rows += [{"bytes": None, "path": None}, {"bytes": b"", "path": None}]
    write_table(tmp_path / "train.parquet", {"image": rows, "label": [0, 1, 0, 1, 0]})
    assert [raw.reason for raw in read_all(parquet_source(tmp_path))] == [
        None,
        "the row has a path and no bytes; paths are not opened",
        "the row has no image",
        "the row has no image",
        None,  # the decoder says that it is empty
    ]


def test_a_row_larger_than_an_image_may_be_is_unreadable(tmp_path, monkeypatch):
    monkeypatch.setattr(image_limits, "MAX_BYTES", 100)
    write_table(tmp_path / "train.parquet", {"image": [PNGS[0], b"x" * 101], "label": [0, 1]})
    assert [raw.reason for raw in read_all(parquet_source(tmp_path))] == [None, "101 bytes; at most 100 are read"]


def test_a_broken_row_group_makes_unreadable_rows_and_the_others_are_read(tmp_path):
    path = tmp_path / "train.parquet"
    write_table(
        path, {"image": PNGS, "label": [0, 1] * 3}, row_group_size=2, use_dictionary=False, compression="snappy"
    )
    column = pq.ParquetFile(path).metadata.row_group(1).column(0)
    content = bytearray(path.read_bytes())
    content[column.data_page_offset : column.data_page_offset + column.total_compressed_size] = b"\xff" * (
        column.total_compressed_size
    )
    path.write_bytes(content)
    raws = read_all(parquet_source(tmp_path))
    assert [pixel(raws[row]) for row in (0, 1, 4, 5)] == [0, 1, 4, 5]
    assert all(raw.reason.startswith("row group 1 of train.parquet cannot be read: ") for raw in raws[2:4])


def test_labels_that_cannot_be_read_stop_the_dataset_with_their_place(tmp_path):
    path = tmp_path / "train.parquet"
    write_table(path, {"image": PNGS, "label": [0, 1] * 3}, row_group_size=2, use_dictionary=False)
    column = pq.ParquetFile(path).metadata.row_group(1).column(1)
    content = bytearray(path.read_bytes())
    content[column.data_page_offset : column.data_page_offset + column.total_compressed_size] = b"\xff" * (
        column.total_compressed_size
    )
    path.write_bytes(content)
    with pytest.raises(DatasetError, match=r"train\.parquet: the column 'label' cannot be read in row group 1"):
        parquet_source(tmp_path)


def test_a_value_that_is_stored_once_and_meant_a_thousand_times_does_not_fill_the_memory(tmp_path):
    path = tmp_path / "train.parquet"
    large = pa.DictionaryArray.from_arrays(np.zeros(2000, np.int32), [png(1).ljust(2**20, b"\0")])
    write_table(path, {"image": large, "label": [0, 1] * 1000})
    assert path.stat().st_size < 2**20
    before = pa.total_allocated_bytes()
    for row, raw in enumerate(parquet_source(tmp_path).read("train", np.arange(2000))):
        assert len(raw.content) == 2**20
        if row % 100 == 0:
            assert pa.total_allocated_bytes() - before < 100 * 2**20


def test_more_rows_than_a_file_can_hold_are_refused(tmp_path):
    labels = pa.DictionaryArray.from_arrays(np.zeros(1_100_000, np.int8), ["a"])
    write_table(tmp_path / "train.parquet", {"image": pa.nulls(1_100_000, pa.binary()), "label": labels})
    with pytest.raises(DatasetError, match="claims 1,100,000 rows of images in .* bytes, which cannot be"):
        parquet_source(tmp_path)


def test_a_label_that_would_make_a_billion_classes_is_one_class(tmp_path):
    write_table(tmp_path / "train.parquet", {"image": PNGS, "label": [0, 1, 2, 3, 4, 2**62]})
    assert parquet_source(tmp_path).classes == ("0", "1", "2", "3", "4", "4611686018427387904")


@pytest.mark.parametrize(
    "labels",
    [
        pa.array([{"a": 1}] * 6),
        pa.array([b"\xff"] * 6),
        pa.array([[[1]]] * 6),
        pa.array([1.5] * 6),
        pa.array([0] * 6, pa.timestamp("s")),
        pa.array([2**63 + 1] * 6, pa.uint64()),
        pa.array([b"\xff"] * 6).view(pa.string()),
    ],
    ids=["structs", "bytes", "nested lists", "fractions", "times", "too large", "no UTF-8"],
)
def test_columns_that_cannot_be_labels_are_refused(tmp_path, labels):
    write_table(tmp_path / "train.parquet", {"image": PNGS, "label": labels})
    with pytest.raises(DatasetError, match=r"must be whole numbers or class names|cannot be read"):
        parquet_source(tmp_path)


def test_labels_of_different_kinds_in_different_files_are_refused(tmp_path):
    write_table(tmp_path / "train.parquet", {"image": PNGS, "label": [0, 1] * 3})
    write_table(tmp_path / "test.parquet", {"image": PNGS, "label": ["a", "b"] * 3})
    with pytest.raises(DatasetError, match="must be the same in all files"):
        parquet_source(tmp_path)


@pytest.mark.parametrize("names", ["cat", [1, 2], ["cat", "cat"], {"cat": 0}, [["cat"], ["dog"]]])
def test_class_names_that_are_no_list_of_different_texts_are_refused(tmp_path, names):
    info = json.dumps({"info": {"features": {"label": {"names": names}}}})
    write_table(tmp_path / "train.parquet", {"image": PNGS, "label": [0, 1] * 3}, {"huggingface": info})
    with pytest.raises(DatasetError, match="must be a list of different texts"):
        parquet_source(tmp_path)


@pytest.mark.parametrize("metadata", ["{", "[" * 100_000, "[]", '{"info": 3}', b"\xff\xfe"])
def test_metadata_of_another_kind_is_ignored(tmp_path, metadata):
    write_table(tmp_path / "train.parquet", {"image": PNGS, "label": [0, 1] * 3}, {"huggingface": metadata})
    assert parquet_source(tmp_path).classes == ("0", "1")


def test_files_without_rows_or_row_groups_are_harmless(tmp_path):
    write_table(tmp_path / "train-0.parquet", {"image": pa.array([], pa.binary()), "label": pa.array([], pa.int64())})
    schema = pa.schema([("image", pa.binary()), ("label", pa.int64())])
    pq.ParquetWriter(tmp_path / "train-1.parquet", schema).close()
    write_table(tmp_path / "train-2.parquet", {"image": PNGS, "label": [0, 1] * 3})
    source = parquet_source(tmp_path)
    assert source.labels("train").tolist() == [0, 1] * 3
    assert [pixel(raw) for raw in read_all(source)] == list(range(6))


def test_a_truncated_parquet_file_is_named(tmp_path):
    write_parquet(tmp_path / "train.parquet", [0, 1, 0, 1])
    content = (tmp_path / "train.parquet").read_bytes()
    (tmp_path / "train.parquet").write_bytes(content[:-20])
    with pytest.raises(DatasetError, match=r"train\.parquet is not a readable Parquet file"):
        parquet_source(tmp_path)


def test_a_parquet_link_out_of_the_folder_is_refused_but_a_hugging_face_cache_opens(tmp_path):
    cache = tmp_path / "datasets--pets"
    (cache / "blobs").mkdir(parents=True)
    write_parquet(cache / "blobs" / "0123abcd", [0, 1, 0, 1])
    snapshot = cache / "snapshots" / "main" / "data"
    snapshot.mkdir(parents=True)
    (snapshot / "train-0.parquet").symlink_to("../../../blobs/0123abcd")
    assert parquet_source(snapshot).splits() == parquet_source(snapshot.parent).splits() == {"train": 4}
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "train.parquet").symlink_to(cache / "blobs" / "0123abcd")
    with pytest.raises(DatasetError, match="outside the dataset's folder"):
        parquet_source(tmp_path / "other")


def test_pipes_and_folders_named_like_parquet_files_are_left_out(tmp_path):
    write_parquet(tmp_path / "train.parquet", [0, 1, 0, 1])
    os.mkfifo(tmp_path / "test.parquet")
    (tmp_path / "val.parquet").mkdir()
    assert parquet_source(tmp_path).splits() == {"train": 4}


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
