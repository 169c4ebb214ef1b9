"""Storages that need no server; that of S3 is tested in tests/s3."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from storage_contract import StorageContract

from featurestore.store.storage import Storage


class TestLocalFolder(StorageContract):
    @pytest.fixture
    def storage(self, tmp_path: Path) -> Storage:
        return Storage(str(tmp_path / "a store, 100% ünïcode"))

    def test_exactly_one_of_many_writers_makes_a_file(self, storage: Storage):
        with ThreadPoolExecutor(8) as pool:
            made = list(pool.map(lambda number: storage.publish_new("file", b"%d" % number), range(8)))
        assert storage.read_bytes("file") == b"%d" % made.index(True)
        assert sum(made) == 1

    def test_folders_with_nothing_in_them_go(self, storage: Storage):
        storage.publish("a/b/c", b"")
        storage.publish("a/d", b"")
        storage.delete("a/b/c")
        storage.remove_empty_folders("a/b")
        assert storage.kind("a/b") == "absent"
        assert storage.list_files("") == ["a/d"]


class TestDriverOfMemory(StorageContract):
    @pytest.fixture
    def storage(self, tmp_path: Path) -> Storage:
        return Storage(f"memory://{tmp_path.name}/store")


class TestDriverWithRealFolders(StorageContract):
    @pytest.fixture
    def storage(self, tmp_path: Path) -> Storage:
        return Storage(f"local://{tmp_path}/store")
