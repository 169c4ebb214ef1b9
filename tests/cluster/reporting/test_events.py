"""Events as lines of JSON: the contract in the docstring of `cluster.reporting.events` is held to the code."""

import dataclasses
import io
import json
import re
from datetime import datetime, timedelta

import pytest

from cluster.reporting import events
from cluster.reporting.events import Event, EventLines, Failed, Made, Note, Part, Reporters, ShardDone, StageStarted


def kinds() -> dict[str, type[Event]]:
    return {kind.name(): kind for kind in Event.__subclasses__()}


def contract() -> dict[str, list[str]]:
    """Name -> fields, of the entries of the module's docstring."""
    entries = re.findall(r"^([a-z_]+): ([a-z_, ]+)$", events.__doc__, flags=re.MULTILINE)
    return {name: fields.split(", ") for name, fields in entries}


def lines_of(*told: Event) -> list[dict]:
    stream = io.StringIO()
    reporter = EventLines(stream)
    for event in told:
        reporter.tell(event)
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_the_documented_events_are_those_that_there_are():
    assert {name: [field.name for field in dataclasses.fields(kind)] for name, kind in kinds().items()} == contract()


@pytest.mark.parametrize("name", sorted(kinds()))
def test_the_documented_parts_of_an_event_are_those_that_it_has(name):
    text = " ".join(events.__doc__.split())
    for field in {"stage_started": Part, "shard_done": Made}.get(name, Note).__dataclass_fields__:
        assert re.search(rf"\b{field}\b", text), field


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
