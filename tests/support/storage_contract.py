"""What every storage must do, wherever its files lie. A test module inherits it and says where."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pyarrow as pa
import pytest

from featurestore.errors import StoreError
from featurestore.store.storage import Storage

LARGE = 11 * 1024**2  # bytes: more than one request takes


class StorageContract:
    """Inherited by a class whose fixture `storage` is an empty Storage."""

    def test_what_is_published_is_read_back_whole(self, storage: Storage):
        storage.publish("a/b", b"first")
        assert storage.read_bytes("a/b") == b"first"
        assert storage.read("a/b", lambda file: file.read(2)) == b"fi"

    def test_publishing_again_replaces(self, storage: Storage):
        storage.publish("a/b", b"a long first version")
        storage.publish("a/b", b"second")
        assert storage.read_bytes("a/b") == b"second"
        assert storage.list_files("") == ["a/b"]

    def test_a_new_file_never_replaces_one(self, storage: Storage):
        assert storage.publish_new("a/b", b"first")
        assert not storage.publish_new("a/b", b"second")
        assert storage.read_bytes("a/b") == b"first"

    @pytest.mark.parametrize("size", [0, 1, LARGE])
    def test_files_of_every_size_arrive_whole_and_nothing_else_is_left(self, storage: Storage, size: int):
        storage.publish("folder/file", pa.py_buffer(b"x" * size))
        assert storage.read_buffer("folder/file").size == size
        assert [(file.name, file.size) for file in storage.files("")] == [("folder/file", size)]

    def test_of_many_writers_of_a_file_one_is_read_whole(self, storage: Storage):
        contents = [letter * 100_000 for letter in (b"a", b"b", b"c", b"d")]
        with ThreadPoolExecutor(4) as pool:
            made = list(pool.map(lambda content: storage.publish_new("file", content), contents))
        assert any(made)
        assert storage.read_bytes("file") in contents

    def test_a_listing_has_every_file_below_a_folder_in_order(self, storage: Storage):
        for name in ("t/b", "t/a/deeper", "other"):
            storage.publish(name, b"12345")
        found = storage.files("t")
        assert [(file.name, file.size) for file in found] == [("t/a/deeper", 5), ("t/b", 5)]
        assert all(file.modified is None or file.modified.tzinfo is not None for file in found)
        assert storage.list_files("nowhere") == []

    def test_files_folders_and_nothing_are_told_apart(self, storage: Storage):
        storage.publish("folder/file", b"")
        assert [storage.kind(name) for name in ("folder/file", "folder", "folder/none")] == ["file", "folder", "absent"]

    def test_names_may_hold_what_partitions_do(self, storage: Storage):
        name = "features/model=a+b.c/tap=block%3A3/key=0f/part-00000-of-00001.parquet"
        storage.publish(name, b"x")
        assert storage.list_files("features") == [name]
        assert storage.read_bytes(name) == b"x"

    def test_deleting_what_is_gone_is_no_error(self, storage: Storage):
        storage.publish("a/b", b"")
        for _ in range(2):
            storage.delete("a/b")
        storage.remove_empty_folders("a")
        assert storage.kind("a/b") == "absent"
        assert storage.list_files("") == []

    def test_a_trial_of_what_a_run_will_need_leaves_nothing(self, storage: Storage):
        storage.check_usable()
        assert storage.list_files("") == []
        assert storage.remarks == []

    def test_a_file_that_is_not_there_is_named(self, storage: Storage):
        with pytest.raises(StoreError, match="a/b is not in the store"):
            storage.read_bytes("a/b")
