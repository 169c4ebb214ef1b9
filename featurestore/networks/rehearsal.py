"""A rehearsal of a network on paper, before work starts: do its weights, its input size and its taps fit?

The network is laid out on torch's meta device, so that this takes no memory and a fraction of a second. Names and
shapes are compared, nothing is computed. What can only be seen with numbers is checked when the network is loaded.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from featurestore.errors import BackboneError
from featurestore.networks import backbones, remembered
from featurestore.networks.identity import Model
from featurestore.networks.kept_running import kept_running, printing_aside
from featurestore.networks.on_paper import images_on_paper, is_of_paper, on_paper
from featurestore.networks.taps import Tapped


@dataclass(frozen=True)
class Rehearsal:
    """What a rehearsal found.

    Attributes
    ----------
    notes : tuple of str
        What had to be decided to fit the weights to the network.
    problems : dict of str to BackboneError
        Taps that the network does not have, and why.
    """

    notes: tuple[str, ...] = ()
    problems: dict[str, BackboneError] = field(default_factory=dict)


def rehearse(model: Model, tap_names: Iterable[str]) -> Rehearsal:
    """Lay a network out with its weights, and run it on paper. This is remembered where it found no problem.

    Raises
    ------
    BackboneError
        If its weights do not fit, or it cannot take images of its input size.
    """
    taps = list(tap_names)
    if not backbones.is_of_libraries(model.spec):
        return _rehearsed(model, taps) or Rehearsal()
    parts = {"record": model.record(), "taps": taps}
    found: Rehearsal | None = remembered.of_versions(
        "rehearsal", parts, lambda: _rehearsed(model, taps), read=_read, write=lambda own: own and {"notes": own.notes}
    )
    return found or Rehearsal()


def _read(plain: Any) -> Rehearsal | None:
    return plain and Rehearsal(tuple(plain["notes"]))


@printing_aside()
@kept_running("when images pass through it")
def _rehearsed(model: Model, tap_names: Iterable[str]) -> Rehearsal | None:
    """Do it; None if the network cannot be laid out, which may be no fault of it: loading it will tell."""
    spec = model.spec
    try:
        with on_paper():
            network = backbones.build(spec)
        notes = backbones.notes(spec)
    except Exception as error:
        if isinstance(error, BackboneError) and not is_of_paper(error.__cause__ or error):
            raise
        return None
    # Whether there is a classifier for logits is known when the weights are loaded.
    tapped = Tapped(network, [tap for tap in tap_names if tap != "logits"], None, spec.feature_dim)
    try:
        with on_paper():
            tapped.check(images_on_paper(model.preprocessing.geometry.size))
    except Exception as error:  # a network may raise anything
        if is_of_paper(error) or spec.family == "python":  # a user's code need not know this device
            return Rehearsal(notes)
        raise BackboneError(f"The network cannot take images of {spec.input_size} pixels: {error}") from error
    return Rehearsal(notes, tapped.problems)
