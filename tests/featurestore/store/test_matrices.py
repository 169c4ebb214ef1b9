"""Decoding of Parquet's pages, and the cache of matrices on a node."""

import os
import resource
import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from shard_rows import SET, feature_rows

from featurestore import FeatureStore
from featurestore.errors import ConfigurationError
from featurestore.store import matrices
from featurestore.store.matrices import MatrixCache


def write(store: FeatureStore, X: np.ndarray, labels: list[list[int]] | None = None) -> None:
    """A complete set of two parts."""
    half = len(X) // 2
    store.write_shard(SET, 0, 2, feature_rows(0, X[:half], labels and labels[:half]))
    store.write_shard(SET, 1, 2, feature_rows(half, X[half:], labels and labels[half:]))
    store.finish(SET, 2, {})


def entry_of(cache: MatrixCache) -> Path:
    """Folder of the only entry."""
    (entry,) = cache._folder.iterdir()
    return entry


@pytest.fixture
def cache(tmp_path: Path) -> MatrixCache:
    return MatrixCache(tmp_path / "cache", 10**9)


@pytest.fixture(name="X")
def features() -> np.ndarray:
    return np.maximum(np.random.default_rng(0).normal(size=(3001, 260)), 0).astype(np.float16)  # some pages per part


# ---- out of Parquet ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [np.float16, np.float32])
def test_what_the_store_writes_is_copied_page_by_page(store, X, dtype):
    X = X.astype(dtype)
    store.write_shard(SET, 0, 1, feature_rows(0, X))
    (path,) = Path(store.uri).rglob("part-*.parquet")
    content = pa.py_buffer(path.read_bytes())
    out = np.empty_like(X)
    matrices._copy_pages(pq.ParquetFile(path), content, "feature", out)  # does not turn to Arrow
    np.testing.assert_array_equal(out, X)


@pytest.mark.parametrize(
    "options",
    [
        {"compression": "zstd", "compression_level": 1},  # what earlier versions wrote
        {"compression": "none", "row_group_size": 700},
        {"compression": "snappy"},
        {"use_dictionary": True},
        {"data_page_version": "2.0"},
        {"use_dictionary": False, "column_encoding": {"feature.list.element": "BYTE_STREAM_SPLIT"}},
    ],
)
def test_any_layout_of_parquet_gives_the_same_matrix(tmp_path, X, options):
    path = tmp_path / "part.parquet"
    pq.write_table(feature_rows(0, X), path, **options)
    out = np.empty(X.shape, np.float32)
    matrices.read_vectors(pq.ParquetFile(path), pa.py_buffer(path.read_bytes()), "feature", out)
    np.testing.assert_array_equal(out, X)


# ---- kept on the node ----------------------------------------------------------------------------------------------


def test_a_later_read_is_mapped_read_only_and_equal_to_the_first(store, cache, X):
    write(store, X)
    plain, first, later = store.read(SET), store.read(SET, cache=cache), store.read(SET, cache=cache)
    for read in (first, later):
        assert isinstance(read.X, np.memmap)
        assert not read.X.flags.writeable
        for name in ("X", "y", "index", "sample_id"):
            np.testing.assert_array_equal(getattr(read, name), getattr(plain, name))
            assert getattr(read, name).dtype == getattr(plain, name).dtype


def test_a_later_read_opens_no_parquet_file(store, cache, X):
    write(store, X)
    store.read(SET, cache=cache)
    for part in Path(store.uri).rglob("part-*.parquet"):
        part.unlink()
    np.testing.assert_array_equal(store.read(SET, cache=cache).X, X)


def test_other_content_under_the_same_name_is_not_served_from_the_cache(store, cache, X):
    write(store, X)
    store.read(SET, cache=cache)
    shutil.rmtree(Path(store.uri, SET.folder))
    write(store, X + 1)
    np.testing.assert_array_equal(store.read(SET, cache=cache).X, X + 1)


def test_one_entry_serves_every_number_of_classes(store, cache, X):
    write(store, X[:4], labels=[[0, 2], [], [1], [2]])
    first, later = store.read(SET, n_classes=5, cache=cache), store.read(SET, cache=cache)
    assert first.y.shape == (4, 5)
    assert later.y.astype(int).tolist() == [[1, 0, 1], [0, 0, 0], [0, 1, 0], [0, 0, 1]]
    entry_of(cache)


def flip_a_bit(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) * 2 // 3] ^= 1
    path.write_bytes(content)


def end_in_zeros(path: Path) -> None:
    half = path.stat().st_size // 2
    path.write_bytes(path.read_bytes()[:half] + bytes(half))


def cut(path: Path) -> None:
    os.truncate(path, path.stat().st_size - 1)


