"""The contract of a kind of work, which is one file of `cluster.work.kinds`.

The file's name is the kind's name everywhere: the stage in events and in the table `progress`, the key of
``[cluster]``, the block of a plan. A file has a function ``of_study(run)``, which returns the work that a study asks
for, or None.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

from cluster.pool.units import Hands, Unit
from cluster.reporting.events import Event, Part
from cluster.study.study_file import Study
from cluster.work.inventory import Inventory
from cluster.work.ledger import Ledger
from cluster.work.pairs import Pairs
from cluster.work.rates import Rates
from featurestore import FeatureSet, FeatureStore
from featurestore.images.splits import Dataset
from featurestore.networks.identity import Model


@dataclass(frozen=True)
class StoreAddress:
    """What opens a store anywhere.

    Attributes
    ----------
    options : tuple of (name, value)
        As `FeatureStore.storage_options` has them. They may hold credentials, so they are never shown.
    """

    uri: str
    options: tuple[tuple[str, str], ...] = field(default=(), repr=False)

    @classmethod
    def of(cls, store: FeatureStore | None) -> StoreAddress:
        """Return the address of a store; an empty one for a store that is yet to be made."""
        return cls(store.uri, store.storage_options) if store else cls("")

    def open(self, hands: Hands) -> FeatureStore:
        """Open the store, once per worker."""
        return hands.held(self, lambda: FeatureStore.open(self.uri, storage_options=dict(self.options)))


@dataclass
class Run:
    """What all kinds of work of one run share.

    Attributes
    ----------
    store : FeatureStore, optional
        None for a plan of one that is yet to be made.
    inventory : Inventory
        What the store had when the run began, and what it got since.
    pairs : Pairs
        The features that belong together, and which of them are there.
    ledger : Ledger
    tell : callable
        Is told of events that no unit brings about.
    study : Study, optional
        None for a run over what is stored.
    models, datasets : mapping of str to Model and Dataset
        Those of the study that can be used.
    rates : Rates
        How fast earlier runs were; only a plan knows them.
    """

    store: FeatureStore | None
    inventory: Inventory
    pairs: Pairs
    ledger: Ledger
    tell: Callable[[Event], None]
    study: Study | None = None
    models: Mapping[str, Model] = field(default_factory=dict)
    datasets: Mapping[str, Dataset] = field(default_factory=dict)
    rates: Rates = field(default_factory=Rates)

    @property
    def address(self) -> StoreAddress:
        """Whatever opens the store anywhere."""
        return StoreAddress.of(self.store)

    def mark_overflow(self, item: FeatureSet, why: str) -> None:
        """Record in the store that a set cannot be stored as float16."""
        if self.store:
            self.store.mark_overflow(item, why)


@dataclass(frozen=True)
class Cost:
    """What a part still takes.

    Attributes
    ----------
    amount : int
        In what the kind of work is counted in.
    n_bytes : int or None
        That will be stored, before compression; None if that is not known before.
    seconds : float or None
        Of one worker; None where nothing like it was measured.
    problems : tuple of str
        Why some of it will not be tried: messages of earlier failures.
    """

    amount: int = 0
    n_bytes: int | None = 0
    seconds: float | None = 0.0
    problems: tuple[str, ...] = ()


class Work(ABC):
    """One kind of work of one run: wanted minus committed, and what to record of each unit.

    Attributes
    ----------
    UNIT : str
        What its progress is counted in, e.g. ``images x models``.
    PIECES : str
        What its parts are made of, e.g. ``shards``.
    AFTER : tuple of str
        Kinds of work that may make more of its units possible.
    """

    UNIT: ClassVar[str]
    PIECES: ClassVar[str]
    AFTER: ClassVar[tuple[str, ...]] = ()

    @property
    def kind(self) -> str:
        """The name of the file that it stands in."""
        return type(self).__module__.rpartition(".")[-1]

    @property
    @abstractmethod
    def total(self) -> int:
        """How much of UNIT this run is to do, done or not; it may change while the run goes on."""

    @abstractmethod
    def parts(self) -> Iterable[Part]:
        """Return what is wanted and what is there, model by model and dataset by dataset."""

    @abstractmethod
    def missing(self) -> Iterator[Unit]:
        """Return the units that can begin now, each once; asked again after every outcome."""

    @abstractmethod
    def told(self, unit: Any, outcome: Any, node: str) -> Iterable[Event]:
        """Take note of what came of a unit, a report or a `Failure`; return what there is to tell of it."""

    def skip(self, unit: Any) -> Iterable[Event] | None:
        """Return what there is to tell of a unit that has become pointless; None if it is not."""
        return None

    def cost(self, part: Part) -> Cost:
        """Return what a part still takes."""
        return Cost(part.wanted - part.done)

    def end(self) -> None:  # noqa: B027 - most kinds of work have nothing left to do
        """Do what is left to do when nothing is missing any more."""


Outcome = Any
"""Report of a unit, or a `Failure`."""
