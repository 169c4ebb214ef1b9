"""Whatever is done to a file of a store is found, and named."""

import json
import os
import shutil
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from shard_rows import feature_rows
from sound_store import FEATURES, SAMPLES, features_of, image, made_before_seals, make

from featurestore import FeatureSet, FeatureStore
from featurestore.care.record_checks import check_record
from featurestore.care.verify import verify
from featurestore.store import layout, schema
from featurestore.store.feature_store import MADE_WITH, with_checksum

PARTS = [layout.part_name(shard, 2) for shard in range(2)]


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return Path(make(str(tmp_path_factory.mktemp("sound") / "store")).uri)


@pytest.fixture
def store(original: Path, tmp_path: Path) -> FeatureStore:
    shutil.copytree(original, tmp_path / "store")
    return FeatureStore.open(str(tmp_path / "store"))


def errors(store: FeatureStore) -> list[tuple[str, str]]:
    """(place, what) of every error."""
    return [(found.place, found.what) for found in verify(store).findings if found.severity == "error"]


def warnings(store: FeatureStore) -> list[tuple[str, str]]:
    return [(found.place, found.what) for found in verify(store).findings if found.severity == "warning"]


def flipped(content: bytes, place: int, bits: int) -> bytes:
    return content[:place] + bytes([content[place] ^ bits]) + content[place + 1 :]


def rewrite(store: FeatureStore, item: object, shard: int, table: pa.Table) -> None:
    """Put other rows into a complete set as somebody would who also corrects the manifest, but for its time."""
    folder = Path(store.uri, item.folder)
    record = json.loads((folder / layout.MANIFEST).read_text())
    (folder / layout.MANIFEST).unlink()
    (folder / PARTS[shard]).unlink()
    store.write_shard(item, shard, 2, table)
    own = {name: value for name, value in record.items() if name not in ("rows", "parts", "checksum")}
    store.finish(item, 2, own)
    new = json.loads((folder / layout.MANIFEST).read_text())
    (folder / layout.MANIFEST).write_text(json.dumps(with_checksum({**new, "created_at": record["created_at"]})))


def test_a_sound_store_has_no_finding(store):
    verified = verify(store)
    assert verified.findings == []
    assert verified.sound
    assert (verified.n_sets, verified.n_records) == (6, 11)  # a row of `sets` for each set
    assert verified.n_bytes == sum(path.stat().st_size for path in Path(store.uri).rglob("*") if path.is_file())


