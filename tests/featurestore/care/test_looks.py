"""Checks that read each file once, a share of the files, or what an interrupted check has not read."""

import shutil
from collections import Counter
from pathlib import Path

import pytest
import sound_store
from sound_store import FEATURES, SAMPLES

from featurestore import FeatureStore
from featurestore.care.looks import Looks, open_notes
from featurestore.care.verify import verify
from featurestore.errors import ConfigurationError
from featurestore.store.layout import MANIFEST
from featurestore.store.storage import Storage


@pytest.fixture(scope="module")
def original(tmp_path_factory) -> Path:
    return Path(sound_store.make(str(tmp_path_factory.mktemp("sound") / "store")).uri)


@pytest.fixture
def store(original, tmp_path) -> FeatureStore:
    return FeatureStore.open(str(shutil.copytree(original, tmp_path / "store")))


@pytest.fixture
def reads(monkeypatch) -> Counter[str]:
    """Number of reads of each file."""
    counts: Counter[str] = Counter()
    read = Storage.read_buffer
    monkeypatch.setattr(Storage, "read_buffer", lambda self, name: counts.update([name]) or read(self, name))
    return counts


def parts(store: FeatureStore) -> list[Path]:
    return sorted(Path(store.uri).rglob("part-*.parquet"))


def damage(path: Path) -> None:
    content = path.read_bytes()
    path.write_bytes(content[:40] + bytes([content[40] ^ 1]) + content[41:])


def test_the_images_of_a_shard_are_read_once_for_all_models(store, reads):
    for model in ("other", "third"):
        item = FEATURES["train"].__class__(model, "pets", "train", "key")
        sound_store.write_features(store, item, samples=SAMPLES["train"].key)
    reads.clear()
    assert verify(store).findings == []
    own = {name: n for name, n in reads.items() if "/part-" in name}
    assert len(own) == len(parts(store)) == 16
    assert set(own.values()) == {1}


def test_a_sample_reads_its_share_and_looks_at_all_names_and_manifests(store, reads):
    looks = Looks(share=0.5, seed=1)
    assert verify(store, looks=looks).findings == []
    assert 0 < looks.n_read < looks.n_read + looks.n_left_out == len(parts(store)) + 11
    gone, damaged = Path(store.uri, SAMPLES["val"].folder), Path(store.uri, FEATURES["train"].folder)
    next(gone.glob("part-00001*")).unlink()
    (damaged / MANIFEST).write_text("{}")
    found = {finding.place for finding in verify(store, looks=Looks(share=1e-9)).findings}
    assert f"{FEATURES['train'].folder}/{MANIFEST}" in found
    assert any(place.startswith(SAMPLES["val"].folder) for place in found)


def test_other_seeds_take_other_files_and_the_same_seed_the_same():
    names = [f"results/{i}.parquet" for i in range(2000)]
    first, again, other = ({name for name in names if Looks(share=0.1, seed=s).takes(name)} for s in (0, 0, 1))
    assert first == again != other
    assert 150 < len(first) < 250


def test_damaged_images_are_found_by_the_features_of_a_sample_that_are_compared_with_them(store):
    images, features = (f"{sets['test'].folder}/part-00000-of-00002.parquet" for sets in (SAMPLES, FEATURES))
    seed = next(
        seed
        for seed in range(100)
        if [Looks(share=0.5, seed=seed).takes(name) for name in (images, features)] == [0, 1]
    )
    damage(Path(store.uri, images))
    found = verify(store, looks=Looks(share=0.5, seed=seed)).findings
    assert [finding.place for finding in found] == [images]


class Stopped(Exception):  # noqa: N818 - it is no error
    """What Ctrl-C is to a test."""


def stopped_after(n_bytes: int, store: FeatureStore, report: Path) -> None:
    def progress(done: int, total: int) -> None:
        if done > n_bytes:
            raise Stopped

    with open_notes(report, store.uri) as notes, pytest.raises(Stopped):
        verify(store, threads=1, looks=Looks(notes=notes, progress=progress))


def carried_on(store: FeatureStore, report: Path) -> tuple[Looks, list[str]]:
    with open_notes(report, store.uri) as notes:
        looks = Looks(notes=notes)
        found = [finding.place for finding in verify(store, looks=looks).findings]
        notes.end()
    return looks, found


def test_an_interrupted_check_carries_on_with_what_it_has_not_read(store, tmp_path, reads):
    report = tmp_path / "report"
    stopped_after(20_000, store, report)
    before = [name for name in reads if "/part-" in name]
    report.write_text(report.read_text()[:-5])  # as a kill leaves it
    reads.clear()
    looks, found = carried_on(store, report)
    assert found == []
    assert 0 < len(before) - looks.n_known < 4
    assert looks.n_read + looks.n_known == len(parts(store)) + 11
    anew, _ = carried_on(store, report)
    assert (anew.n_known, anew.n_read) == (0, len(parts(store)) + 11)


def test_who_interrupts_a_check_does_not_wait_for_what_has_not_begun(store, reads):
    for i in range(100):
        store.mark_overflow(FEATURES["train"].__class__(f"net{i}", "pets", "train", "key"), "too large")
    reads.clear()

    def progress(done: int, total: int) -> None:
        if done > sum(path.stat().st_size for path in parts(store)):
            raise Stopped

    with pytest.raises(Stopped):
        verify(store, threads=1, looks=Looks(progress=progress))
    assert sum(name.endswith("/overflow.json") for name in reads) < 50


def test_what_has_changed_or_was_wrong_is_read_again(store, tmp_path):
    report, (first, *_, last) = tmp_path / "report", parts(store)
    damage(first)
    with open_notes(report, store.uri) as notes:
        assert [finding.place for finding in verify(store, looks=Looks(notes=notes)).findings] == [
            str(first.relative_to(store.uri))
        ]
    damage(last)
    looks, found = carried_on(store, report)
    assert found == sorted(str(path.relative_to(store.uri)) for path in (first, last))
    assert looks.n_read >= 2


def test_features_whose_images_could_not_be_read_are_compared_when_they_can(store, tmp_path, monkeypatch):
    report, images = tmp_path / "report", f"{SAMPLES['val'].folder}/part-00000-of-00002.parquet"
    read = Storage.read_sound

    def refused(self, name, is_sound):
        if name == images:
            raise self.damaged(name)
        return read(self, name, is_sound)

    with monkeypatch.context() as patch, open_notes(report, store.uri) as notes:
        patch.setattr(Storage, "read_sound", refused)
        verify(store, looks=Looks(notes=notes))
    looks, _ = carried_on(store, report)
    assert looks.n_read == 2  # the images, and their features


def test_a_report_of_another_store_and_a_file_that_is_none_are_refused(store, tmp_path):
    report = tmp_path / "report"
    stopped_after(0, store, report)
    with pytest.raises(ConfigurationError, match="must be one of the store elsewhere. It is of"):
        open_notes(report, "elsewhere")
    report.write_text("model,dataset\n")
    with pytest.raises(ConfigurationError, match="must be a report that probestore verify has begun"):
        open_notes(report, store.uri)
    assert report.read_text() == "model,dataset\n"
