"""Events as lines of JSON: the contract in the docstring of `cluster.reporting.events` is held to the code."""

import dataclasses
import io
import json
import re
import sys
from datetime import datetime, timedelta

import pytest

from cluster.reporting import events
from cluster.reporting.events import Event, EventLines, Failed, Note, Part, Reporters, RunEnded, StageStarted, UnitDone
from cluster.work import kinds
from cluster.work.kinds import analysis, features, probes, rescore  # noqa: F401 - events of all kinds
from cluster.work.kinds.features import Made, ShardDone
from featurestore import registry


def classes() -> list[type[Event]]:
    """The classes of the modules that are loaded, without those of kinds that other tests have added and taken away."""
    own = [kind for kind in Event.__subclasses__() if kind is not UnitDone]
    return [
        *own,
        *(
            kind
            for kind in UnitDone.__subclasses__()
            if getattr(sys.modules.get(kind.__module__), kind.__name__, None) is kind
        ),
    ]


def contract(text: str) -> dict[str, list[str]]:
    """Name -> fields, of the entries of a module's docstring."""
    entries = re.findall(r"^([a-z_]+): ([a-z_., ]+)$", text, flags=re.MULTILINE)
    return {name: fields.split(", ") for name, fields in entries}


def lines_of(*told: Event) -> list[dict]:
    stream = io.StringIO()
    reporter = EventLines(stream)
    for event in told:
        reporter.tell(event)
    return [json.loads(line) for line in stream.getvalue().splitlines()]


@pytest.mark.parametrize("kind", classes(), ids=lambda kind: kind.name())
def test_every_event_is_documented_in_its_file_with_its_fields(kind):
    fields = [field.name for field in dataclasses.fields(kind)]
    if kind is RunEnded:
        fields = list(RunEnded({"...": 0}, 0, 0.0).fields())
    assert contract(sys.modules[kind.__module__].__doc__)[kind.name()] == fields


def test_every_kind_of_work_has_an_event_of_its_own():
    stages = {kind.stage for kind in classes() if issubclass(kind, UnitDone)}
    assert stages == set(registry.names(kinds))


@pytest.mark.parametrize(("name", "record"), [("stage_started", Part), ("shard_done", Made)])
def test_the_documented_parts_of_an_event_are_those_that_it_has(name, record):
    text = " ".join((events.__doc__ + features.__doc__).split())
    for field in record.__dataclass_fields__:
        assert re.search(rf"\b{field}\b", text), field


def test_the_end_of_a_run_has_the_counts_that_programs_rely_on_whatever_it_was():
    (line,) = lines_of(RunEnded({"measured": 3}, 1, 2.0))
    assert {name: line[name] for name in ("passes", "cells", "cells_wanted", "unreadable", "measured", "failures")} == {
        "passes": 0,
        "cells": 0,
        "cells_wanted": 0,
        "unreadable": 0,
        "measured": 3,
        "failures": 1,
    }


def test_a_line_has_its_time_its_name_and_its_fields():
    made = (Made("resnet50", ("pooled", "cls"), 1.5),)
    (line,) = lines_of(ShardDone("pets", "train", 3, 128, 2.0, "node", made, ("vit",)))
    assert datetime.fromisoformat(line.pop("time")).utcoffset() == timedelta(0)
    assert line == {
        "event": "shard_done",
        "dataset": "pets",
        "split": "train",
        "shard": 3,
        "images": 128,
        "seconds": 2.0,
        "node": "node",
        "models": [{"model": "resnet50", "taps": ["pooled", "cls"], "seconds": 1.5}],
        "failed": ["vit"],
    }


def test_parts_of_a_stage_say_what_is_wanted_and_done():
    (line,) = lines_of(StageStarted("probes", 2, "cells", "cells", (Part("m", "cls", "pets", None, 3, 1),)))
    part = {"model": "m", "tap": "cls", "dataset": "pets", "split": None, "wanted": 3, "done": 1}
    assert line["parts"] == [part]


def test_whatever_a_message_holds_an_event_is_one_line():
    (line,) = lines_of(Failed("extract", "ü", None, None, None, "E", 'two\nlines and "quotes"\x85\u2028'))
    assert line["message"] == 'two\nlines and "quotes"\x85\u2028'


def test_every_line_is_there_as_soon_as_it_is_told(tmp_path):
    with (tmp_path / "events.jsonl").open("a", encoding="utf-8") as stream:
        EventLines(stream).tell(Note("hello"))
        assert json.loads((tmp_path / "events.jsonl").read_text())["text"] == "hello"


def test_several_reporters_are_told_in_their_order():
    told = []

    class Remembers:
        def __init__(self, name):
            self.name = name

        def tell(self, event):
            told.append((self.name, event))

    Reporters(Remembers("a"), Remembers("b")).tell(Note("x"))
    assert told == [("a", Note("x")), ("b", Note("x"))]
