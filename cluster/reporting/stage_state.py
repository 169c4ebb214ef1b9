"""Where a stage of a run stands: what is done of every part, how fast, how much longer. Pure: the time is given."""

from __future__ import annotations

from collections import Counter, defaultdict, deque
from collections.abc import Iterator
from dataclasses import dataclass

from cluster.reporting.events import CellDone, Event, Failed, Part, Retry, ShardDone, StageStarted

_Key = tuple[str, str, str, str | None]


class Meter:
    """Work per second, over the last minutes.

    Its clock starts when the first piece of work began, not when the stage did: starting workers is no measure of them.
    """

    _WINDOW_SECONDS = 120.0
    _FEWEST = 32  # pieces that the window holds however long they take: one alone says little

    def __init__(self) -> None:
        self._begin = 0.0
        self._pieces: deque[tuple[float, int]] = deque()
        self._amount = 0
        self._whole = True

    def add(self, amount: int, seconds: float, now: float) -> None:
        """A piece of work that took a worker `seconds` is over at the time `now`."""
        if self._whole:  # nothing was dropped yet
            self._begin = min(self._begin, now - seconds) if self._pieces else now - seconds
        self._pieces.append((now, amount))
        self._amount += amount
        while len(self._pieces) > self._FEWEST and self._pieces[0][0] < now - self._WINDOW_SECONDS:
            self._begin, dropped = self._pieces.popleft()
            self._amount -= dropped
            self._whole = False

    def rate(self, now: float) -> float | None:
        """Per second; None while too little has been seen."""
        elapsed = now - self._begin
        if len(self._pieces) < self._FEWEST and (len(self._pieces) < 2 or elapsed < 1):
            return None
        return self._amount / max(elapsed, 1e-3)


@dataclass
class PartTally:
    """What is done of a part.

    Attributes
    ----------
    images : int
        That went through in this stage.
    seconds : float
        That a worker took for them: the model's share of decoding, its network, and writing.
    """

    part: Part
    done: int
    images: int = 0
    seconds: float = 0.0

    @property
    def images_per_second(self) -> float | None:
        """Of one worker; None where nothing was measured."""
        return self.images / self.seconds if self.seconds > 0 else None


class Tally:
    """The state of one stage.

    Attributes
    ----------
    handled : int
        Units of work that are over, in whatever way.
    failures, retries : int
        Since the stage began.
    """

    def __init__(self, stage: StageStarted, now: float) -> None:
        self.stage = stage
        self.begun = now
        self.handled = self.failures = self.retries = 0
        self._parts = {_key(part): PartTally(part, part.done) for part in stage.parts}
        self._failed: set[tuple[str | None, str | None]] = set()
        self._meter = Meter()
        self._nodes: defaultdict[str, Meter] = defaultdict(Meter)

    def add(self, event: Event, now: float) -> None:
        """Take an event into account; those that say nothing of the state of a stage change nothing."""
        match event:
            case ShardDone() | CellDone():
                self._work(event, now)
            case Failed():
                self.failures += 1
                self._failed.add((event.model, event.dataset))
            case Retry():
                self.retries += 1

    def parts(self) -> Iterator[PartTally]:
        """Every part, in the order of the stage."""
        return iter(self._parts.values())

    def rate(self, now: float) -> float | None:
        """Units of work per second."""
        return self._meter.rate(now)

    def seconds_left(self, now: float) -> float | None:
        """Until everything is done, at the present rate; None while that is not known."""
        rate = self.rate(now)
        return (self.stage.total - self.handled) / rate if rate else None

    def nodes(self, now: float) -> list[tuple[str, float]]:
        """Nodes with their rates, the fastest first; 0 while too little has been seen."""
        rates = [(name, meter.rate(now) or 0.0) for name, meter in self._nodes.items()]
        return sorted(rates, key=lambda item: (-item[1], item[0]))

    def shares(self) -> dict[tuple[str, str], float]:
        """(model, dataset) -> share that is done of its pieces, of all taps and splits."""
        wanted: Counter[tuple[str, str]] = Counter()
        done: Counter[tuple[str, str]] = Counter()
        for tally in self.parts():
            place = (tally.part.model, tally.part.dataset)
            wanted[place] += tally.part.wanted
            done[place] += tally.done
        return {place: done[place] / count if count else 1.0 for place, count in wanted.items()}

    def has_failed(self, model: str, dataset: str) -> bool:
        """Whether something of a model on a dataset failed."""
        return not self._failed.isdisjoint({(model, dataset), (model, None), (None, dataset)})

    def _work(self, event: ShardDone | CellDone, now: float) -> None:
        self.handled += event.amount
        if event.seconds:  # else nobody worked on it
            self._meter.add(event.amount, event.seconds, now)
            self._nodes[event.node].add(event.amount, event.seconds, now)
        if isinstance(event, ShardDone):
            self._shard(event)
        elif not event.failed:
            self._piece((event.model, event.tap, event.dataset, None))

    def _shard(self, event: ShardDone) -> None:
        in_networks = sum(made.seconds for made in event.models)
        for made in event.models:
            share = made.seconds / in_networks if in_networks else 1 / len(event.models)
            for tap in made.taps:
                tally = self._piece((made.model, tap, event.dataset, event.split))
                if tally:
                    tally.images += event.images
                    tally.seconds += share * event.seconds

    def _piece(self, key: _Key) -> PartTally | None:
        tally = self._parts.get(key)
        if tally:
            tally.done = min(tally.done + 1, tally.part.wanted)  # a piece may come twice
        return tally


def _key(part: Part) -> _Key:
    return (part.model, part.tap, part.dataset, part.split)
