"""Compare what an installation gives for the trial images with what stored features were made with.

`featurestore.networks.fingerprint` says what is compared. A network that gives the same goes on under its key, whatever
the versions; one that gives something else is another model.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from featurestore.errors import DriftError
from featurestore.networks.fingerprint import BOUND, Fingerprint, difference
from featurestore.networks.identity import Model
from featurestore.networks.installation import Installation, described


@dataclass(frozen=True)
class Reference:
    """What a network gave at a tap, and where: what another installation must give, too."""

    tap: str
    fingerprint: Fingerprint
    installation: Installation
    node: str


@dataclass(frozen=True)
class References:
    """What is known of the fingerprints of a model.

    Attributes
    ----------
    found : tuple of Reference
        One is enough to agree with. A tap that has none takes the first that comes.
    known : frozenset of Installation
        Installations that need not be told of, because they agreed before.
    accept : bool
        Whether an installation that gives something else is accepted.
    """

    found: tuple[Reference, ...] = ()
    known: frozenset[Installation] = frozenset()
    accept: bool = False

    def nearest(self, tap: str, fingerprint: Fingerprint, compute: str) -> tuple[Reference, float] | None:
        """Return the reference of a tap that is most like a fingerprint, and their difference; None if it has none."""
        distances = [(one, difference(fingerprint, one.fingerprint, compute)) for one in self.found if one.tap == tap]
        return min(distances, key=lambda pair: pair[1], default=None)


@dataclass(frozen=True)
class Taken:
    """What an installation gave for the trial images.

    Attributes
    ----------
    fingerprints : mapping of str to tuple of float
        By tap.
    drift : mapping of str to str
        Tap -> in words, how it differs from the reference; it was accepted.
    """

    model: str
    model_key: str
    installation: Installation
    node: str
    fingerprints: Mapping[str, Fingerprint]
    drift: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Agreement:
    """The end of a comparison.

    Attributes
    ----------
    fingerprints : mapping of str to tuple of float
        Tap -> the reference that it agrees with; its own fingerprint where there is none.
    taken : Taken
        What was compared.
    is_news : bool
        Whether the store does not know of it yet.
    """

    fingerprints: Mapping[str, Fingerprint]
    taken: Taken
    is_news: bool


def compare(model: Model, taken: Taken, references: References) -> Agreement:
    """Compare fingerprints with those of a model that are known.

    Raises
    ------
    DriftError
        If a tap differs from each of its references beyond the bound of the model's arithmetic.
    """
    agreed: dict[str, Fingerprint] = {}
    drift: dict[str, str] = {}
    for tap, own in taken.fingerprints.items():
        nearest = references.nearest(tap, own, model.compute)
        if nearest and nearest[1] <= BOUND[model.compute]:
            agreed[tap] = nearest[0].fingerprint
            continue
        agreed[tap] = own
        if nearest:
            drift[tap] = _drift(model, taken, *nearest)
    if drift and not references.accept:
        raise DriftError(f"{next(iter(drift.values()))} {_WAYS_OUT}")
    known = {one.tap for one in references.found}
    news = bool(drift) or taken.installation not in references.known or not known.issuperset(agreed)
    found = Taken(model.name, model.key, taken.installation, taken.node, taken.fingerprints, drift)
    return Agreement(agreed, found, news)


_WAYS_OUT = (
    "It is another model, so it writes nothing. Make the installations equal; or give the model another name in its "
    "[[model]], under which everything is extracted anew; or let both count as one with --accept-drift."
)


def _drift(model: Model, taken: Taken, reference: Reference, found: float) -> str:
    has, had = described(taken.installation, reference.installation)
    if not has:
        has = had = "the same versions, so look for a changed library or network"
    return (
        f"{model.name} gives other features on {taken.node} ({has}) than those that its stored features are made with, "
        f"on {reference.node} ({had}): those of the trial images differ by {found:.2%} at {reference.tap}, and at most "
        f"{BOUND[model.compute]:.2%} is rounding."
    )
