"""`probestore verify` and `probestore gc`, as they are typed."""

import json
import os
import sys
import time
from pathlib import Path

import pytest
from sound_store import CELL, FEATURES, NOW, SAMPLES, make, want, write_features

from cluster.runs.study_run import identified, opened
from cluster.study.study_file import Study, read_study
from featurestore import FeatureSet, FeatureStore
from featurestore.errors import StoreError
from featurestore.extraction.extract import extract_shard
from featurestore.extraction.shards import FullSet, Job
from featurestore.networks.extractor import Extractors
from featurestore.networks.identity import feature_set
from featurestore.store.feature_store import rows_table
from featurestore.store.schema import SPLITS
from featurestore.store.storage import Storage
from featurestore.store.wishes import put_wishes, wishes_of

ELSEWHERE = {
    **CELL,
    **{f"{split}_key": "elsewhere" for split in SPLITS},
    "cell": "c2",
    "study": "other",
    "wanted_at": NOW,
}
OLD = FeatureSet("net", "pets", "train", "of-older-weights")


@pytest.fixture
def store(tmp_path) -> FeatureStore:
    return make(str(tmp_path / "sound"))


def test_a_sound_store_is_said_to_be_sound(command, store):
    code, out, err = command("verify", "--store", store.uri)
    assert (code, out) == (0, "")
    assert err.startswith("Checked 6 sets and 11 records")
    assert err.endswith("no errors, no warnings.\n")


def test_an_error_is_a_row_and_exit_code_1(command, store):
    part = next(Path(store.uri, FEATURES["train"].folder).glob("part-*"))
    part.write_bytes(part.read_bytes()[:-1])
    code, out, err = command("verify", "--store", store.uri, "--format", "json")
    (row,) = json.loads(out)
    assert code == 1
    assert (row["severity"], row["place"]) == ("error", f"{FEATURES['train'].folder}/{part.name}")
    assert "1 error, no warnings" in err


def test_damage_is_mended_by_the_command_that_a_check_names(command, store):
    (Path(store.uri, "predictions") / "c1.parquet").write_bytes(b"")
    code, _, err = command("verify", "--store", store.uri)
    assert (code, err.splitlines()[-1]) == (1, f"Mend it:  probestore verify --mend --store {store.uri}")
    code, _, err = command("verify", "--mend", "--store", store.uri)
    assert (code, "Removed 1 file of predictions: " in err, "Removed 1 file of results: " in err) == (0, True, True)
    assert err.splitlines()[-1].endswith(f"Run it: probestore run STUDY.toml --store {store.uri}")
    assert command("verify", "--store", store.uri)[0] == 0
    assert command("verify", "--mend", "--store", store.uri)[0] == 0
    assert "do not go together" in command("verify", "--mend", "--seal", "--store", store.uri)[2]


def test_a_file_that_cannot_be_read_now_is_exit_code_3_and_stays(command, store, monkeypatch):
    def refused(storage: Storage, name: str) -> object:
        raise StoreError(f"Cannot read {name}: HTTP status 403")

    monkeypatch.setattr(Storage, "read_intact", refused)
    files = store.storage.list_files("")
    for arguments in (["verify"], ["verify", "--mend"], ["verify", "--seal"]):
        code, out, err = command(*arguments, "--store", store.uri)
        assert (code, "it cannot be read now" in out, "files could not be read now" in err) == (3, True, True)
    assert store.storage.list_files("") == files


def test_a_sample_is_said_to_be_one_and_mends_nothing(command, store):
    code, _, err = command("verify", "--sample", 0.5, "--seed", 1, "--store", store.uri)
    assert code == 0
    assert "This was a sample: the content of " in err
    assert " of 23 files was read (--sample 0.5, --seed 1); damage in the others is not known." in err
    assert "--sample goes with none of" in command("verify", "--sample", 0.5, "--mend", "--store", store.uri)[2]


def test_a_check_that_could_not_read_a_file_carries_on_from_its_report(command, store, tmp_path, monkeypatch):
    check = ("verify", "--report", tmp_path / "report.jsonl", "--store", store.uri)
    read = Storage.read_intact

    def refused(storage: Storage, name: str) -> object:
        if name == "heads/weights.parquet":
            raise StoreError(f"Cannot read {name}: HTTP status 403")
        return read(storage, name)

    with monkeypatch.context() as patch:
        patch.setattr(Storage, "read_intact", refused)
        assert command(*check)[0] == 3
    code, _, err = command(*check)
    assert code == 0
    assert "Of these, 22 files had been read since" in err
    assert "Of these" not in command(*check)[2]


