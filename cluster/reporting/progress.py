"""Reporters for people: a live view of the whole grid on a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
import threading
import time

from rich.console import Console
from rich.live import Live
from rich.text import Text

from cluster.reporting.events import Event, Failed, Note, Reporter, Retry, StageChanged, StageEnded, StageStarted
from cluster.reporting.progress_view import nodes_text, number, view
from cluster.reporting.stage_state import StageState
from featurestore.plain_text import duration, visible

_LINE_EVERY_SECONDS = 10.0


class LiveReporter:
    """A live view: a grid of models and datasets with the share that is done, redrawn in place.

    Stages run side by side. The view shows all that are not over.
    """

    def __init__(self, console: Console) -> None:
        self._console = console
        self._stages: dict[str, StageState] = {}
        self._live: Live | None = None
        self._lock = threading.Lock()  # the view is drawn in a thread of its own

    def tell(self, event: Event) -> None:
        """Take an event into account."""
        now = time.monotonic()
        with self._lock:
            if isinstance(event, StageStarted) and event.total:
                self._stages[event.stage] = StageState(event, now)
            for state in self._stages.values():
                state.add(event, now)
        if isinstance(event, StageStarted | StageChanged) and self._stages and not self._live:
            self._live = Live(console=self._console, get_renderable=self._view, refresh_per_second=4)
            self._live.start()
        if line := _line(event):
            self._console.print(Text(visible(line), style="red" if isinstance(event, Failed) else "yellow"))
        if isinstance(event, StageEnded):
            self._end(event.stage)

    def _end(self, stage: str) -> None:
        """Leave the last view on the screen when the last stage is over."""
        over = all(name == stage for name in self._stages)
        if over and self._live:
            self._live.stop()
            self._live = None
        with self._lock:
            self._stages.pop(stage, None)

    def _view(self) -> Text:
        with self._lock:
            plain = self._console.options.ascii_only
            states = list(self._stages.values())
            return view(states, time.monotonic(), self._console.width, self._console.height, plain=plain)


class PlainReporter:
    """Lines for logs: one at the start and one at the end of a stage, and one every ten seconds in between."""

    def __init__(self) -> None:
        self._stages: dict[str, StageState] = {}
        self._said = 0.0

    def tell(self, event: Event) -> None:
        """Take an event into account."""
        now = time.monotonic()
        if line := _line(event):
            _say(line)
        if isinstance(event, StageStarted) and event.total:
            self._said = self._said if self._stages else now
            self._stages[event.stage] = StageState(event, now)
            _say(f"{event.stage}: {event.total:,} {event.unit} to do")
        for state in self._stages.values():
            state.add(event, now)
        if isinstance(event, StageEnded) and event.stage in self._stages:
            _say(_ending(self._stages.pop(event.stage), event.seconds))
        elif self._stages and now - self._said >= _LINE_EVERY_SECONDS:
            self._said = now
            open_stages = [state for state in self._stages.values() if state.handled < state.total]
            for state in open_stages:
                if state.handled or state is open_stages[0]:  # the others wait for the first
                    _say(_state(state, now))


def reporter_for(console: Console) -> Reporter:
    """Return a live view if a person is watching."""
    return LiveReporter(console) if console.is_terminal else PlainReporter()


def _line(event: Event) -> str | None:
    """Return the line that an event calls for at once, if any."""
    match event:
        case Note():
            return event.text
        case Failed() if not event.before:
            return str(event)
        case Retry():
            return f"A worker on {event.node} was lost at {event.task}, which is tried again. {event.reason}"
    return None


def _ending(state: StageState, seconds: float) -> str:
    done = state.handled >= state.total
    how = "done" if done else f"stopped at {state.handled:,} of {state.total:,}"
    return f"{state.name}: {how} after {duration(seconds)}"


def _state(state: StageState, now: float) -> str:
    parts = [f"{state.name}: {state.handled:,} of {state.total:,} {state.unit}"]
    if (rate := state.rate(now)) and (left := state.seconds_left(now)) is not None:
        parts += [f"{number(rate)} per second", f"about {duration(left)} left", nodes_text(state.nodes(now))]
    parts += [f"{state.failures} failed"] if state.failures else []
    parts += [f"{state.retries} tried again"] if state.retries else []
    return ", ".join(parts)


def _say(text: str) -> None:
    sys.stderr.write(visible(text) + "\n")
    sys.stderr.flush()
