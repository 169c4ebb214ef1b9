"""What happens in a run, as events. What a person sees, ``--events FILE`` and the table `progress` are made of them.

``--events FILE`` appends one JSON object per line and flushes it, so that a program can follow the file; ``-`` is
standard output. Every line has ``time`` (UTC, ISO 8601), ``event`` (a name below) and the fields of that event. This is
a contract: later versions may add events and fields, but none changes its meaning.

run_started: study, store, models, datasets, version
    A run begins; names of the models and the datasets, and the version of probestore.
stage_started: stage, total, unit, pieces, parts
    A kind of work begins: `total` of `unit` are to be done now, in pieces such as shards or cells. Stages run side by
    side. Every one of `parts` has model, tap, dataset, split (null where it is of all three), and how many of its
    pieces are wanted and were done before.
stage_changed: stage, total, parts
    There is more or less to do than it seemed, for instance because a network has no classifier of its own.
failed: stage, model, tap, dataset, cell, error, message, before, kind
    Work that failed for a reason of its own; a null model, tap or dataset stands for all of them. `before` is true when
    that was in an earlier run and nothing that it depends on has changed, so that it was not tried again. `kind` is the
    stage that it belongs to, null for a model or a dataset that cannot be used at all.
retry: stage, task, reason, node
    The machine broke a unit of work, which is tried again.
note: text
    Something worth knowing that is no failure.
stage_ended: stage, seconds
    A stage is over, however it went.
run_ended: passes, cells, cells_wanted, unreadable, ..., failures, seconds
    The run is over: images x models computed, cells fitted and cells that are wanted, unreadable images, what other
    kinds of work count, number of failures. A run that was stopped says no such thing.

Every kind of work tells in an event of its own that a unit is over; they are in the files of `cluster.work.kinds`:
shard_done, cell_done, and so on.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any, ClassVar, Protocol, TextIO


@dataclass(frozen=True)
class Event:
    """Something that happened; the classes are listed above, field by field."""

    @classmethod
    def name(cls) -> str:
        """Return the event's name in JSON."""
        return re.sub(r"(?<=[a-z])(?=[A-Z])", "_", cls.__name__).lower()

    def fields(self) -> dict[str, Any]:
        """Return the fields as they stand in JSON."""
        return asdict(self)


@dataclass(frozen=True)
class Part:
    """The work of one kind on one model and one dataset: what progress is kept of.

    Attributes
    ----------
    split : str or None
        None for work that reads all three.
    wanted, done : int
        Pieces (shards, cells) that there are to be, and those that were there when the stage began.
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
        Of the part.
    images : int
        That went through the network for it.
    seconds : float
        That a worker took for them.
    """

    place: tuple[str, str, str, str | None]
    images: int = 0
    seconds: float = 0.0


@dataclass(frozen=True)
class UnitDone(Event):
    """A unit of work is over; each kind of work has a class of its own that says more.

    Attributes
    ----------
    stage : str
        Name of the kind of work.
    """

    stage: ClassVar[str]

    @property
    def amount(self) -> int:
        """How much is over, in the unit of the stage."""
        raise NotImplementedError

    @property
    def worker(self) -> tuple[str, float]:
        """Node that did it, and seconds that a worker took; 0 if nobody worked on it."""
        raise NotImplementedError

    def made(self) -> Iterable[Piece]:
        """Return the pieces that are done now."""
        raise NotImplementedError


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
    """There is more or less to do in a stage than there was."""

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
    """Something is worth knowing."""

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
        By their names; fields of their own in JSON.
    """

    counts: Mapping[str, int]
    failures: int
    seconds: float

    def fields(self) -> dict[str, Any]:
        """Return the fields in JSON; programs may rely on the first four counts, whatever the run was."""
        always = dict.fromkeys(("passes", "cells", "cells_wanted", "unreadable"), 0)
        return {**always, **self.counts, "failures": self.failures, "seconds": self.seconds}


class Reporter(Protocol):
    """Told of everything that happens in a run."""

    def tell(self, event: Event) -> None:
        """Take note of `event`, which has just happened."""


class Reporters:
    """Several reporters as one."""

    def __init__(self, *reporters: Reporter) -> None:
        self._reporters = reporters

    def tell(self, event: Event) -> None:
        """Tell all of them, in their order."""
        for reporter in self._reporters:
            reporter.tell(event)


class EventLines:
    """Writes every event as a line of JSON.

    Parameters
    ----------
    stream : text stream
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def tell(self, event: Event) -> None:
        """Write and flush the line."""
        head = {"time": datetime.now(UTC).isoformat(timespec="milliseconds"), "event": event.name()}
        self._stream.write(json.dumps({**head, **event.fields()}) + "\n")
        self._stream.flush()
