"""The events of a run. The live view, the file of ``--events FILE`` and the table `progress` are made from them.

``--events FILE`` appends one JSON object per line and flushes it, so that a program can follow the file; ``-`` is
standard output. Every line has ``time`` (UTC, ISO 8601), ``event`` (a name below) and the fields of that event. This is
a contract: later versions may add events and fields, but none changes its meaning.

run_started: study, store, models, datasets, version
    A run begins. `models` and `datasets` are names; `version` is that of probestore.
stage_started: stage, total, unit, pieces, parts
    A kind of work begins. The run is to do `total` of `unit` now, in pieces such as shards or cells. Stages run side by
    side. Each of `parts` has a model, tap, dataset and split (null for work that reads all three), the number of its
    pieces that are wanted, and the number of those that were done before.
stage_changed: stage, total, parts
    There is more or less to do than at first, for instance because a network has no classifier of its own.
failed: stage, model, tap, dataset, cell, error, message, before, kind
    Work failed for a reason of its own. A null model, tap or dataset stands for all of them. `before` is true for work
    that failed in an earlier run and was not tried again, because nothing that it depends on has changed. `kind` is the
    stage that the work belongs to; it is null for a model or a dataset that cannot be used at all.
retry: stage, task, reason, node
    The machine broke a unit of work, which is tried again.
note: text
    The text is worth knowing, but is no failure.
stage_ended: stage, seconds
    A stage is over, whether all of it was done or not.
run_ended: passes, cells, cells_wanted, unreadable, ..., failures, seconds
    The run is over. `passes` are images x models that were computed, `cells` were fitted, `cells_wanted` are there or
    missing, `unreadable` are images. Other kinds of work add counts of their own. `failures` is the number of failures.
    A run that was stopped does not write this event.

Each kind of work has an event of its own for a unit that is over, described in its file of `cluster.work.kinds`:
shard_done, cell_done, and so on.
"""

from __future__ import annotations

import json
import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any, ClassVar, Protocol, TextIO


@dataclass(frozen=True)
class Event:
    """An event of a run. The docstring of the module describes each class."""

    @classmethod
    def name(cls) -> str:
        """Return the event's name in JSON."""
        return re.sub(r"(?<=[a-z])(?=[A-Z])", "_", cls.__name__).lower()

    def fields(self) -> dict[str, Any]:
        """Return the fields as they stand in JSON."""
        return asdict(self)


@dataclass(frozen=True)
class Part:
    """The work of one kind on one model and one dataset, whose progress is shown.

    Attributes
    ----------
    split : str or None
        Split of the dataset; None for work that reads all three.
    wanted, done : int
        Number of pieces (shards, cells) that are wanted, and of those that were there when the stage began.
    """

    model: str
    tap: str
    dataset: str
    split: str | None
    wanted: int
    done: int

    @property
    def place(self) -> tuple[str, str, str, str | None]:
        """Model, tap, dataset and split: unique in a stage."""
        return (self.model, self.tap, self.dataset, self.split)


@dataclass(frozen=True)
class Piece:
    """A piece of a part that is done now.

    Attributes
    ----------
    place : tuple
        Place of the part.
    images : int
        Number of images that went through the network for it.
    seconds : float
        Time that a worker took for these images.
    """

    place: tuple[str, str, str, str | None]
    images: int = 0
    seconds: float = 0.0


@dataclass(frozen=True)
class UnitDone(Event, ABC):
    """A unit of work is over. Each kind of work has a class of its own with more fields.

    Attributes
    ----------
    stage : str
        Name of the kind of work.
    """

    stage: ClassVar[str]

    @property
    @abstractmethod
    def amount(self) -> int:
        """Amount of work that is over, in the unit of the stage."""

    @property
    @abstractmethod
    def worker(self) -> tuple[str, float]:
        """Node that did the unit, and seconds that its worker took; 0 if nobody worked on it."""

    @abstractmethod
    def made(self) -> Iterable[Piece]:
        """Return the pieces that are done now."""


@dataclass(frozen=True)
class RunStarted(Event):
    """A run begins."""

    study: str
    store: str
    models: tuple[str, ...]
    datasets: tuple[str, ...]
    version: str


@dataclass(frozen=True)
class StageStarted(Event):
    """A kind of work begins."""

    stage: str
    total: int
    unit: str
    pieces: str
    parts: tuple[Part, ...] = ()


@dataclass(frozen=True)
class StageChanged(Event):
    """A stage has more or less to do than at first."""

    stage: str
    total: int
    parts: tuple[Part, ...] = ()


@dataclass(frozen=True)
class Retry(Event):
    """A unit of work is tried again."""

    stage: str
    task: str
    reason: str
    node: str


@dataclass(frozen=True)
class Failed(Event):
    """Work failed for a reason of its own."""

    stage: str
    model: str | None
    tap: str | None
    dataset: str | None
    cell: str | None
    error: str
    message: str
    before: bool = False
    kind: str | None = None

    def __str__(self) -> str:
        what = " on ".join(name for name in (self.model, self.dataset) if name)
        return f"FAILED {what or self.stage}: {self.message}"


@dataclass(frozen=True)
class Note(Event):
    """A text is worth knowing."""

    text: str


@dataclass(frozen=True)
class StageEnded(Event):
    """A stage is over."""

    stage: str
    seconds: float


@dataclass(frozen=True)
class RunEnded(Event):
    """A run is over.

    Attributes
    ----------
    counts : mapping of str to int
        Counts by their names. In JSON each is a field of its own.
    """

    counts: Mapping[str, int]
    failures: int
    seconds: float

    def fields(self) -> dict[str, Any]:
        """Return the fields as they stand in JSON. The first four counts are there in every run."""
        always = dict.fromkeys(("passes", "cells", "cells_wanted", "unreadable"), 0)
        return {**always, **self.counts, "failures": self.failures, "seconds": self.seconds}


class Reporter(Protocol):
    """A receiver of the events of a run."""

    def tell(self, event: Event) -> None:
        """Take an event that has just happened."""


class Reporters:
    """One reporter that passes events on to several."""

    def __init__(self, *reporters: Reporter) -> None:
        self._reporters = reporters

    def tell(self, event: Event) -> None:
        """Pass an event on to all reporters, in their order."""
        for reporter in self._reporters:
            reporter.tell(event)


class EventLines:
    """A reporter that writes every event as a line of JSON, until it cannot: that stops no run.

    Parameters
    ----------
    stream : text stream
        Stream that the lines are written to.
    lost : callable
        Called once with the error, if a line cannot be written. No line is written after it.
    """

    def __init__(self, stream: TextIO, lost: Callable[[OSError], None] = lambda error: None) -> None:
        self._stream = stream
        self._lost = lost
        self._lasts = True

    def tell(self, event: Event) -> None:
        """Write the line of an event, and flush it."""
        if self._lasts:
            try:
                self._write(event)
            except OSError as error:
                self._lasts = False
                self._lost(error)

    def _write(self, event: Event) -> None:
        head = {"time": datetime.now(UTC).isoformat(timespec="milliseconds"), "event": event.name()}
        self._stream.write(json.dumps({**head, **event.fields()}) + "\n")
        self._stream.flush()
