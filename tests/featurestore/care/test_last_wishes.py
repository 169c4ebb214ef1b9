"""Of what no study needs any more, it is said who wanted it last, as long as it is there."""

import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sound_store import CELL, FEATURES, NOW, SAMPLES, make, write_features

from featurestore import FeatureSet, FeatureStore
from featurestore.care import garbage
from featurestore.care.verify import verify
from featurestore.store.feature_store import rows_table
from featurestore.store.wishes import put_wishes, wishes_of

AT_ONCE = timedelta(0)
ELSEWHERE = {f"{split}_key": "elsewhere" for split in SAMPLES}


def wish(study: str, cell: str = "c1", **changes: object) -> dict[str, object]:
    keys = {f"{split}_key": FEATURES[split].key for split in SAMPLES}
    row = {**CELL, **keys, "cell": cell, "study": study, "model_key": "weights", "wanted_at": NOW}
    return {**row, "study_file": f"/{study}.toml", **changes}


def put(store: FeatureStore, study: str, *rows: dict[str, object]) -> None:
    put_wishes(store, study, rows_table("cells", rows), former=wishes_of(store, study))


@pytest.fixture
def store(tmp_path: Path) -> FeatureStore:
    """A store of two studies, of which the second, of an earlier version, wants what is nowhere."""
    store = make(str(tmp_path / "store"))
    put(store, "other", wish("other", "c2", model_key="others", study_file=None, **ELSEWHERE))
    put(store, "study", wish("study"))
    return store


def found(store: FeatureStore) -> dict[str, str | None]:
    """What is garbage, and who wanted it last."""
    time.sleep(0.01)  # what was written in this instant is not older than nothing
    return {item.place: item.wanted_by and str(item.wanted_by) for item in garbage.find(store, older_than=AT_ONCE)}


def dropped(store: FeatureStore) -> set[tuple[str, str]]:
    return {(row["study"], row["cell"]) for row in store.read_records("dropped_cells")}


def analyse(store: FeatureStore) -> None:
    """What was analysed of the features."""
    keys = {f"{split}_key": FEATURES[split].key for split in SAMPLES}
    own = {name: CELL[name] for name in ("model", "dataset", "setting", "tap")}
    row = {**own, **keys, "analysis": "a", "n_images": 7, "dim": 4, "seconds": 1.0, "created_at": NOW}
    store.publish("representations", "a", rows_table("representations", [row]))


def test_everything_that_a_study_wanted_says_so(store):
    analyse(store)
    assert found(store) == {}
    put(store, "study")
    said = f"study study (/study.toml) on {NOW:%Y-%m-%d %H:%M} UTC"
    records = [f"{table}/c1.parquet" for table in ("results", "tuning", "predictions")]
    sets = [item.folder for item in (*FEATURES.values(), *SAMPLES.values())]
    assert found(store) == dict.fromkeys([*records, *sets, "heads/weights.parquet", "representations/a.parquet"], said)


def test_of_several_studies_the_one_is_named_that_wanted_it_last(store):
    later = NOW.astimezone(UTC) + timedelta(hours=1)
    put(store, "later", wish("later", wanted_at=later, study_file=None))
    for study in ("later", "study"):
        put(store, study)
    assert set(found(store).values()) == {f"study later on {later:%Y-%m-%d %H:%M} UTC"}


def test_what_nobody_wanted_and_what_an_older_version_dropped_has_no_name(store):
    write_features(store, old := FeatureSet("net", "pets", "train", "of-older-weights"), samples=SAMPLES["train"].key)
    assert found(store) == {old.folder: None}
    store.publish("cells", "study", rows_table("cells", []))
    assert set(found(store).values()) == {None}


def test_images_of_incomplete_features_are_those_of_the_datasets_record(store):
    for item in FEATURES.values():
        Path(store.uri, item.folder, "manifest.json").unlink()
    splits = {f"{split}_samples": SAMPLES[split].key for split in SAMPLES}
    store.publish("datasets", "pets", rows_table("datasets", [{"dataset": "pets", **splits, "recorded_at": NOW}]))
    put(store, "study")
    put(store, "other", wish("other", "c2", model_key="others", dataset="zoo", **ELSEWHERE))
    assert {place for place, by in found(store).items() if not by} == set()


def test_results_that_were_set_aside_are_those_of_their_cell(store):
    for table in ("results", "tuning"):
        rows = store.read_record(table, "c1").to_pylist()
        more = {"replaced": "a reason"} if table == "results" else {}
        store.publish(table, "former", rows_table(table, [{**row, "cell": "former", **more} for row in rows]))
    assert {place: by is not None for place, by in found(store).items()} == {
        "results/former.parquet": True,
        "tuning/former.parquet": True,
    }


def test_a_wish_is_forgotten_when_all_that_it_led_to_is_removed(store):
    put(store, "study", wish("study", "c3", **ELSEWHERE))
    put(store, "study", wish("study"))
    assert dropped(store) == {("study", "c3")}
    garbage.remove(store, [])
    assert dropped(store) == set(), "nothing was ever made of it"
    put(store, "study")
    time.sleep(0.01)
    items = garbage.find(store, older_than=AT_ONCE)
    garbage.remove(store, [item for item in items if item.kind != "heads"])
    assert dropped(store) == {("study", "c1")}, "the classifier is there still"
    garbage.remove(store, items)
    assert dropped(store) == set()
    assert store.names("dropped_cells") == set()
    assert verify(store).findings == []


def test_a_wish_that_is_dropped_while_files_are_removed_stays(store, monkeypatch):
    forget = garbage.forget

    def meanwhile(*args: object, **options: datetime) -> None:
        put(store, "study")
        forget(*args, **options)

    monkeypatch.setattr(garbage, "forget", meanwhile)
    garbage.remove(store, [])
    assert dropped(store) == {("study", "c1")}