def test_garbage_is_listed_and_removed_only_when_asked_to(command, store):
    write_features(store, OLD, samples=SAMPLES["train"].key)
    listing = ("gc", "--store", store.uri, "--older-than", 0, "--format", "json")
    time.sleep(0.01)
    code, out, err = command(*listing)
    (row,) = json.loads(out)
    assert (code, row["place"], row["files"], row["wanted_by"]) == (0, OLD.folder, 3, None)
    assert "Nothing was removed. To remove these files, add --delete" in err
    assert store.has(OLD)
    code, _, err = command(*listing, "--delete")
    assert code == 0
    assert err.startswith("Removed ")
    assert not store.has(OLD)
    assert command("verify", "--store", store.uri)[0] == 0


def test_garbage_has_the_study_that_wanted_it_last_and_removing_forgets_its_wish(command, store):
    gc = ("gc", "--store", store.uri, "--older-than", 0)
    want(store, "other")
    put_wishes(store, "study", rows_table("cells", []), former=wishes_of(store, "study"))
    assert "Every file is needed" in command(*gc)[2]
    put_wishes(store, "other", rows_table("cells", [ELSEWHERE]), former=wishes_of(store, "other"))
    time.sleep(0.01)
    code, out, _ = command(*gc, "--format", "json")
    assert (code, {row["wanted_by"] for row in json.loads(out)}) == (0, {f"study study on {NOW:%Y-%m-%d %H:%M} UTC"})
    assert store.names("dropped_cells") == {"study", "other"}
    assert command(*gc, "--delete")[0] == 0
    assert store.names("dropped_cells") == set()


def test_what_was_written_today_is_left_alone_by_default(command, store):
    write_features(store, OLD, samples=SAMPLES["train"].key)
    assert "too young to be judged" in command("gc", "--store", store.uri, "--delete")[2]
    assert store.has(OLD)


def test_a_storage_option_that_is_none_is_not_repeated(command):
    code, _, err = command("verify", "--store", "s3://bucket/store", "--storage-option", "secret_key")
    assert (code, "KEY=VALUE" in err, "secret_key" in err) == (2, True, False)
    code, _, err = command("verify", "--store", "s3://bucket/store", "--storage-option", "secretkey=hidden")
    assert (code, "Did you mean 'secret_key'" in err, "hidden" in err) == (2, True, False)


def extract_study(study: Study, store: FeatureStore) -> None:
    """Everything that a study of one tap wants, without Ray."""

    def fail(stage: str, error: BaseException, **_: object) -> None:
        raise error

    sys.path.insert(0, str(study.folder))
    models, datasets = identified(study, fail), opened(study, fail)
    for dataset in datasets.values():
        for split in SPLITS:
            jobs = [Job(m, ((feature_set(m, dataset, split, "float16"), "float16"),)) for m in models.values()]
            for shard in range(dataset.n_shards(split)):
                extract_shard(store, dataset, split, shard, jobs, Extractors("cpu"), batch_size=4, decode_threads=1)
            for model in models.values():
                FullSet.of_features(model, dataset, split, "float16").complete(store)
            FullSet.of_samples(dataset, split).complete(store)


def test_a_deep_check_finds_an_image_that_was_replaced(command, study_file, tmp_path, images):
    store = FeatureStore.create(str(tmp_path / "store"))
    study = study_file(2)
    extract_study(read_study(study), store)
    deep = ("verify", "--store", store.uri, "--study", study, "--deep", 1000, "--seed", 3)
    code, out, err = command(*deep)
    assert (code, out) == (0, ""), err
    replaced = sorted(images.rglob("*.png"))[0]
    before = replaced.stat()
    content = replaced.read_bytes()
    replaced.write_bytes(sorted(images.rglob("*.png"))[-1].read_bytes()[: len(content)].ljust(len(content), b"\0"))
    os.utime(replaced, ns=(before.st_atime_ns, before.st_mtime_ns))  # neither size nor time of change give it away
    code, out, _ = command(*deep, "--format", "json")
    found = json.loads(out)
    assert code == 1
    assert {row["place"].split("/")[1] for row in found if row["severity"] == "error"} == {
        "model=tiny_0",
        "model=tiny_1",
    }


def test_a_deep_check_needs_a_study(command, store):
    code, _, err = command("verify", "--store", store.uri, "--deep", 5)
    assert (code, "go together" in err) == (2, True)
