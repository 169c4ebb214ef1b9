"""What a person sees while a study runs: live bars on a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
import time
from typing import Protocol

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    SpinnerColumn,
    Task,
    TextColumn,
    TimeRemainingColumn,
)
from rich.text import Text

_LINE_EVERY_SECONDS = 10.0


class Reporter(Protocol):
    """Told of everything that happens in a run."""

    def begin(self, stage: str, total: int, unit: str) -> None:
        """A stage of `total` units of work begins."""

    def advance(self, amount: int) -> None:
        """So much of it is done."""

    def end(self) -> None:
        """The stage is over."""

    def note(self, text: str) -> None:
        """Something worth knowing that is no failure."""

    def failed(self, text: str) -> None:
        """A piece of work failed for a reason of its own."""


class LiveReporter:
    """Bars with count, rate, estimated time left and failures."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._progress: Progress | None = None
        self._failures = 0

    def begin(self, stage: str, total: int, unit: str) -> None:
        self._progress = Progress(
            SpinnerColumn(),
            TextColumn("[bold]{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[unit]}"),
            _Rate(),
            TimeRemainingColumn(),
            TextColumn("[red]{task.fields[failed]}"),
            console=self._console,
        )
        self._progress.add_task(stage, total=total, unit=unit, failed=self._failed_text())
        self._progress.start()

    def advance(self, amount: int) -> None:
        if self._progress:
            self._progress.update(self._progress.task_ids[0], advance=amount)

    def end(self) -> None:
        if self._progress:
            self._progress.stop()
            self._progress = None

    def note(self, text: str) -> None:
        self._console.print(text, style="yellow", markup=False, highlight=False)

    def failed(self, text: str) -> None:
        self._failures += 1
        self._console.print(f"FAILED {text}", style="red", markup=False, highlight=False)
        if self._progress:
            self._progress.update(self._progress.task_ids[0], failed=self._failed_text())

    def _failed_text(self) -> str:
        return f"{self._failures} failed" if self._failures else ""


class PlainReporter:
    """A line at the start and end of a stage and every ten seconds in between, for logs."""

    def __init__(self) -> None:
        self._stage, self._unit = "", ""
        self._done, self._total, self._failures = 0, 0, 0
        self._begun = self._said = 0.0

    def begin(self, stage: str, total: int, unit: str) -> None:
        self._stage, self._unit, self._total, self._done = stage, unit, total, 0
        self._begun = self._said = time.monotonic()
        self._say(f"{stage}: {total} {unit} to do")

    def advance(self, amount: int) -> None:
        self._done += amount
        if time.monotonic() - self._said >= _LINE_EVERY_SECONDS and self._done < self._total:
            self._said = time.monotonic()
            seconds = self._said - self._begun
            left = seconds * (self._total - self._done) / max(self._done, 1)
            failed = f", {self._failures} failed" if self._failures else ""
            self._say(
                f"{self._stage}: {self._done} of {self._total} {self._unit}, {self._done / seconds:.3g} per second, "
                f"about {_duration(left)} left{failed}"
            )

    def end(self) -> None:
        state = "done" if self._done == self._total else f"stopped at {self._done} of {self._total}"
        self._say(f"{self._stage}: {state} after {_duration(time.monotonic() - self._begun)}")

    def note(self, text: str) -> None:
        self._say(text)

    def failed(self, text: str) -> None:
        self._failures += 1
        self._say(f"FAILED {text}")

    def _say(self, text: str) -> None:
        sys.stderr.write(text + "\n")
        sys.stderr.flush()


def reporter_for(console: Console) -> Reporter:
    """Bars if a person is watching."""
    return LiveReporter(console) if console.is_terminal else PlainReporter()


class _Rate(ProgressColumn):
    def render(self, task: Task) -> Text:
        speed = task.finished_speed or task.speed
        return Text(f"{speed:.3g}/s" if speed else "", style="cyan")


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"
