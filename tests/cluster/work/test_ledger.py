"""What failed is remembered as long as it would fail again."""

from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from stored import PETS, cell

from cluster.reporting.events import Failed, Note
from cluster.work import ledger as module
from cluster.work.ledger import Ledger, attempt_key, failures_of
from featurestore.errors import BackboneError, DatasetError, Failure, MissingFeaturesError, StoreError
from queries.asking.database import Database

KEY = attempt_key("train", "val", "test")
WRONG = BackboneError("not (batch, features)")


class Recorder:
    def __init__(self):
        self.events = []

    def tell(self, event):
        self.events.append(event)


def ledger(store, *, retry_failed: bool = False) -> tuple[Ledger, Recorder]:
    recorder = Recorder()
    before = {} if retry_failed else failures_of("study", store)
    return Ledger("study", store, recorder, before), recorder


def fail_once(store, error: BaseException | Failure = WRONG, *, stage: str = "extract", key: str | None = KEY) -> None:
    books, _ = ledger(store)
    books.fail(stage, error, model="net", tap="cls", dataset="pets", key=key)
    books.close()


def test_what_failed_is_not_tried_again_and_is_still_a_failure(store):
    fail_once(store)
    books, recorder = ledger(store)
    assert books.remembers(KEY)
    books.leave_alone(KEY, kind="features")
    (work,) = books.summary.failures
    assert (work.stage, work.model, work.failure.error, work.before) == ("extract", "net", "BackboneError", True)
    assert books.summary.n_failed_before == 1
    note, failed = recorder.events
    assert isinstance(note, Note)
    assert "1 failure of an earlier run" in note.text
    assert "--retry-failed" in note.text
    assert failed == Failed(
        "extract", "net", "cls", "pets", None, "BackboneError", "not (batch, features)", before=True, kind="features"
    )


def test_it_is_remembered_from_run_to_run_with_the_time_of_the_first(store):
    fail_once(store)
    first = failures_of("study", store)[KEY].failed_at
    for _ in range(2):
        books, _ = ledger(store)
        books.leave_alone(KEY, kind="features")
        books.close()
    assert failures_of("study", store)[KEY].failed_at == first


def test_another_key_is_another_attempt(store):
    fail_once(store)
    books, _ = ledger(store)
    assert not books.remembers(attempt_key("train", "val", "other"))


def test_all_is_tried_again_when_asked_for(store):
    fail_once(store)
    books, recorder = ledger(store, retry_failed=True)
    assert not books.remembers(KEY)
    assert recorder.events == []
    books.close()
    assert failures_of("study", store) == {}


def test_what_is_not_wanted_any_more_is_forgotten_when_the_run_is_over(store):
    fail_once(store)
    ledger(store)[0].close()
    assert failures_of("study", store) == {}


def test_a_run_that_is_killed_forgets_nothing(store):
    fail_once(store)
    books, _ = ledger(store)
    books.fail("model", WRONG, model="other")
    books.publish()
    assert KEY in failures_of("study", store)


def test_a_failure_without_a_key_is_tried_again(store):
    fail_once(store, stage="model", key=None)
    assert failures_of("study", store) == {}


@pytest.mark.parametrize(
    "error",
    [
        StoreError("disk full"),
        MissingFeaturesError("gone"),
        MemoryError(),
        torch.OutOfMemoryError("CUDA out of memory."),
        RuntimeError("[enforce fail at alloc_cpu.cpp] DefaultCPUAllocator: can't allocate memory"),
        ConnectionError("reset"),
        ModuleNotFoundError("No module named 'cuml'"),
        Failure("WorkerDied", "3 workers died one after another", "passing"),
    ],
    ids=lambda error: error.error if isinstance(error, Failure) else type(error).__name__,
)
def test_what_the_machine_is_to_blame_for_is_tried_again(store, error):
    fail_once(store, error)
    assert failures_of("study", store) == {}


@pytest.mark.parametrize("error", [WRONG, ValueError("no"), RuntimeError("size mismatch")], ids=repr)
def test_what_raises_for_a_reason_of_its_own_would_do_so_again(error):
    assert not Failure.of(error).passing


def test_failures_that_an_older_version_left_are_tried_again(store):
    """Its rows have no key."""
    fail_once(store, key=None)
    with Database(store) as database:
        assert database.sql("select key from failures").to_pylist() == [{"key": None}]
    assert failures_of("study", store) == {}


def test_another_version_of_the_code_is_another_attempt(monkeypatch):
    monkeypatch.setattr(module, "_versions", lambda: {"probestore": "999"})
    assert attempt_key("train", "val", "test") != KEY


