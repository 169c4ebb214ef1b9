"""The last lines of a run: what the checks found, with commands that can be pasted, and no more than a screen of it."""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import sound_store
from click.testing import CliRunner
from given import score
from PIL import Image

from cluster.cli import cli
from cluster.console import outcome
from cluster.console.outcome import MOST_WARNINGS, show_outcome
from featurestore import FeatureStore, SampleSet
from featurestore.store.feature_store import rows_table
from queries.asking.database import Database


@pytest.mark.slow
def test_images_that_are_all_black_are_said_by_the_run_that_met_them(
    study_file: Callable[..., Path], images: Path, tmp_path: Path
) -> None:
    for number, path in enumerate(sorted(images.rglob("*.png"))):
        pixels = np.zeros((24, 30 + number, 3), np.uint8)  # of different bytes
        Image.fromarray(pixels).save(path)
    study, store = study_file(1, '[probe]\nprobes = ["ridge"]\n'), tmp_path / "the store"
    done = CliRunner().invoke(cli, ["run", str(study), "--local", "--store", str(store)], catch_exceptions=False)
    assert done.exit_code == 0
    text = "Of up to 512 images each of train, val, test, all have the same features (model tiny_0)."
    assert f"  pets: {text}\n" in done.stderr
    assert "  Remarks: made_splits 1. To see them:  probestore query sanity --store " in done.stderr
    command = next(line for line in done.stderr.splitlines() if "query constant_features" in line)
    _, *arguments = shlex.split(command)
    asked = CliRunner().invoke(cli, [*arguments, "--format", "json"], catch_exceptions=False)
    assert [(row["split"], row["spread"], row["equal"]) for row in json.loads(asked.stdout)] == [
        ("train", 0, 1), ("val", 0, 1), ("test", 0, 1)
    ]  # fmt: skip
    again = CliRunner().invoke(
        cli, ["run", str(study), "--local", "--store", str(store), "--events", "-"], catch_exceptions=False
    )
    assert text in again.stderr
    assert all(json.loads(line) for line in again.stdout.splitlines())


def test_a_sound_store_has_nothing_to_say(store: FeatureStore, capsys: pytest.CaptureFixture[str]) -> None:
    store.publish("results", "r", rows_table("results", [score("net", "pets", 0.8, standard_error=0.04)]))
    show_outcome(store)
    shown = capsys.readouterr()
    assert "net" in shown.out
    assert shown.err == ""


def test_no_more_than_a_screen_of_warnings_is_shown_and_the_others_are_counted(
    store: FeatureStore, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [score("net", f"d{i:02}", 0.8, n_test=9) for i in range(MOST_WARNINGS + 3)]
    store.publish("results", "r", rows_table("results", rows))
    show_outcome(store, leaderboard=False)
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "Sanity: 11 warnings, 0 remarks."
    assert len(lines) == 1 + 2 * MOST_WARNINGS + 1
    assert lines[-1] == f"  and 3 more:  probestore query sanity --store {shlex.quote(store.uri)}"


@pytest.mark.slow
def test_a_run_that_computed_nothing_does_not_open_many_image_tables(
    store: FeatureStore, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    store.publish("results", "r", rows_table("results", [score("net", "pets", 0.8, n_test=9)]))
    sound_store.write_images(store, SampleSet("pets", "test", "key"))  # two files
    asked: list[str] = []
    query = Database.query
    monkeypatch.setattr(Database, "query", lambda self, name, **rest: asked.append(name) or query(self, name, **rest))
    monkeypatch.setattr(outcome, "MOST_IMAGE_FILES", 1)
    show_outcome(store, leaderboard=False, computed_features=False)
    assert asked == ["sanity_of_results"]
    said = capsys.readouterr().err
    assert "9 test images" in said
    assert "The images were not looked at. To do so:  probestore query sanity --store" in said
    show_outcome(store, leaderboard=False, computed_features=True)
    monkeypatch.setattr(outcome, "MOST_IMAGE_FILES", 2)
    show_outcome(store, leaderboard=False, computed_features=False)
    assert asked[1:] == ["sanity", "sanity"]
