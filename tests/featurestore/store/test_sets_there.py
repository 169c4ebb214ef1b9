"""What a run learns of the sets that it asks for is what a listing of all files would say."""

from __future__ import annotations

import os
import random
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from shard_rows import feature_rows
from sound_store import FEATURES, SAMPLES, make, write_features

from featurestore import FeatureSet, FeatureStore
from featurestore.store import layout
from featurestore.store.sets_there import AnySet, SetsThere

SET = FEATURES["train"]
ALL: list[AnySet] = [*FEATURES.values(), *SAMPLES.values()]


@pytest.fixture(params=["", "local://"], ids=["local", "a driver"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> FeatureStore:
    """A driver of fsspec is taken for an object store: each question costs a request."""
    return make(f"{request.param}{tmp_path}/store")


@pytest.fixture
def local(tmp_path: Path) -> FeatureStore:
    return make(str(tmp_path / "store"))


@pytest.fixture
def remote(tmp_path: Path) -> FeatureStore:
    return make(f"local://{tmp_path}/store")


def sets_in(folders: list[str]) -> list[str]:
    return sorted(folder for folder in folders if folder.startswith(("features", "samples")))


def remove(store: FeatureStore, item: AnySet, end: str) -> None:
    """What somebody removes by hand, who knows of no table."""
    for name in store.storage.list_files(item.folder):
        if name.endswith(end):
            store.storage.delete(name)


def said(there: SetsThere, item: AnySet) -> tuple[object, ...]:
    found = there[item]
    return set(found.shards), found.has_manifest, found.is_whole, found.completed_at


def listing_says(store: FeatureStore, item: AnySet) -> tuple[object, ...]:
    stock = store.stock()
    return stock.shards(item), stock.has(item), stock.is_whole(item), stock.completed_at(item)


def assert_as_listed(store: FeatureStore, items: list[AnySet]) -> None:
    stock, there = store.stock(), SetsThere(store)
    features = [item for item in items if isinstance(item, FeatureSet)]
    assert there.overflowed(features) == set(filter(stock.overflowed, features))
    there.look(items)
    for item in items:
        assert said(there, item) == listing_says(store, item)
    assert there.models_with_features(["net", "other", "none"]) == stock.models() & {"net", "other", "none"}


def test_complete_sets_are_known_without_a_listing(store, listed):
    there = SetsThere(store)
    there.look(ALL)
    assert all(there[item].is_whole for item in ALL)
    assert all(there.digest(item) == store.features_digest(item) for item in FEATURES.values())
    assert there.overflowed(list(FEATURES.values())) == set()
    assert sets_in(listed) == []


def test_without_the_table_the_files_are_looked_for_and_the_table_is_written(store, listed):
    """As in a store of an earlier version."""
    store.mark_overflow(replace(SET, key="narrow"), "too large")
    rows = sorted(map(repr, store.read_records("sets")))
    asked = [*ALL, replace(SET, key="narrow")]
    shutil.rmtree(Path(store.storage.path("sets")))
    assert_as_listed(store, asked)
    there = SetsThere(store)
    there.look(asked)
    assert there.n_unknown == len(ALL)
    assert there.note() == len(asked)
    assert sorted(map(repr, store.read_records("sets"))) == rows
    listed.clear()
    there = SetsThere(store)
    assert there.overflowed([SET, replace(SET, key="narrow")]) == {replace(SET, key="narrow")}
    there.look(ALL)
    assert there.n_unknown == there.note() == 0
    assert sets_in(listed) == []


def test_only_models_and_datasets_of_sets_that_are_not_known_are_listed(remote, listed):
    write_features(remote, replace(SET, model="other"), samples="samples-train")
    listed.clear()
    there = SetsThere(remote)
    there.look([*ALL, replace(SET, model="other", key="another"), replace(SAMPLES["val"], dataset="cars")])
    assert sets_in(listed) == ["features/model=other", "samples/dataset=cars"]
    there.look([replace(SET, model="other", key="a third")])
    assert len(sets_in(listed)) == 2


@pytest.mark.parametrize("end", [layout.MANIFEST, "part-00001-of-00002.parquet", ""])
@pytest.mark.parametrize("item", [SET, SAMPLES["val"]])
def test_what_somebody_removed_from_a_local_store_is_missed(local, item, end):
    remove(local, item, end)
    assert_as_listed(local, ALL)
    assert not SetsThere(local)[item].is_whole


def test_an_object_store_is_taken_at_its_word(remote):
    remove(remote, SET, "")
    assert SetsThere(remote)[SET].is_whole


def test_a_listing_that_is_made_anyway_counts_more_than_the_table(remote):
    remove(remote, SET, layout.MANIFEST)
    there = SetsThere(remote)
    there.look([SET, replace(SET, key="unknown")])
    assert said(there, SET) == listing_says(remote, SET)


def test_of_a_manifest_that_an_earlier_version_replaced_nothing_is_known(local):
    """It writes no row: the one that is there tells of the former files."""
    path = Path(local.storage.path(f"{SET.folder}/{layout.MANIFEST}"))
    os.utime(path, ns=(0, path.stat().st_mtime_ns + 1000))
    there = SetsThere(local)
    assert there[SET].is_whole
    assert there.digest(SET) is None
    assert (there.n_unknown, there.note()) == (1, 1)
    assert SetsThere(local).digest(SET) == local.features_digest(SET)


def test_a_damaged_manifest_gets_no_row(store):
    shutil.rmtree(Path(store.storage.path("sets")))
    store.storage.publish(f"{SET.folder}/{layout.MANIFEST}", b"{}")
    there = SetsThere(store)
    there.look(ALL)
    assert there.note() == len(ALL) - 1
    assert SET.key not in {row["key"] for row in store.read_records("sets")}


def fill(store: FeatureStore, item: FeatureSet, rng: random.Random) -> None:
    """A set of several writers, of several numbers of shards, half done, with a mark, strange files, or removed."""
    n_shards = rng.randint(1, 4)
    for shard in rng.sample(range(n_shards), rng.randint(0, n_shards)):
        store.write_shard(item, shard, n_shards, feature_rows(shard, np.ones((1, 2), np.float16)))
    if len(store.shards(item)) == n_shards and rng.random() < 0.8:
        store.finish(item, n_shards, {})
    if rng.random() < 0.2:
        store.mark_overflow(item, "too large")
    for name in (f"part-00000-of-00007.{'a' * 16}.parquet", "notes.txt"):
        if rng.random() < 0.2:
            store.storage.publish(f"{item.folder}/{name}", b"")
    if rng.random() < 0.3:
        remove(store, item, rng.choice([layout.MANIFEST, ".parquet", "of-00002.parquet"]))


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize("driver", ["", "local://"])
def test_of_whatever_folders_the_same_is_said_as_by_a_listing(seed, driver, tmp_path):
    """An object store says so where there is no table yet; a local one always."""
    rng = random.Random(seed)
    store = FeatureStore.create(f"{driver}{tmp_path}/store")
    items = [FeatureSet(rng.choice(["net", "other"]), "pets", "train", f"key{number}") for number in range(8)]
    for item in items:
        fill(store, item, rng)
    if driver or rng.random() < 0.3:
        shutil.rmtree(Path(store.storage.path("sets")), ignore_errors=True)
    assert_as_listed(store, items)
