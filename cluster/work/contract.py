"""The contract of a kind of work, which is one file of `cluster.work.kinds`.

The file's name is the kind's name everywhere: the stage in events and in the table `progress`, the key in
``[cluster]``, the block of a plan. A file has a function ``of_study(run)``, which returns the work that a study asks
for, or None if it asks for none.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

from cluster.pool.units import Hands, Unit
from cluster.reporting.events import Event, Part
from cluster.study.study_file import Study
from cluster.work.ledger import Ledger
from cluster.work.pairs import Pairs
from cluster.work.rates import Rates
from cluster.work.store_inventory import Inventory
from cluster.work.wanted_features import WantedFeatures
from featurestore import FeatureSet, FeatureStore
from featurestore.images.splits import Dataset
from featurestore.networks.identity import Model
from featurestore.networks.shipped_modules import Shipment


@dataclass(frozen=True)
class StoreAddress:
    """The address of a store, with which any worker can open it.

    Attributes
    ----------
    uri : str
        Folder or URL; empty for a store that is yet to be made.
    options : tuple of (name, value)
        Options, as `FeatureStore.storage_options` has them. They may hold credentials, so they are never shown.
    """

    uri: str
    options: tuple[tuple[str, str], ...] = field(default=(), repr=False)

    @classmethod
    def of(cls, store: FeatureStore | None) -> StoreAddress:
        """Return the address of a store; an empty one for None, a store that is yet to be made."""
        return cls(store.uri, store.storage_options) if store else cls("")

    def open(self, hands: Hands) -> FeatureStore:
        """Open the store, once per worker."""
        return hands.held(self, lambda: FeatureStore.open(self.uri, storage_options=dict(self.options)))


@dataclass
class Run:
    """The things that all kinds of work of one run share.

    Attributes
    ----------
    store : FeatureStore, optional
        Store of the run; None for the plan of a store that is yet to be made.
    inventory : Inventory
        Sets and records of the store.
    pairs : Pairs
        Features that belong together, and whether they are there.
    ledger : Ledger
        Books of the run.
    tell : callable
        Receiver of events that belong to no unit.
    study : Study, optional
        Study of the run; None for a run over what is stored.
    models, datasets : mapping of str to Model and Dataset
        Models and datasets of the study that can be used.
    wanted : sequence of WantedFeatures
        Features that the study wants of these.
    rates : Rates
        Speed of earlier runs. Only a plan has them.
    accept_drift : bool
        Whether a network counts as the same that gives other features here than those that are stored.
    """

    store: FeatureStore | None
    inventory: Inventory
    pairs: Pairs
    ledger: Ledger
    tell: Callable[[Event], None]
    study: Study | None = None
    models: Mapping[str, Model] = field(default_factory=dict)
    datasets: Mapping[str, Dataset] = field(default_factory=dict)
    wanted: Sequence[WantedFeatures] = ()
    rates: Rates = field(default_factory=Rates)
    accept_drift: bool = False

    @property
    def address(self) -> StoreAddress:
        """Address with which workers open the store."""
        return StoreAddress.of(self.store)

    def mark_overflow(self, item: FeatureSet, why: str) -> None:
        """Record in the store that a set cannot be stored as float16."""
        if self.store:
            self.store.mark_overflow(item, why)


@dataclass(frozen=True)
class Cost:
    """The cost of the rest of a part.

    Attributes
    ----------
    amount : int
        Amount of work, in the unit that the kind of work is counted in.
    n_bytes : int or None
        Size of what will be stored, before compression; None if it is not known.
    seconds : float or None
        Time of one worker; None if nothing like it was measured.
    problems : tuple of str
        Messages of earlier failures, because of which some of it will not be tried.
    pieces : int
        Number of pieces that are to be made beside those that the part counts.
    """

    amount: int = 0
    n_bytes: int | None = 0
    seconds: float | None = 0.0
    problems: tuple[str, ...] = ()
    pieces: int = 0


class Work(ABC):
    """One kind of work of one run: wanted minus committed, and what to record of each unit.

    Attributes
    ----------
    UNIT : str
        Name of the unit that its progress is counted in, e.g. ``images x models``.
    PIECES : str
        Name of the pieces that its parts are made of, e.g. ``shards``.
    AFTER : tuple of str
        Kinds of work that may make more of its units possible.
    """

    UNIT: ClassVar[str]
    PIECES: ClassVar[str]
    AFTER: ClassVar[tuple[str, ...]] = ()

    @property
    def kind(self) -> str:
        """Name of the kind of work, which is the name of its file."""
        return type(self).__module__.rpartition(".")[-1]

    @property
    @abstractmethod
    def total(self) -> int:
        """Amount of work of this run, in UNIT, whether it is done or not. It may change while the run goes on."""

    @abstractmethod
    def parts(self) -> Iterable[Part]:
        """Return what is wanted and what is there, model by model and dataset by dataset."""

    @abstractmethod
    def missing(self) -> Iterator[Unit]:
        """Return the units that can begin now, each once. It is called again after every outcome."""

    @abstractmethod
    def told(self, unit: Any, outcome: Any, node: str) -> Iterable[Event]:
        """Take note of the outcome of a unit, which is a report or a `Failure`. Return the events about it."""

    def skip(self, unit: Any) -> Iterable[Event] | None:
        """Return the events about a unit that has become pointless; None if it has not."""
        return None

    def follow(self) -> None:  # noqa: B027 - most kinds of work read the news when they are asked for units
        """Take note of what other kinds of work have brought about; called after every outcome."""

    def again(self) -> Iterable[str]:
        """Return sentences about what is done again although it was there; each once."""
        return ()

    def soon(self) -> int:
        """Return the number of units that will come when some that run now are over."""
        return 0

    def modules(self) -> Shipment | None:
        """Return the user's modules that its units import, where they lie beside the study."""
        return None

    def cost(self, part: Part) -> Cost:
        """Return the cost of the rest of a part."""
        return Cost(part.wanted - part.done)

    def cut_short(self) -> None:  # noqa: B027 - most kinds of work have written down all that is to be kept
        """Write down what is to be kept when the run ends before its time."""

    def end(self) -> None:  # noqa: B027 - most kinds of work have nothing left to do
        """Do the rest when nothing is missing any more."""


Outcome = Any
"""Report of a unit, or a `Failure`."""
