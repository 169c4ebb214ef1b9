"""What a network gives for trial images is recorded before its shards go out, and compared whenever it is loaded."""

from __future__ import annotations

import json
import shutil
from datetime import timedelta
from pathlib import Path

import pytest
import torch
from silent import Silent

from cluster.pool.local_pool import LocalPool
from cluster.reporting.events import Note
from cluster.runs.study_run import run_study
from cluster.study.study_file import read_study
from featurestore.networks import installation
from featurestore.store.feature_store import rows_table, with_checksum

pytestmark = pytest.mark.slow  # each fits a study or two

TWO_TAPS = '[extract]\ntaps = ["penultimate", "block:0"]\n'


class Unused:
    """A pool that must not be needed."""

    def run(self, lanes, *, note):
        raise AssertionError("something was missing")


@pytest.fixture
def again(study_file, store):
    """Run the study, with workers that hold nothing: (summary, notes)."""

    def run(n_models=1, more="", pool=None, **options):
        reporter, study = Silent(), read_study(study_file(n_models, more))
        with LocalPool() as own:
            summary = run_study(study, store, pool=pool or own, reporter=reporter, **options)
        return summary, [event.text for event in reporter.events if isinstance(event, Note)]

    return run


@pytest.fixture
def upgrade(monkeypatch):
    """Give this installation another timm, and all convolutions another arithmetic."""
    convolve = torch.nn.Conv2d.forward

    def to(version, factor=1.0):
        found = {**installation.versions(), "timm": version}
        monkeypatch.setattr(installation, "versions", lambda: found)
        monkeypatch.setattr("cluster.work.model_trials.versions", lambda: found)
        monkeypatch.setattr(torch.nn.Conv2d, "forward", lambda self, images: factor * convolve(self, images))

    return to


def rows(store):
    return store.read_records("fingerprints")


def lose_a_part(store):
    """Remove a part of the training features, and the manifest: as if the run had been stopped before its end."""
    manifest = next(Path(store.uri).glob("features/*/*/*/split=train/*/manifest.json"))
    part = sorted(manifest.parent.glob("part-*"))[-1]
    manifest.unlink()
    part.unlink()


def drifts(summary):
    return [work.failure.message for work in summary.failures if work.failure.error == "DriftError"]


def test_the_first_run_records_what_each_tap_gives_and_where(again, store):
    again(more=TWO_TAPS)
    found = rows(store)
    assert {row["tap"] for row in found} == {"penultimate", "block:0"}
    assert {(row["model"], row["device"], row["accepted"]) for row in found} == {("tiny_0", "cpu", False)}
    assert "torch" in json.loads(found[0]["versions"])


def test_a_finished_study_needs_no_trial(again):
    again()
    assert again(pool=Unused())[0].exit_code == 0


def test_an_upgrade_that_changes_nothing_is_compared_once_and_said_once(again, store, upgrade):
    again()
    upgrade("9.9.9")
    summary, notes = again()
    assert (summary.exit_code, summary.counts["passes"], summary.counts["cells"]) == (0, 0, 0)
    assert any(note.startswith("To compare: 1 model (tiny_0)") and "timm 9.9.9" in note for note in notes)
    assert any("gives the same features for the trial images with timm 9.9.9 as with timm" in note for note in notes)
    assert len(rows(store)) == 2
    assert again(pool=Unused())[1] == []


def test_an_upgrade_that_changes_features_fails_the_model_and_computes_nothing(again, store, upgrade):
    again()
    upgrade("9.9.9", factor=1.05)
    for _ in range(2):  # it may be mended, so it is tried again
        summary, _ = again()
        (message,) = drifts(summary)
        assert "timm 9.9.9" in message
        assert (summary.exit_code, summary.counts["passes"]) == (1, 0)
    assert len(rows(store)) == 1
    assert len(store.names("results")) == 1


