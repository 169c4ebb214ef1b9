"""Files of a finished study are gone, or are others: a plan counts that as missing, and a run makes it again."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from gone_files import gone
from tiny import TINY_NETWORK, save_images

from cluster.pool.local_pool import LocalPool
from cluster.reporting.events import Note
from cluster.runs.planning import plan_study
from cluster.runs.study_run import run_study
from cluster.study.study_file import read_study
from cluster.work import unsound_cells
from featurestore import FeatureSet, FeatureStore
from featurestore.care.mend import mend
from featurestore.care.verify import verify
from featurestore.errors import ProbeError
from featurestore.store import schema
from featurestore.store.known_sets import COLUMNS
from featurestore.store.layout import MANIFEST
from featurestore.store.schema import by_name
from featurestore.store.storage import Storage, StoredFile
from probes.methods import ncm

STUDY = """
[[model]]
name = "tiny_0"
backbone = "python:tiny_network:build"
weights = "none"
input_size = 16
seed = 0

[[dataset]]
name = "pets"
source = "image_folder:images"
shard_images = 8

[probe]
probes = ["knn", "ncm"]
"""


class Notes:
    """A reporter that keeps the notes."""

    def __init__(self) -> None:
        self.texts: list[str] = []

    def tell(self, event: object) -> None:
        if isinstance(event, Note):
            self.texts.append(event.text)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, pool: LocalPool) -> Path:
    """A study, and a store in which it is finished."""
    folder = tmp_path_factory.mktemp("finished")
    save_images(folder / "images", {"cats": 20, "dogs": 20})
    (folder / "tiny_network.py").write_text(TINY_NETWORK)
    (folder / "study.toml").write_text(STUDY)
    run(folder, FeatureStore.create(str(folder / "store")), pool)
    return folder


@pytest.fixture
def store(folder: Path, tmp_path: Path) -> FeatureStore:
    """A copy of that store, with the times of its files."""
    return FeatureStore.open(str(shutil.copytree(folder / "store", tmp_path / "copy")))


def run(folder: Path, store: FeatureStore, pool: LocalPool) -> tuple[dict[str, int], list[str]]:
    """Run the study; what was computed, and the notes."""
    notes = Notes()
    try:
        summary = run_study(read_study(folder / "study.toml"), store, pool=pool, reporter=notes)
    finally:
        sys.modules.pop("tiny_network", None)
        sys.path[:] = [place for place in sys.path if place != str(folder)]
    assert summary.failures == []
    return {name: summary.counts[name] for name in ("passes", "cells")}, notes.texts


def plan(folder: Path, store: FeatureStore) -> tuple[dict[str, int], list[str]]:
    """Plan the study; missing pieces, and the notes."""
    notes = Notes()
    (row,) = plan_study(read_study(folder / "study.toml"), store, reporter=notes)
    return {name: block.missing for name, block in row.blocks.items()}, notes.texts


def cells(store: FeatureStore) -> dict[str, str]:
    """Probe -> key of its cell."""
    return {row["probe"]: row["cell"] for row in store.read_records("cells")}


def numbers(store: FeatureStore) -> set[tuple[object, ...]]:
    return {(row["cell"], row["metric"], row["value"]) for row in store.read_records("results")}


def feature_set(store: FeatureStore, split: str) -> FeatureSet:
    return next(item for item in store.sets() if isinstance(item, FeatureSet) and item.split == split)


def test_when_a_run_ends_its_cells_say_that_they_were_made(store):
    assert [row["made"] for row in store.read_records("cells")] == [True, True]
    assert gone(store) == []


@pytest.mark.parametrize("table", ["results", "predictions", "tuning"])
def test_a_cell_whose_file_is_gone_is_fitted_again(folder, store, pool, table):
    before, file = numbers(store), f"{table}/{cells(store)['knn']}.parquet"
    store.storage.delete(file)
    said = [f"To fit again: 1 cell, of which files of {table} are gone."]
    assert plan(folder, store) == ({"shards": 0, "cells": 1}, said)
    assert run(folder, store, pool) == ({"passes": 0, "cells": 1}, said)
    assert numbers(store) == before
    assert gone(store) == []
    assert run(folder, store, pool) == ({"passes": 0, "cells": 0}, [])


@pytest.mark.parametrize("table", ["models", "datasets", "cells"])
def test_a_record_of_the_study_that_is_gone_is_written_again(folder, store, pool, table):
    (file,) = store.storage.list_files(table)
    store.storage.delete(file)
    assert [lost.file for lost in gone(store)] == [file]
    assert run(folder, store, pool)[0] == {"passes": 0, "cells": 0}
    assert gone(store) == []


@pytest.mark.parametrize("table", ["features", "samples"])
@pytest.mark.parametrize("n_lost", [1, 4])
def test_a_shard_of_a_complete_set_that_is_gone_is_made_again(folder, store, pool, table, n_lost):
    before = {name: store.storage.read_bytes(name) for name in store.storage.list_files(table)}
    lost = [name for name in before if "split=train" in name and name.endswith(".parquet")][:n_lost]
    for name in lost:
        store.storage.delete(name)
    shards = "1 shard" if n_lost == 1 else f"{len(lost)} shards"
    said = [f"To make again: {shards} of complete sets, whose files are gone."]
    assert plan(folder, store) == ({"shards": len(lost), "cells": 0}, said)
    done, notes = run(folder, store, pool)
    assert (done["cells"], notes) == (0, said)
    assert {name: store.storage.read_bytes(name) for name in store.storage.list_files(table)} == before
    assert gone(store) == []


def test_a_manifest_that_is_gone_is_written_again_and_the_results_stay(folder, store, pool):
    for name in [name for name in store.storage.list_files("") if name.endswith(MANIFEST)]:
        store.storage.delete(name)
    said = ["To finish: 6 sets without a manifest, whose shards are all there."]
    assert plan(folder, store) == ({"shards": 0, "cells": 0}, said)
    assert run(folder, store, pool) == ({"passes": 0, "cells": 0}, said)
    assert gone(store) == []


def replace_features(store: FeatureStore, split: str) -> None:
    """Give a set another part, as features that were made anew on another device are."""
    item = feature_set(store, split)
    manifest = store.manifest(item)
    name, n_shards = f"{item.folder}/{manifest['parts'][0]['name']}", len(manifest["parts"])
    rows = pq.read_table(pa.BufferReader(store.storage.read_intact(name)))
    store.storage.delete(name)
    part = store.write_shard(item, 0, n_shards, rows.replace_schema_metadata({"made": "elsewhere"}))
    store.finish(item, n_shards, manifest, parts=[part])


def test_results_that_rest_on_other_features_are_fitted_again(folder, store, pool):
    before = numbers(store)
    replace_features(store, "train")
    said = ["To fit again: 2 cells, whose results rest on other features of train than there are."]
    assert plan(folder, store) == ({"shards": 0, "cells": 2}, said)
    assert run(folder, store, pool) == ({"passes": 0, "cells": 2}, said)
    assert numbers(store) == before
    assert run(folder, store, pool) == ({"passes": 0, "cells": 0}, [])


def test_results_are_fitted_again_where_this_run_makes_other_features(folder, store, pool):
    replace_features(store, "train")
    run(folder, store, pool)
    item = feature_set(store, "train")
    store.storage.delete(f"{item.folder}/{store.manifest(item)['parts'][0]['name']}")
    assert plan(folder, store)[0] == {"shards": 1, "cells": 0}
    done, notes = run(folder, store, pool)
    assert done == {"passes": 8, "cells": 2}
    assert notes[1:] == ["To fit again: 2 cells, whose results rest on other features of train than there are."]


@pytest.mark.parametrize(
    ("table", "said"), [("predictions", "other predictions than there are"), ("tuning", "another tuning than there is")]
)
def test_results_that_rest_on_other_records_are_fitted_again(folder, store, pool, table, said):
    """As a writer leaves them that was killed before it came to the results."""
    key = cells(store)["knn"]
    store.publish(table, key, store.read_record(table, key).slice(1))
    assert run(folder, store, pool) == (
        {"passes": 0, "cells": 1},
        [f"To fit again: 1 cell, whose results rest on {said}."],
    )


def test_results_of_an_earlier_version_are_fitted_again_where_features_are_younger(folder, store, pool):
    for key in cells(store).values():
        rows = store.read_record("results", key)
        own = [name for name in rows.column_names if not name.endswith(("_digest", "_digests"))]
        rows = by_name(rows.select(own), schema.RESULTS)
        store.publish("results", key, rows)
    assert run(folder, store, pool)[0]["cells"] == 0
    replace_features(store, "val")
    said = ["To fit again: 2 cells, whose results rest on features that were made anew since."]
    assert run(folder, store, pool) == ({"passes": 0, "cells": 2}, said)


def test_a_finished_study_reads_nothing_to_compare(folder, store, pool, monkeypatch):
    monkeypatch.setattr(unsound_cells, "_objections", lambda *_: pytest.fail("files were read"))
    assert run(folder, store, pool) == ({"passes": 0, "cells": 0}, [])


def test_what_an_interrupted_run_has_made_is_missed(folder, store, pool, monkeypatch):
    keys = cells(store)
    for key in keys.values():
        store.storage.delete(f"results/{key}.parquet")
    store.storage.delete("cells/study.parquet")

    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(ncm, "fit", interrupted)
    with pytest.raises(KeyboardInterrupt):
        run(folder, store, pool)
    assert {row["probe"]: row["made"] for row in store.read_records("cells")} == {"knn": True, "ncm": None}
    store.storage.delete(f"results/{keys['knn']}.parquet")
    assert [lost.file for lost in gone(store)] == [f"results/{keys['knn']}.parquet"]
    monkeypatch.undo()
    run(folder, store, pool)
    assert [row["made"] for row in store.read_records("cells")] == [True, True]


def test_what_fails_now_is_not_missed_for_ever(folder, store, pool, monkeypatch):
    store.storage.delete(f"results/{cells(store)['ncm']}.parquet")

    def failing(*_: object, **__: object) -> None:
        raise ProbeError("no")

    monkeypatch.setattr(ncm, "fit", failing)
    with pytest.raises(AssertionError):
        run(folder, store, pool)
    assert {row["probe"]: row["made"] for row in store.read_records("cells")} == {"knn": True, "ncm": False}
    assert gone(store) == []


# ---- what is complete, from the table `sets` ------------------------------------------------------------------------


@pytest.fixture
def remote(store: FeatureStore) -> FeatureStore:
    """The same store through a driver of fsspec: it is taken for an object store."""
    return FeatureStore.open(f"local://{store.uri}")


@pytest.fixture
def listed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Folders of features and images whose files are listed from now on."""
    folders: list[str] = []
    files = Storage.files

    def noted(storage: Storage, folder: str) -> list[StoredFile]:
        folders.extend([folder] if folder.startswith(("features", "samples")) else [])
        return files(storage, folder)

    monkeypatch.setattr(Storage, "files", noted)
    return folders


