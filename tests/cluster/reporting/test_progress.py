"""What a person sees: lines for logs, a live view on a terminal."""

import io

import pytest
from rich.console import Console

from cluster.reporting.events import Event, Failed, Note, Part, Retry, StageEnded, StageStarted
from cluster.reporting.progress import LiveReporter, PlainReporter, reporter_for
from cluster.work.kinds.features import Made, ShardDone

STAGE = StageStarted("features", 64, "images x models", "shards", (Part("net", "penultimate", "pets", "train", 8, 0),))
FAILED = Failed("extract", "net", None, "pets", None, "ValueError", "the [bold]message[/bold]", kind="features")


def shard(number: int) -> ShardDone:
    return ShardDone("pets", "train", number, 8, 1.0, "node-1", (Made("net", ("penultimate",), 1.0),))


def whole_stage(*more: Event) -> list[Event]:
    return [STAGE, *map(shard, range(8)), *more, StageEnded("features", 75.0)]


@pytest.fixture
def clock(monkeypatch):
    """Time goes by one second whenever it is asked for."""
    now = iter(range(10_000))
    monkeypatch.setattr("cluster.reporting.progress.time.monotonic", lambda: float(next(now)))


def test_a_log_gets_a_line_now_and_then(clock, capsys):
    reporter = PlainReporter()
    for event in [STAGE, *map(shard, range(4)), *[Note("")] * 9, *map(shard, range(4)), StageEnded("features", 75.0)]:
        reporter.tell(event)
    first, line, last = (line for line in capsys.readouterr().err.splitlines() if line)
    assert first == "features: 64 images x models to do"
    assert line.startswith("features: 32 of 64 images x models, ")
    assert last == "features: done after 1 min 15 s"


def test_a_line_has_rate_time_left_nodes_and_trouble(clock, capsys):
    reporter = PlainReporter()
    for event in [STAGE, *map(shard, range(4)), FAILED, Retry("features", "x", "node lost", "n"), *[Note("")] * 9]:
        reporter.tell(event)
    (line,) = [line for line in capsys.readouterr().err.splitlines() if "per second" in line]
    assert line == (
        "features: 32 of 64 images x models, 3.2 per second, about 10 s left, 1 node: node-1 3.2/s, 1 failed, "
        "1 tried again"
    )


def test_a_stage_that_is_stopped_says_how_far_it_came(capsys):
    reporter = PlainReporter()
    for event in (STAGE, shard(0), StageEnded("features", 75.0)):
        reporter.tell(event)
    assert capsys.readouterr().err.splitlines()[-1] == "features: stopped at 8 of 64 after 1 min 15 s"


def test_a_stage_with_nothing_to_do_is_not_worth_a_line(capsys):
    reporter = PlainReporter()
    for event in (StageStarted("features", 0, "images x models", "shards"), StageEnded("features", 0.0)):
        reporter.tell(event)
    assert capsys.readouterr().err == ""


def test_messages_are_said_at_once_and_as_they_are(capsys):
    reporter = PlainReporter()
    for event in (Note("a note"), FAILED, Retry("features", "pets train shard 3", "The node died.", "n2")):
        reporter.tell(event)
    assert capsys.readouterr().err.splitlines() == [
        "a note",
        "FAILED net on pets: the [bold]message[/bold]",
        "A worker on n2 was lost at pets train shard 3, which is tried again. The node died.",
    ]


@pytest.mark.parametrize("reporter", [PlainReporter(), LiveReporter(Console(stderr=True))], ids=["log", "terminal"])
def test_a_message_cannot_command_the_terminal(reporter, capsys):
    reporter.tell(Failed("extract", "net", None, "pets", None, "ValueError", "\x1b]0;owned\x07 \x9b2J"))
    assert r"\x1b]0;owned\x07 \x9b2J" in capsys.readouterr().err


def test_what_failed_before_is_left_to_the_table_at_the_end(capsys):
    PlainReporter().tell(Failed("probe", "net", None, "pets", "cell", "E", "m", before=True))
    assert capsys.readouterr().err == ""


def live_text(*events: Event, width: int = 80, height: int = 24) -> str:
    stream = io.StringIO()
    console = Console(file=stream, width=width, height=height, force_terminal=True, record=True)
    reporter = LiveReporter(console)
    for event in events:
        reporter.tell(event)
    return console.export_text()


def test_the_live_view_ends_with_what_was_done_and_leaves_messages_above():
    text = live_text(*whole_stage(FAILED, Note("[red]plain[/red]")))
    last = text.rstrip().splitlines()[-3:]
    assert last[0].endswith("100%  64 of 64 images x models")
    assert last[2] == "1 failed"
    assert "FAILED net on pets: the [bold]message[/bold]" in text
    assert "[red]plain[/red]" in text


def test_the_live_view_of_a_large_grid_fits_a_small_terminal():
    models = [f"vit_small_patch{number}_224.augreg_in1k" for number in range(20)]
    parts = tuple(Part(m, "penultimate", f"dataset_{n}", "train", 8, 0) for n in range(12) for m in models)
    text = live_text(StageStarted("features", 64, "images x models", "shards", parts), StageEnded("features", 1.0))
    lines = text.rstrip("\n").splitlines()
    assert max(map(len, lines)) < 80
    assert len(lines) < 2 * 24  # the first and the last picture


def test_a_stage_with_nothing_to_do_shows_no_view():
    assert live_text(StageStarted("features", 0, "images", "shards"), StageEnded("features", 0.0)) == ""


def test_a_person_gets_a_live_view_and_a_file_gets_lines():
    assert isinstance(reporter_for(Console(force_terminal=True)), LiveReporter)
    assert isinstance(reporter_for(Console(file=io.StringIO())), PlainReporter)


def test_the_lines_of_stages_that_run_side_by_side_are_told_apart(capsys):
    reporter = PlainReporter()
    probes = StageStarted("probes", 4, "cells", "cells")
    for event in (STAGE, probes, *map(shard, range(8)), StageEnded("features", 9.0)):
        reporter.tell(event)
    assert capsys.readouterr().err.splitlines() == [
        "features: 64 images x models to do",
        "probes: 4 cells to do",
        "features: done after 9 s",
    ]