@pytest.mark.parametrize("name", ["X.npy", "index.npy", "label.npy", "sample_id.npy", "digests.json"])
@pytest.mark.parametrize("damage", [flip_a_bit, end_in_zeros, cut, Path.unlink])
def test_a_damaged_entry_is_made_anew(store, cache, X, name, damage):
    write(store, X)
    sound = store.read(SET, cache=cache)
    expected = [np.array(getattr(sound, field)) for field in ("X", "y", "index", "sample_id")]
    damage(entry_of(cache) / name)
    for _ in ("made anew", "out of the cache"):
        again = store.read(SET, cache=cache)
        assert isinstance(again.X, np.memmap)
        for field, values in zip(("X", "y", "index", "sample_id"), expected, strict=True):
            np.testing.assert_array_equal(getattr(again, field), values)


@pytest.mark.parametrize("content", ["null", "[]", "{}", '{"files": 3}', '{"files": {"X": 1}, "entry": ""}'])
def test_digests_of_another_shape_are_no_digests(store, cache, X, content):
    write(store, X)
    store.read(SET, cache=cache)
    (entry_of(cache) / "digests.json").write_text(content)
    np.testing.assert_array_equal(store.read(SET, cache=cache).X, X)


def test_an_entry_in_anothers_place_is_made_anew(cache):
    for key in ("a", "b"):
        cache.save(key, {"X": np.full(5, ord(key))})
    (cache._folder / "features-a").rename(cache._folder / "aside")
    (cache._folder / "features-b").rename(cache._folder / "features-a")
    assert cache.load("a") is None


def test_a_folder_that_cannot_be_written_costs_only_the_cache(store, tmp_path, X):
    write(store, X)
    (tmp_path / "file").write_text("")
    read = store.read(SET, cache=MatrixCache(tmp_path / "file" / "cache", 10**9))
    assert not isinstance(read.X, np.memmap)
    np.testing.assert_array_equal(read.X, X)


def test_a_full_disk_costs_only_the_cache_and_leaves_nothing_behind(store, cache, X):
    """A real refusal of the kernel: no file may grow beyond a few kilobytes."""
    write(store, X)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, limits[1]))
    try:
        read = store.read(SET, cache=cache)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    np.testing.assert_array_equal(read.X, X)
    assert list(cache._folder.iterdir()) == []


def test_what_was_used_longest_ago_makes_room(tmp_path):
    cache = MatrixCache(tmp_path, 3500)
    kilobyte = {"X": np.ones(800, np.uint8)}  # a header is another 128
    for age, key in enumerate(["a", "b", "c"]):
        cache.save(key, kilobyte)
        os.utime(tmp_path / f"features-{key}", (age, age))
    assert cache.load("a") is not None  # its last use is now
    mapped = cache.save("d", kilobyte)
    assert {key for key in "abcd" if cache.load(key)} == {"a", "c", "d"}
    cache.save("e", {"X": np.ones(3400, np.uint8)})
    assert {key for key in "abcde" if cache.load(key)} == {"e"}
    assert mapped["X"].sum() == 800  # removed, and still mapped


def test_what_is_larger_than_the_limit_is_not_kept_and_removes_nothing(tmp_path):
    cache = MatrixCache(tmp_path, 1000)
    cache.save("a", {"X": np.ones(500, np.uint8)})
    large = {"X": np.ones(2000, np.uint8)}
    assert cache.save("b", large) is large
    assert cache.load("a") is not None


def test_a_second_writer_uses_the_entry_of_the_first(cache):
    first = cache.save("a", {"X": np.ones(5)})
    second = cache.save("a", {"X": np.ones(5)})
    assert first["X"].filename == second["X"].filename
    entry_of(cache)


def test_other_things_in_the_folder_are_left_alone(tmp_path):
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "thesis.tex").write_bytes(bytes(5000))
    cache = MatrixCache(tmp_path, 1000)
    for key in ("a", "b", "c"):
        cache.save(key, {"X": np.ones(500, np.uint8)})
    assert (tmp_path / "thesis" / "thesis.tex").exists()


def test_the_environment_names_the_folder_and_the_limit(tmp_path, monkeypatch):
    monkeypatch.setenv("PROBESTORE_CACHE_GB", "1e-6")
    cache = MatrixCache.default()
    assert cache._folder == Path(os.environ["PROBESTORE_CACHE"])  # that of the tests
    assert cache._limit_bytes == 1000
    monkeypatch.delenv("PROBESTORE_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert MatrixCache.default()._folder == tmp_path / "probestore"
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert MatrixCache.default()._folder == Path.home() / ".cache" / "probestore"
    monkeypatch.setenv("PROBESTORE_CACHE_GB", "much")
    with pytest.raises(ConfigurationError, match="must be a number of GB, such as 50. Got 'much'"):
        MatrixCache.default()
