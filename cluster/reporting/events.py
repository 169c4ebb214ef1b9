"""What happens in a run, as events. What a person sees, ``--events FILE`` and the table `progress` are made of them.

``--events FILE`` appends one JSON object per line and flushes it, so that a program can follow the file; ``-`` is
standard output. Every line has ``time`` (UTC, ISO 8601), ``event`` (a name below) and the fields of that event. This is
a contract: later versions may add events and fields, but none changes its meaning.

run_started: study, store, models, datasets, version
    A run begins; names of the models and the datasets, and the version of probestore.
stage_started: stage, total, unit, pieces, parts
    Stage "features" or "probes": `total` of `unit` are to be done now, in shards or cells (`pieces`). Every one of
    `parts` has model, tap, dataset, split (null for probes), and the pieces of it that are wanted and done before.
shard_done: dataset, split, shard, images, seconds, node, models, failed
    A shard is over, after `seconds` of one worker. `models` are those that saw it: each has model, taps (the feature
    sets that got this shard) and seconds in its network. `failed` are names of those whose features could not be made.
cell_done: cell, model, tap, dataset, probe, seconds, node, failed
    A probe is over; `failed` is true or false.
retry: stage, task, reason, node
    The machine broke a task, which is tried again.
failed: stage, model, tap, dataset, cell, error, message, before
    Work that failed for a reason of its own; a null model, tap or dataset stands for all of them. `before` is true when
    that was in an earlier run and nothing that it depends on has changed, so that it was not tried again.
note: text
    Something worth knowing that is no failure.
stage_ended: stage, seconds
    A stage is over, however it went.
run_ended: passes, cells, cells_wanted, unreadable, failures, seconds
    The run is over: images x models computed, cells fitted and cells that the study has, unreadable images, number of
    failures. A run that was stopped says no such thing.
"""

from __future__ import annotations

import json
import re
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Literal, Protocol, TextIO

Stage = Literal["features", "probes"]


@dataclass(frozen=True)
class Event:
    """Something that happened; its classes are listed above, field by field."""

    @classmethod
    def name(cls) -> str:
        """What the event is called in JSON."""
        return re.sub(r"(?<=[a-z])(?=[A-Z])", "_", cls.__name__).lower()


@dataclass(frozen=True)
class Part:
    """Features or results of one model on one dataset: what progress is kept of.

    Attributes
    ----------
    split : str or None
        None for results, which read all three.
    wanted, done : int
        Pieces (shards or cells) that there are to be, and those that were there when the stage began.
    """

    model: str
    tap: str
    dataset: str
    split: str | None
    wanted: int
    done: int


@dataclass(frozen=True)
class Made:
    """What one model made of a shard.

    Attributes
    ----------
    seconds : float
        In the network.
    """

    model: str
    taps: tuple[str, ...]
    seconds: float


@dataclass(frozen=True)
class RunStarted(Event):
    """See above."""

    study: str
    store: str
    models: tuple[str, ...]
    datasets: tuple[str, ...]
    version: str


@dataclass(frozen=True)
class StageStarted(Event):
    """See above."""

    stage: Stage
    total: int
    unit: str
    pieces: str
    parts: tuple[Part, ...] = ()


@dataclass(frozen=True)
class ShardDone(Event):
    """See above."""

    dataset: str
    split: str
    shard: int
    images: int
    seconds: float
    node: str
    models: tuple[Made, ...] = ()
    failed: tuple[str, ...] = ()

    @property
    def amount(self) -> int:
        """Images x models."""
        return self.images * (len(self.models) + len(self.failed))


@dataclass(frozen=True)
class CellDone(Event):
    """See above."""

    cell: str
    model: str
    tap: str
    dataset: str
    probe: str
    seconds: float
    node: str
    failed: bool = False

    amount = 1


@dataclass(frozen=True)
class Retry(Event):
    """See above."""

    stage: Stage
    task: str
    reason: str
    node: str


@dataclass(frozen=True)
class Failed(Event):
    """See above."""

    stage: str
    model: str | None
    tap: str | None
    dataset: str | None
    cell: str | None
    error: str
    message: str
    before: bool = False

    def __str__(self) -> str:
        what = " on ".join(name for name in (self.model, self.dataset) if name)
        return f"FAILED {what}: {self.message}"


@dataclass(frozen=True)
class Note(Event):
    """See above."""

    text: str


@dataclass(frozen=True)
class StageEnded(Event):
    """See above."""

    stage: Stage
    seconds: float


@dataclass(frozen=True)
class RunEnded(Event):
    """See above."""

    passes: int
    cells: int
    cells_wanted: int
    unreadable: int
    failures: int
    seconds: float


class Reporter(Protocol):
    """Told of everything that happens in a run."""

    def tell(self, event: Event) -> None:
        """`event` has just happened."""


def skip_stage(reporter: Reporter, stage: StageStarted) -> None:
    """Tell of a stage in which there is nothing to do."""
    reporter.tell(stage)
    reporter.tell(StageEnded(stage.stage, 0.0))


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
        self._stream.write(json.dumps({**head, **asdict(event)}) + "\n")
        self._stream.flush()
