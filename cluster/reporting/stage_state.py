"""The state of a stage of a run: how much of each part is done, how fast, how much longer. Pure: the time is given."""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Iterator
from dataclasses import dataclass

from cluster.reporting.events import Event, Failed, Part, Retry, StageChanged, StageStarted, UnitDone


class Meter:
    """A meter of work per second, over the last minutes.

    Its clock starts when the first piece of work began, not when the stage did, because the time that workers take to
    start says nothing of their speed.
    """

    _WINDOW_SECONDS = 120.0
    _FEWEST = 32  # pieces that the window holds however long they take: one alone says little

    def __init__(self) -> None:
        self._begin = 0.0
        self._pieces: deque[tuple[float, int]] = deque()
        self._amount = 0
        self._whole = True

    def add(self, amount: int, seconds: float, now: float) -> None:
        """Add a piece of work that took a worker `seconds` and is over at the time `now`."""
        if self._whole:  # nothing was dropped yet
            self._begin = min(self._begin, now - seconds) if self._pieces else now - seconds
        self._pieces.append((now, amount))
        self._amount += amount
        while len(self._pieces) > self._FEWEST and self._pieces[0][0] < now - self._WINDOW_SECONDS:
            self._begin, dropped = self._pieces.popleft()
            self._amount -= dropped
            self._whole = False

    def rate(self, now: float) -> float | None:
        """Return the work per second; None while too little has been seen."""
        elapsed = now - self._begin
        if len(self._pieces) < self._FEWEST and (len(self._pieces) < 2 or elapsed < 1):
            return None
        return self._amount / max(elapsed, 1e-3)


@dataclass
class PartState:
    """The state of a part.

    Attributes
    ----------
    done : int
        Number of pieces that are done.
    images : int
        Number of images that went through the network in this stage.
    seconds : float
        Time that workers took for these images: the model's share of decoding, its network, and writing.
    """

    part: Part
    done: int
    images: int = 0
    seconds: float = 0.0

    @property
    def images_per_second(self) -> float | None:
        """Images per second of one worker; None if nothing was measured."""
        return self.images / self.seconds if self.seconds > 0 else None


@dataclass
class _Share:
    """Numbers of pieces of a model on a dataset; a view is drawn four times a second, and must not add them up."""

    wanted: int = 0
    done: int = 0


class StageState:
    """The state of one stage.

    Attributes
    ----------
    name, unit : str
        Name of the stage, and the unit that its work is counted in.
    total, handled : int
        Amount of work that is to be done, and amount that is over, whether it was done or failed.
    failures, retries : int
        Numbers of failures and of retries since the stage began.
    """

    def __init__(self, stage: StageStarted, now: float) -> None:
        self.name, self.unit, self.total = stage.stage, stage.unit, stage.total
        self.begun = now
        self.handled = self.failures = self.retries = 0
        self._parts: dict[tuple[str, str, str, str | None], PartState] = {}
        self._shares: dict[tuple[str, str], _Share] = {}
        for part in stage.parts:
            self._add(PartState(part, part.done))
        self._failed: set[tuple[str | None, str | None]] = set()
        self._meter = Meter()
        self._nodes: defaultdict[str, Meter] = defaultdict(Meter)

    def add(self, event: Event, now: float) -> None:
        """Take an event into account. Events of other stages change nothing."""
        match event:
            case UnitDone() if event.stage == self.name:
                self._work(event, now)
            case StageChanged() if event.stage == self.name:
                self._change(event)
            case Failed():
                self.failures += event.kind == self.name
                self._failed.add((event.model, event.dataset))
            case Retry() if event.stage == self.name:
                self.retries += 1

    def parts(self) -> Iterator[PartState]:
        """Return every part, in the order of the stage."""
        return iter(self._parts.values())

    def rate(self, now: float) -> float | None:
        """Return the units of work per second."""
        return self._meter.rate(now)

    def seconds_left(self, now: float) -> float | None:
        """Return the seconds until everything is done, at the present rate; None while that is not known."""
        rate = self.rate(now)
        return max(0, self.total - self.handled) / rate if rate else None

    def nodes(self, now: float) -> list[tuple[str, float]]:
        """Return the nodes with their rates, the fastest first; 0 while too little has been seen."""
        rates = [(name, meter.rate(now) or 0.0) for name, meter in self._nodes.items()]
        return sorted(rates, key=lambda item: (-item[1], item[0]))

    def shares(self) -> dict[tuple[str, str], float]:
        """Return the share of the pieces that are done of each model on each dataset, over all taps and splits."""
        return {place: own.done / own.wanted if own.wanted else 1.0 for place, own in self._shares.items()}

    def has_failed(self, model: str, dataset: str) -> bool:
        """Whether something of a model on a dataset failed."""
        return not self._failed.isdisjoint({(model, dataset), (model, None), (None, dataset)})

    def _work(self, event: UnitDone, now: float) -> None:
        self.handled += event.amount
        node, seconds = event.worker
        if seconds:  # else nobody worked on it
            self._meter.add(event.amount, seconds, now)
            self._nodes[node].add(event.amount, seconds, now)
        for piece in event.made():
            state = self._parts.get(piece.place)
            if state:
                if state.done < state.part.wanted:  # a piece may come twice
                    state.done += 1
                    self._shares[state.part.model, state.part.dataset].done += 1
                state.images += piece.images
                state.seconds += piece.seconds

    def _change(self, event: StageChanged) -> None:
        """Take over the new parts. Parts that were there before keep what was measured of them."""
        self.total = event.total
        former = self._parts
        self._parts, self._shares = {}, {}
        for part in event.parts:
            known = former.get(part.place)
            state = PartState(part, part.done)
            if known:
                state.images, state.seconds = known.images, known.seconds
            self._add(state)

    def _add(self, state: PartState) -> None:
        part = state.part
        self._parts[part.place] = state
        share = self._shares.setdefault((part.model, part.dataset), _Share())
        share.wanted += part.wanted
        share.done += state.done
