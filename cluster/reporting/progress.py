"""What a person sees while a study runs: a live view of the whole grid on a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
import threading
import time

from rich.console import Console
from rich.live import Live
from rich.text import Text

from cluster.reporting.events import Event, Failed, Note, Reporter, Retry, StageEnded, StageStarted
from cluster.reporting.progress_view import duration, nodes_text, number, view
from cluster.reporting.stage_state import Tally
from featurestore.plain_text import visible

_LINE_EVERY_SECONDS = 10.0


class LiveReporter:
    """The grid of models and datasets with the share that is done, redrawn in place."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._tally: Tally | None = None
        self._live: Live | None = None
        self._lock = threading.Lock()  # the view is drawn in a thread of its own

    def tell(self, event: Event) -> None:
        """Take an event into account."""
        match event:
            case StageStarted():
                self._begin(event)
            case StageEnded():
                self._end()
        if line := _line(event):
            self._console.print(Text(visible(line), style="red" if isinstance(event, Failed) else "yellow"))
        with self._lock:
            if self._tally:
                self._tally.add(event, time.monotonic())

    def _begin(self, stage: StageStarted) -> None:
        if not stage.total:
            return
        self._tally = Tally(stage, time.monotonic())
        self._live = Live(console=self._console, get_renderable=self._view, refresh_per_second=4)
        self._live.start()

    def _end(self) -> None:
        if self._live:
            self._live.stop()
        self._live = self._tally = None

    def _view(self) -> Text:
        with self._lock:
            if self._tally is None:
                return Text()
            plain = self._console.options.ascii_only
            return view(self._tally, time.monotonic(), self._console.width, self._console.height, plain=plain)


class PlainReporter:
    """A line at the start and end of a stage and every ten seconds in between, for logs."""

    def __init__(self) -> None:
        self._tally: Tally | None = None
        self._said = 0.0

    def tell(self, event: Event) -> None:
        """Take an event into account."""
        now = time.monotonic()
        if line := _line(event):
            _say(line)
        if isinstance(event, StageStarted) and event.total:
            self._tally, self._said = Tally(event, now), now
            _say(f"{event.stage}: {event.total:,} {event.unit} to do")
        elif self._tally:
            self._tally.add(event, now)
            self._go_on(self._tally, event, now)

    def _go_on(self, tally: Tally, event: Event, now: float) -> None:
        if isinstance(event, StageEnded):
            all_done = tally.handled == tally.stage.total
            state = "done" if all_done else f"stopped at {tally.handled:,} of {tally.stage.total:,}"
            _say(f"{event.stage}: {state} after {duration(event.seconds)}")
            self._tally = None
        elif now - self._said >= _LINE_EVERY_SECONDS and tally.handled < tally.stage.total:
            self._said = now
            _say(_state(tally, now))


def reporter_for(console: Console) -> Reporter:
    """A live view if a person is watching."""
    return LiveReporter(console) if console.is_terminal else PlainReporter()


def _line(event: Event) -> str | None:
    """What is said of an event at once, if anything."""
    match event:
        case Note():
            return event.text
        case Failed() if not event.before:
            return str(event)
        case Retry():
            return f"Worker lost on {event.node}, at {event.task}; trying again. {event.reason}"
    return None


def _state(tally: Tally, now: float) -> str:
    parts = [f"{tally.stage.stage}: {tally.handled:,} of {tally.stage.total:,} {tally.stage.unit}"]
    if (rate := tally.rate(now)) and (left := tally.seconds_left(now)) is not None:
        parts += [f"{number(rate)} per second", f"about {duration(left)} left", nodes_text(tally.nodes(now))]
    parts += [f"{tally.failures} failed"] if tally.failures else []
    parts += [f"{tally.retries} tried again"] if tally.retries else []
    return ", ".join(parts)


def _say(text: str) -> None:
    sys.stderr.write(visible(text) + "\n")
    sys.stderr.flush()
