"""Names that differ in case only are two, which is said, or refused where a file system takes them for one."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from cluster.reporting.events import Note, Reporter
from cluster.runs.alike_names import alike_names
from cluster.runs.planning import plan_study
from cluster.runs.study_run import run_study
from cluster.study.study_file import Study, read_study
from featurestore import FeatureStore
from featurestore.errors import ConfigurationError
from featurestore.store import schema
from featurestore.store.storage import Storage


@pytest.fixture
def study(study_file: Any) -> Study:
    """A study of the models tiny_0 and TINY_0."""
    read: Study = read_study(study_file(1))
    (model,) = read.models
    return replace(read, models=(model, replace(model, name="TINY_0", seed=1)))


class Noted(Reporter):
    def __init__(self) -> None:
        self.notes: list[str] = []

    def tell(self, event: object) -> None:
        if isinstance(event, Note):
            self.notes.append(event.text)


@pytest.mark.slow
def test_both_are_computed_and_it_is_said(study: Study, store: FeatureStore, pool: Any) -> None:
    reporter = Noted()
    summary = run_study(study, store, pool=pool, reporter=reporter)
    assert summary.counts["cells"] == 2
    assert [note for note in reporter.notes if "case" in note] == [
        "The models 'TINY_0', 'tiny_0' differ in upper and lower case only. They are kept apart here; where case does "
        "not count (macOS, exFAT, SMB) they would not be."
    ]


def test_names_of_the_store_count_and_others_do_not(study: Study, store: FeatureStore) -> None:
    other = replace(study, name="STUDY", models=study.models[:1])
    assert list(alike_names(other, store)) == []
    store.publish("cells", "study", schema.TABLES["cells"].schema.empty_table())
    assert [note[:30] for note in alike_names(other, store)] == ["The studies 'STUDY', 'study' d"]


def test_a_file_system_that_folds_case_refuses_them_before_anything_is_written(
    study: Study, store: FeatureStore, pool: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert not store.storage.folds_case()
    monkeypatch.setattr(Storage, "folds_case", lambda _: True)
    for start in (lambda: run_study(study, store, pool=pool, reporter=Noted()), lambda: plan_study(study, store)):
        with pytest.raises(ConfigurationError, match="does not tell them apart.*another name, or another store"):
            start()
    assert store.storage.list_files("studies") == []