def test_an_upgrade_half_way_adds_nothing_to_the_features(again, store, upgrade):
    again()
    lose_a_part(store)
    upgrade("9.9.9", factor=1.05)
    summary, _ = again()
    assert len(drifts(summary)) == 1
    assert summary.counts["passes"] == 0
    assert not list(Path(store.uri).glob("features/*/*/*/split=train/*/manifest.json"))


def test_drift_that_is_accepted_is_said_recorded_and_counted(again, store, upgrade):
    again()
    lose_a_part(store)
    upgrade("9.9.9", factor=1.05)
    summary, notes = again(accept_drift=True)
    assert summary.exit_code == 0
    assert [note for note in notes if "It is accepted (--accept-drift)" in note]
    assert [row["accepted"] for row in sorted(rows(store), key=lambda row: row["recorded_at"])] == [False, True]
    manifest = json.loads(next(Path(store.uri).glob("features/*/*/*/split=train/*/manifest.json")).read_text())
    assert [made["versions"]["timm"] == "9.9.9" for made in manifest["made_with"]] == [False, True]
    assert again(pool=Unused())[0].exit_code == 0


def forget_what_made_them(store):
    """Manifests as an earlier version wrote them."""
    for path in Path(store.uri).glob("features/**/manifest.json"):
        manifest = json.loads(path.read_text())
        del manifest["made_with"]
        path.write_text(json.dumps(with_checksum(manifest)))


def test_features_that_an_earlier_version_stored_are_not_compared_and_that_is_said(again, store):
    again()
    shutil.rmtree(Path(store.uri, "fingerprints"))
    forget_what_made_them(store)
    assert again(pool=Unused())[0].exit_code == 0
    lose_a_part(store)
    _, notes = again()
    assert any("An earlier version extracted the stored features of 1 model (tiny_0)" in note for note in notes)
    assert len(rows(store)) == 1


def test_a_lost_record_is_made_again_from_what_features_were_made_with(again, store, upgrade):
    again()
    before = rows(store)
    shutil.rmtree(Path(store.uri, "fingerprints"))
    lose_a_part(store)
    upgrade("9.9.9", factor=1.05)
    assert len(drifts(again()[0])) == 1
    upgrade("9.9.9", factor=1.0)
    assert again()[0].exit_code == 0
    assert before[0]["fingerprint"] in [row["fingerprint"] for row in rows(store)]


def test_a_reference_binds_before_the_first_features_are_stored(again, store, upgrade):
    """Another run may be at work on them."""
    again()
    shutil.rmtree(Path(store.uri, "features"))
    upgrade("9.9.9", factor=1.05)
    assert len(drifts(again()[0])) == 1
    assert len(rows(store)) == 1


def test_a_machine_that_workers_do_not_agree_with_in_versions_compares_once(again, monkeypatch):
    again()
    found = {**installation.versions(), "timm": "8.8.8"}
    monkeypatch.setattr("cluster.work.model_trials.versions", lambda: found)  # of the driver only
    assert any(note.startswith("To compare: 1 model") for note in again()[1])
    assert again(pool=Unused())[1] == []


def test_a_reference_of_which_nothing_is_stored_binds_nobody_after_an_hour(again, store, upgrade):
    again()
    shutil.rmtree(Path(store.uri, "features"))
    (old,) = rows(store)
    old["recorded_at"] -= timedelta(hours=2)
    store.publish("fingerprints", old["model_key"], rows_table("fingerprints", [old]))
    upgrade("9.9.9", factor=1.05)
    assert again()[0].exit_code == 0
    (row,) = rows(store)
    assert json.loads(row["versions"])["timm"] == "9.9.9"


def test_the_same_weights_under_another_name_have_a_reference_of_their_own(again, store, upgrade):
    again()
    upgrade("9.9.9", factor=1.05)
    other = '[[model]]\nname = "other"\nbackbone = "python:tiny_network:build"\nweights = "none"\ninput_size = 16\n'
    summary, _ = again(more=f"{other}seed = 0\n")
    assert [work.model for work in summary.failures] == ["tiny_0"]
    assert {row["model"] for row in rows(store)} == {"tiny_0", "other"}
