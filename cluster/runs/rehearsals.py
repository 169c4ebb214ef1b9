"""The networks of a study that the store lacks features of, rehearsed on paper before work starts."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping

from featurestore.errors import BackboneError
from featurestore.networks.identity import Model


def rehearsed(
    models: Mapping[str, Model],
    lacking: Collection[str],
    taps: tuple[str, ...],
    *,
    fail: Callable[..., None],
    note: Callable[[str], None],
) -> dict[str, Model]:
    """Return the models without those that cannot work. Networks whose features are all stored are not rehearsed.

    Parameters
    ----------
    models : mapping of str to Model
    lacking : collection of str
        Names of models of whose features the store lacks some.
    taps : tuple of str
        Taps that the study wants.
    fail : callable
        Called as `Ledger.fail` for each model that cannot work: its weights do not fit, it does not take images of its
        size, or it has none of the taps.
    note : callable
        Called with a sentence for what was decided about weights, and for each tap that a network lacks.
    """
    found = {}
    for name, model in models.items():
        try:
            if name in lacking:
                _rehearse(model, taps, note)
            found[name] = model
        except Exception as error:  # a network may raise anything
            fail("model", error, model=name)
    return found


def _rehearse(model: Model, taps: tuple[str, ...], note: Callable[[str], None]) -> None:
    from featurestore.networks.rehearsal import rehearse

    found = rehearse(model, taps)
    for text in found.notes:
        note(f"Model {model.name}, weights: {text}")
    if set(taps) <= set(found.problems):
        raise BackboneError(" ".join(f"{tap}: {why}" for tap, why in found.problems.items()))
    for tap, why in found.problems.items():
        note(f"Model {model.name} has no features at {tap}: {why}")