@pytest.mark.slow
def test_a_flipped_bit_is_found_wherever_it_is(store):
    """In every file of the store; in the middle of a file of no rows it may be in the name of its writer."""
    for path in sorted(path for path in Path(store.uri).rglob("*") if path.suffix in (".parquet", ".json")):
        content = path.read_bytes()
        middle = [len(content) // 2] if path.stem != "empty" else []
        for place in (0, *middle, len(content) - 1):
            path.write_bytes(flipped(content, place, 0x10))
            assert str(path.relative_to(store.uri)) in {found for found, _ in errors(store)}
        path.write_bytes(content)


@pytest.mark.parametrize("table", ["results", "tuning", "predictions", "heads", "cells"])
def test_a_flipped_bit_is_found_all_over_a_record(store, table):
    """All but the name of the program that wrote it, and the mark that says so."""
    (path,) = Path(store.uri, table).iterdir()
    content, rows = path.read_bytes(), pq.read_table(path)
    missed = 0
    for place in range(0, len(content), 41):
        path.write_bytes(flipped(content, place, 1))
        if not check_record(store.storage, f"{table}/{path.name}"):
            missed += 1
            assert pq.read_table(path).equals(rows)
    assert missed <= 3


def write_made(store: FeatureStore, split: str, *makings: tuple[str, list[float] | None]) -> None:
    """Write a set of features whose shards were made with these versions of timm and have these fingerprints."""
    item = FeatureSet("net", "birds", split, "key")
    for shard, (timm, fingerprint) in enumerate(makings):
        said = {"extraction": {"versions": {"timm": timm}, "device": "cpu"}}
        said |= {"fingerprint": fingerprint} if fingerprint else {}
        rows = feature_rows(2 * shard, np.ones((2, 3), np.float32)).replace_schema_metadata(
            {MADE_WITH: json.dumps(said)}
        )
        store.write_shard(item, shard, len(makings), rows)
    store.finish(item, len(makings), {})


@pytest.mark.parametrize(
    ("timm", "other", "said"),
    [
        ("2", [1.0], "2 images with timm 1, 2 with timm 2; all of them give the same for the trial images"),
        ("2", [1.1], "2 images with timm 1, 2 with timm 2; they give other features for the trial images"),
        ("1", [1.1], "2 images with the same versions and another network, 2 with the same versions and another"),
        ("2", None, "2 images with timm 1, 2 with timm 2; whether they give the same is not known"),
    ],
)
def test_a_set_that_several_installations_made_is_a_warning_with_counts(empty_store, tmp_path, timm, other, said):
    store = FeatureStore.open(str(shutil.copytree(empty_store, tmp_path / "store")))
    write_made(store, "train", ("1", [1.0]), (timm, other))
    found = [what for place, what in warnings(store) if place.endswith("manifest.json") and "installations" in what]
    assert [what.startswith("its features were made with 2 installations: " + said) for what in found] == [True]
    assert not errors(store)


def test_a_model_whose_sets_were_made_with_several_installations_is_a_warning(empty_store, tmp_path):
    store = FeatureStore.open(str(shutil.copytree(empty_store, tmp_path / "store")))
    write_made(store, "train", ("1", [1.0]), ("1", [1.0]))
    write_made(store, "test", ("2", [1.1]))
    ((place, what),) = [found for found in warnings(store) if "installations" in found[1]]
    assert place == "features/model=net"
    assert what == (
        "the features of all its sets at penultimate were made with 2 installations: 4 images with timm 1, 2 with timm "
        "2; they give other features for the trial images"
    )


@pytest.mark.parametrize("item", [FEATURES["train"], SAMPLES["train"]])
def test_a_truncated_or_missing_part_is_named(store, item):
    path = Path(store.uri, item.folder, PARTS[0])
    path.write_bytes(path.read_bytes()[:-10])
    place = f"{item.folder}/{PARTS[0]}"
    assert "bytes, but its manifest says" in dict(errors(store))[place]
    path.unlink()
    assert (place, "the file is missing") in errors(store)


def test_two_parts_in_each_others_place_are_found(store):
    one, two = (Path(store.uri, FEATURES["val"].folder, name) for name in PARTS)
    content = one.read_bytes()
    one.write_bytes(two.read_bytes())
    two.write_bytes(content)
    assert {place for place, _ in errors(store)} == {f"{FEATURES['val'].folder}/{name}" for name in PARTS}


def test_an_edited_manifest_is_found(store):
    path = Path(store.uri, FEATURES["train"].folder, layout.MANIFEST)
    manifest = json.loads(path.read_text())
    for name, value in {"rows": 3, "samples": "other", "tap": "cls", "created_at": "yesterday"}.items():
        path.write_text(json.dumps({**manifest, name: value}))
        assert errors(store) == [(f"{FEATURES['train'].folder}/manifest.json", "its content is not what was written")]


@pytest.mark.parametrize("change", [{"rows": 3}, {"split": "test"}, {"parts": []}, {"parts": [{}]}])
def test_a_manifest_without_a_checksum_must_fit_its_parts(store, change):
    """Manifests had none once."""
    path = Path(store.uri, FEATURES["train"].folder, layout.MANIFEST)
    manifest = json.loads(path.read_text())
    path.write_text(json.dumps({**{key: manifest[key] for key in manifest if key != "checksum"}, **change}))
    assert [place for place, _ in errors(store)] == [f"{FEATURES['train'].folder}/manifest.json"]


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"\xff", b"null"])
def test_a_broken_manifest_is_found(store, content):
    Path(store.uri, SAMPLES["train"].folder, layout.MANIFEST).write_bytes(content)
    ((place, what),) = errors(store)
    assert place == f"{SAMPLES['train'].folder}/manifest.json"
    assert "cannot be read as a manifest" in what


def changed(table: pa.Table, name: str, values: list[object]) -> pa.Table:
    field = table.schema.field(name)
    return table.set_column(table.column_names.index(name), field, pa.array(values, field.type))


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("label", [0, 1, 0]),
        ("sample_id", ["id0", "id1", "id1"]),
        ("group", ["group0", None, "group1"]),
        ("index", [0, 1, 2]),
        ("labels", [[1], None, None]),
    ],
)
def test_features_that_disagree_with_their_images_are_found_in_every_column(store, name, values):
    rewrite(store, FEATURES["train"], 0, changed(features_of(0, 4), name, values))
    ((place, what),) = errors(store)
    assert place == f"{FEATURES['train'].folder}/{PARTS[0]}"
    assert what == f"{name} differs from {SAMPLES['train'].folder}/{PARTS[0]}"