def test_what_cannot_be_had_today_is_still_wanted(store):
    """Its disk is not mounted: its cells must not look like something that no study needs."""
    ledger = Ledger("study", store, Recorder())
    ledger.want([cell("knn"), cell("knn", features=replace(PETS, dataset="zoo"))])
    later = Ledger("study", store, Recorder())
    later.fail("dataset", DatasetError("there is no folder"), dataset="zoo")
    later.want([cell("knn")])
    assert {row["dataset"] for row in store.read_record("cells", "study").to_pylist()} == {"pets", "zoo"}
    assert later.summary.counts["cells_wanted"] == 1
    last = Ledger("study", store, Recorder())
    last.want([cell("knn")])
    assert {row["dataset"] for row in store.read_record("cells", "study").to_pylist()} == {"pets"}


def test_wanted_cells_say_what_wants_them(store):
    for study_file in ("/data/study.toml", None):
        Ledger("study", store, Recorder(), study_file=study_file).want([cell("knn")])
        (row,) = store.read_record("cells", "study").to_pylist()
        assert (row["study_file"], row["made"]) == (study_file, None)


def dropped(store) -> dict[str, str]:
    """Probes of the dropped cells of the study, and the files that wanted them."""
    rows = store.read_record("dropped_cells", "study").to_pylist() if store.has_record("dropped_cells", "study") else []
    assert all(row["dropped_at"] > row["wanted_at"] for row in rows)
    return {row["probe"]: row["study_file"] for row in rows}


def test_wishes_that_a_study_has_no_more_are_kept_each_once_until_it_has_them_again(store):
    def want(study_file: str, *probes: str) -> None:
        Ledger("study", store, Recorder(), study_file=study_file).want([cell(probe) for probe in probes])

    want("/a.toml", "knn", "ncm")
    assert not store.has_record("dropped_cells", "study")
    want("/b.toml", "ncm", "ridge")
    assert dropped(store) == {"knn": "/a.toml"}
    want("/b.toml", "ridge")
    assert dropped(store) == {"knn": "/a.toml", "ncm": "/b.toml"}
    want("/c.toml", "ncm", "knn")
    assert dropped(store) == {"ridge": "/b.toml"}


def test_wishes_that_change_during_a_run_are_dropped_as_well(store):
    ledger = Ledger("study", store, Recorder(), study_file="/a.toml")
    ledger.want([cell("knn"), cell("ncm")])
    ledger.want([cell("ncm")])
    assert dropped(store) == {"knn": "/a.toml"}


def test_what_is_out_of_reach_is_wanted_by_the_file_that_was_run_last(store):
    Ledger("study", store, Recorder(), study_file="/a.toml").want([cell("knn")])
    later = Ledger("study", store, Recorder(), study_file="/b.toml")
    later.fail("dataset", DatasetError("there is no folder"), dataset="pets")
    later.want([])
    assert [row["study_file"] for row in store.read_record("cells", "study").to_pylist()] == ["/b.toml"]
    assert dropped(store) == {}


def test_failures_are_published_now_and_then_and_at_the_end_and_not_one_by_one(store, monkeypatch):
    published = []
    publish = type(store).publish
    monkeypatch.setattr(type(store), "publish", lambda *args: (published.append(args[1]), publish(*args)))
    books, _ = ledger(store)
    for number in range(20):
        books.fail("probe", WRONG, model=f"net{number}")
    books.close()
    assert published.count("failures") == 2, "the first at once, the rest together"
    assert store.read_record("failures", "study").num_rows == 20


def test_thousands_of_failures_are_written_a_few_times_each_however_many_there_are(store, monkeypatch):
    """Ten seconds pass before each of them."""
    written = []
    publish = type(store).publish

    def counted(*args):
        written.append(len(args[3]))
        return publish(*args)

    monkeypatch.setattr(type(store), "publish", counted)
    monkeypatch.setattr(module, "_EVERY_SECONDS", 0.0)
    books, _ = ledger(store)
    for number in range(5000):
        books.fail("probe", WRONG, model=f"net{number}")
        assert len(books.summary.failures) < 1.25 * max(written) + 1, "a killed run would lose more"
    books.close()
    assert sum(written) < 6 * 5000
    assert written[-1] == store.read_record("failures", "study").num_rows == 5000


def test_a_failure_is_in_the_table_after_some_minutes_however_many_there_are(store, monkeypatch):
    now = 1000.0
    monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=lambda: now))
    books, _ = ledger(store)
    for number in range(9):
        books.fail("probe", WRONG, model=f"net{number}")
    books.publish()
    now += 301
    books.fail("probe", WRONG, model="last")
    assert store.read_record("failures", "study").num_rows == 10


def test_the_books_of_a_plan_record_nothing(store):
    fail_once(store)
    books = Ledger("study", None, Recorder(), failures_of("study", store))
    books.want([cell("knn")])
    books.fail("model", WRONG, model="other")
    books.close()
    assert store.names("cells") == set()
    assert set(failures_of("study", store)) == {KEY}
