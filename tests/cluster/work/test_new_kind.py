"""A new kind of work is one file and its plain function: plan, pool, events, failures and resume come with the rest."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from silent import Silent

from cluster.pool.local_pool import LocalPool
from cluster.reporting.events import Failed, StageEnded, StageStarted
from cluster.runs.estimate import summary_lines
from cluster.runs.planning import plan_study
from cluster.runs.study_run import run_study
from cluster.study.study_file import read_study
from cluster.work import kinds
from featurestore import FeatureStore, registry
from queries.asking.database import Database

BRIGHTNESS = '''
"""Brightness: the mean feature of a model on a dataset, written beside the store."""

from collections import deque
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from cluster.reporting.events import Part, Piece, UnitDone
from cluster.work.contract import Run, Work
from cluster.work.ledger import attempt_key
from featurestore.errors import Failure

PLACE = Path({place!r})


def measure(store, item):
    """The plain function."""
    if item.model == "tiny_1" and not (PLACE / "allowed").exists():
        raise ValueError("this network is not to be measured")
    (PLACE / item.model).write_text(str(float(store.read(item).X.mean())))


@dataclass(frozen=True)
class BrightnessDone(UnitDone):
    stage: ClassVar[str] = "brightness"
    model: str
    tap: str
    dataset: str
    node: str
    failed: bool
    amount: ClassVar[int] = 1

    @property
    def worker(self):
        return self.node, 1.0

    def made(self):
        return [] if self.failed else [Piece((self.model, self.tap, self.dataset, None))]


@dataclass(frozen=True)
class Measuring:
    store: object
    pair: object
    amount: ClassVar[int] = 1

    def run(self, hands):
        return measure(self.store.open(hands), self.pair.features.set("train"))

    def split_up(self):
        return [self]

    def __str__(self):
        return f"brightness of {{self.pair.model}}"


def of_study(run: Run):
    return Brightness(run)


class Brightness(Work):
    UNIT = PIECES = "measurements"
    AFTER = ("features",)

    def __init__(self, run):
        self.run, self.read, self.units, self.total = run, 0, deque(), 0
        self.left_alone = {{key for pair in run.pairs if run.ledger.remembers(key := self.key(pair))}}
        self.total = sum(not self.done(pair) and self.key(pair) not in self.left_alone for pair in run.pairs)

    total = 0

    def key(self, pair):
        return attempt_key("brightness", pair.features.train_key)

    def done(self, pair):
        return (PLACE / pair.model).exists()

    def parts(self):
        for pair in self.run.pairs:
            yield Part(pair.model, pair.tap, pair.dataset, None, 1, int(self.done(pair)))

    def missing(self):
        changes, self.read = self.run.pairs.changes[self.read :], len(self.run.pairs.changes)
        for place in changes:
            pair = self.run.pairs[place]
            if self.run.pairs.is_there(place) and not self.done(pair):
                if self.key(pair) in self.left_alone:
                    self.run.ledger.leave_alone(self.key(pair), kind="brightness")
                else:
                    yield Measuring(self.run.address, pair)

    def told(self, unit, outcome, node):
        pair, failed = unit.pair, isinstance(outcome, Failure)
        if failed:
            place = dict(model=pair.model, tap=pair.tap, dataset=pair.dataset)
            self.run.ledger.fail("brightness", outcome, **place, key=self.key(pair), kind="brightness")
        yield BrightnessDone(pair.model, pair.tap, pair.dataset, node, failed)
'''


@pytest.fixture
def brightness(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Put the file of the new kind into a folder, and the folder among those where kinds of work are looked for."""
    measured, folder = tmp_path / "measured", tmp_path / "own_kinds"
    measured.mkdir()
    folder.mkdir()
    (folder / "brightness.py").write_text(BRIGHTNESS.format(place=str(measured)))
    kinds.__path__.append(str(folder))
    yield measured
    kinds.__path__.remove(str(folder))
    sys.modules.pop("cluster.work.kinds.brightness", None)


def run(path: Path, store: FeatureStore, pool: LocalPool, **options: bool) -> Silent:
    reporter = Silent()
    reporter.summary = run_study(read_study(path), store, pool=pool, reporter=reporter, **options)
    return reporter


def test_a_file_in_a_folder_is_a_kind_of_work(brightness: Path) -> None:
    assert "brightness" in registry.names(kinds)


def test_it_is_planned_run_told_recorded_and_resumed(
    brightness: Path, study_file: Callable[..., Path], store: FeatureStore, pool: LocalPool
) -> None:
    path = study_file(2, "[cluster]\nbrightness = { gpus = 0, cpus = 1 }\n")
    assert "2 of 2 measurements" in summary_lines(plan_study(read_study(path), None))[0]

    first = run(path, store, pool)
    assert sorted(file.name for file in brightness.iterdir()) == ["tiny_0"]
    started = [event.stage for event in first.events if isinstance(event, StageStarted)]
    assert started == ["features", "brightness", "probes"]
    assert {event.stage for event in first.events if isinstance(event, StageEnded)} == set(started)
    assert [(event.stage, event.model) for event in first.events if isinstance(event, Failed)] == [
        ("brightness", "tiny_1")
    ]
    assert [event.name() for event in first.events].count("brightness_done") == 2
    with Database(store) as database:
        assert database.sql("select stage, model from failures").to_pylist() == [
            {"stage": "brightness", "model": "tiny_1"}
        ]
        rows = database.sql(
            "select model, wanted, done from progress where stage = 'brightness' order by 1"
        ).to_pylist()
    assert [(row["model"], row["wanted"], row["done"]) for row in rows] == [("tiny_0", 1, 1), ("tiny_1", 1, 0)]

    again = run(path, store, pool)
    assert [(work.model, work.before) for work in again.summary.failures] == [("tiny_1", True)]
    assert [event.name() for event in again.events].count("brightness_done") == 0

    (brightness / "allowed").write_text("")
    third = run(path, store, pool, retry_failed=True)
    assert [event.name() for event in third.events].count("brightness_done") == 1
    assert third.summary.failures == []
    assert (brightness / "tiny_1").exists()
