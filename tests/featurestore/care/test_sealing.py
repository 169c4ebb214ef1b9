"""Stores of earlier versions, whose files no digest covers, and how they get digests."""

import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from sound_store import FEATURES, made_before_seals, make

from featurestore import FeatureStore
from featurestore.care.sealing import seal
from featurestore.care.verify import verify
from featurestore.errors import DamagedFileError
from featurestore.store import layout
from featurestore.store.feature_store import checksum


def rewrite(path: Path) -> None:
    """Write the same rows as a program does that knows of no seals."""
    pq.write_table(pq.ParquetFile(path).read().replace_schema_metadata(), path)


@pytest.fixture
def old(tmp_path: Path) -> FeatureStore:
    """A store without any digest but those that the first version wrote; one of its sets is not complete."""
    store = make(str(tmp_path / "store"))
    for path in Path(store.uri).rglob("*.parquet"):
        if not path.name.startswith("part-"):
            rewrite(path)
    for path in Path(store.uri).rglob(layout.MANIFEST):
        manifest = {name: value for name, value in json.loads(path.read_text()).items() if name != "folder"}
        manifest["parts"] = [{name: part[name] for name in part if name != "xxh3"} for part in manifest["parts"]]
        path.write_text(json.dumps({**manifest, "checksum": checksum(manifest)}))
    store = made_before_seals(store)
    folder = Path(store.uri, FEATURES["val"].folder)
    store.forget_sets([FEATURES["val"]])
    (folder / layout.MANIFEST).unlink()
    for part in folder.glob("part-*"):
        rewrite(part)
    return store


def test_files_without_a_digest_are_counted_and_read(old):
    verified = verify(old)
    assert verified.sound
    assert verified.n_unsigned > 10
    assert len(old.read(FEATURES["train"]).X) == 6


def test_every_file_has_a_digest_once_the_store_is_sealed(old):
    before = old.read(FEATURES["train"]).X.tolist(), old.read_records("results")
    unsigned = verify(old).n_unsigned
    assert seal(old) == unsigned
    sealed = FeatureStore.open(old.uri)
    verified = verify(sealed)
    assert (verified.sound, verified.n_unsigned) == (True, 0)
    assert (sealed.read(FEATURES["train"]).X.tolist(), sealed.read_records("results")) == before
    assert seal(sealed) == 0


def test_a_file_without_a_digest_is_damaged_in_a_sealed_store(old):
    seal(old)
    path = Path(old.uri, "results", "c1.parquet")
    rewrite(path)
    with pytest.raises(DamagedFileError, match=r"results/c1\.parquet"):
        FeatureStore.open(old.uri).read_record("results", "c1")


def test_a_part_that_is_not_the_one_of_its_manifest_is_not_sealed(old):
    part = Path(old.uri, FEATURES["train"].folder, layout.part_name(0, 2))
    part.write_bytes(part.read_bytes() + b"more")
    with pytest.raises(DamagedFileError, match="part-00000-of-00002.parquet"):
        seal(old)