def test_a_finished_study_is_known_to_be_so_without_a_listing_of_shards(folder, store, remote, pool, listed):
    for one in (store, remote):
        assert plan(folder, one)[0] == {"shards": 0, "cells": 0}
        assert run(folder, one, pool) == ({"passes": 0, "cells": 0}, [])
    assert listed == []


def test_a_store_of_an_earlier_version_gets_the_table_and_computes_nothing(folder, store, remote, pool, listed):
    rows = store.record_rows("sets", COLUMNS).drop_columns("completed_at")  # a driver has times of another precision
    for one in (store, remote):
        shutil.rmtree(Path(store.uri, "sets"))
        assert plan(folder, one)[0] == {"shards": 0, "cells": 0}
        assert not store.names("sets")  # a plan writes nothing
        assert run(folder, one, pool) == ({"passes": 0, "cells": 0}, [])
        assert store.record_rows("sets", COLUMNS).drop_columns("completed_at") == rows
    assert sorted(set(listed)) == ["features/model=tiny_0", "samples/dataset=pets"]


def test_what_is_gone_from_an_object_store_is_made_again_once_it_was_verified(folder, store, remote, pool):
    lost = feature_set(store, "val")
    before = remote.read(lost).X.tobytes()
    shutil.rmtree(Path(store.uri, lost.folder))
    assert run(folder, remote, pool)[0] == {"passes": 0, "cells": 0}  # the table says that it is complete
    found = verify(remote)
    assert f"{lost.folder}/{MANIFEST}" in {finding.place for finding in found.findings}
    assert mend(remote, found).remaking.commands
    assert run(folder, remote, pool)[0]["passes"] == 6
    assert remote.read(lost).X.tobytes() == before
    assert verify(remote).findings == []