def test_a_row_too_few_is_found(store):
    rewrite(store, FEATURES["train"], 0, features_of(0, 4).slice(1))
    assert errors(store)[0][1].startswith("it has 2 rows for the 3 readable images of")


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_features_that_are_no_numbers_are_counted(store, value):
    vectors = [[0, 0, 0, 0], [0, value, 0, value], [0, 0, 0, 0]]
    rewrite(store, FEATURES["train"], 0, changed(features_of(0, 4), "feature", vectors))
    assert [what for _, what in errors(store)] == ["2 features are NaN or infinite"]


def test_parts_of_two_types_are_found(store):
    rewrite(store, FEATURES["train"], 0, features_of(0, 4, np.float32))
    assert "parts hold features of different types" in errors(store)[0][1]


def test_columns_that_a_table_does_not_have_are_named(store):
    rewrite(store, FEATURES["train"], 0, features_of(0, 4).append_column("more", pa.array([1, 2, 3])))
    assert [what for _, what in errors(store)] == ["its columns are not those of the table: more is not known"]
    path = Path(store.uri, "results", "c1.parquet")
    store = made_before_seals(store)
    pq.write_table(pq.read_table(path).append_column("more", pa.array([1])).replace_schema_metadata(), path)
    assert ("results/c1.parquet", "the column more is not known") in errors(store)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"index": 7}, "not numbered 4 to 6 without a gap"),
        ({"reason": "dark"}, "unreadable without a reason"),
        ({"label": None}, "neither label nor labels"),
    ],
)
def test_images_that_contradict_themselves_are_found(store, change, said):
    rows = [image(4) | change, image(5), image(6)]
    rewrite(store, SAMPLES["test"], 1, pa.Table.from_pylist(rows, schema=schema.SAMPLES))
    assert any(said in what for place, what in errors(store) if place == f"{SAMPLES['test'].folder}/{PARTS[1]}")


def test_a_record_in_anothers_place_is_found(store):
    folder = Path(store.uri, "results")
    shutil.copy(folder / "c1.parquet", folder / "c2.parquet")
    assert errors(store) == [("results/c2.parquet", "its content is not what was written")]


def test_records_of_older_versions_that_lack_columns_are_sound(store):
    path = Path(store.uri, "results", "c1.parquet")
    pq.write_table(pq.read_table(path).drop_columns(["probabilistic"]).replace_schema_metadata(), path)
    assert verify(made_before_seals(store)).findings == []


def test_what_is_unfinished_or_left_over_is_a_warning(store):
    root = Path(store.uri)
    store.forget_sets([FEATURES["train"]])  # nothing says that it was complete
    (root / FEATURES["train"].folder / layout.MANIFEST).unlink()
    (root / "notes.txt").write_text("")
    (root / "results" / "old").mkdir()
    (root / "results" / "old" / "c1.parquet").write_text("")
    (root / FEATURES["val"].folder / "extra.parquet").write_text("")
    (root / "_staging" / "0-part").write_text("")
    (root / "_staging" / "1-part").write_text("")
    os.utime(root / "_staging" / "0-part", (time.time() - 7200,) * 2)
    assert verify(store).sound
    assert sorted(warnings(store)) == sorted(
        [
            (FEATURES["train"].folder, "it is not complete: 2 shards and no manifest"),
            ("notes.txt", "no part of a store has this name"),
            ("results/old/c1.parquet", "no part of a store has this name"),
            (f"{FEATURES['val'].folder}/extra.parquet", "no part of a store has this name"),
            ("_staging/0-part", "a writer was killed before it was published"),
        ]
    )


def test_features_whose_images_are_not_complete_are_a_warning(store):
    store.forget_sets([SAMPLES["train"]])  # nothing says that it was complete
    Path(store.uri, SAMPLES["train"].folder, layout.MANIFEST).unlink()
    assert (FEATURES["train"].folder, f"its image table {SAMPLES['train'].folder} is not complete") in warnings(store)
    assert verify(store).sound
