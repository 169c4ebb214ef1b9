"""Fit the tensors of a checkpoint to a network, by names and shapes.

A state dict may lie in an entry of the file, under a prefix that a wrapper gave it (DataParallel, torch.compile,
Lightning, a training script's own module), and its classifier may be of other classes, or absent. All of that is
allowed where every tensor of the network is found with its shape, in floating point where the network's is, and nothing
is left over beside it; what was done is said in notes. Which of several state dicts is taken:

1. the file itself, then its entry ``state_dict``, ``model`` or ``model_state_dict``, then an averaged one (``ema`` in
   its place); within it names as they are, then those under prefixes that wrappers are known to give;
2. any other, if it is the only one that fits, or if all that fit are equal. Otherwise the file is refused.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from featurestore.errors import BackboneError
from featurestore.networks.checkpoint_file import Checkpoint, State
from featurestore.plain_text import counted, shortly

if TYPE_CHECKING:
    import torch

_ENTRIES = ("", "state_dict", "model", "model_state_dict")
_AVERAGED = ("state_dict_ema", "model_ema", "ema_state_dict", "ema", "model_ema_state_dict", "ema_model")
_WRAPPERS = frozenset({"module", "model", "backbone", "encoder", "net", "network"})
"""Names that wrappers of networks are known to put before the names of tensors."""
_NEVER_A_NAME = frozenset({"_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module"})
"""Names that torch's own wrappers put anywhere between the names of modules."""
_COUNTER = "num_batches_tracked"
# Batch norm counts its training steps since torch 0.4; files from before do not, and nothing here needs the count.


@dataclass(frozen=True)
class Fit:
    """Tensors of a file that fit a network.

    Attributes
    ----------
    state : dict of str to Tensor
        Every tensor of the network, under the network's names.
    head : dict of str to Tensor
        What the file holds at the places of classifiers that the network lacks, under the network's names.
    resized : tuple of str
        Names in `state` whose tensors have another shape than the network's; empty unless that was allowed.
    notes : tuple of str
        What had to be decided, in words.
    """

    state: State
    head: State
    resized: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class _Try:
    """One state dict of a file, with one prefix taken off, laid beside a network."""

    entry: str
    prefix: str
    state: State
    head: State
    outside: tuple[str, ...]
    missing: tuple[str, ...]
    unexpected: tuple[str, ...]
    other_shape: tuple[str, ...]
    other_kind: tuple[str, ...]

    @property
    def n_problems(self) -> int:
        return len(self.missing) + len(self.unexpected) + len(self.other_shape) + len(self.other_kind)

    def resizable(self, part: str) -> bool:
        """Return whether all that does not fit is the shape of tensors with that part in their names."""
        fits = not (self.missing or self.unexpected or self.other_kind)
        return fits and all(part in name for name in self.other_shape)

    @property
    def place(self) -> str:
        """The place in the file, in words."""
        entry = f"entry {self.entry!r}" if self.entry else "the file itself"
        return f"{entry}, names under {self.prefix!r}" if self.prefix else entry

    @property
    def rank(self) -> int | None:
        """The place in the order of preference; None if it has none."""
        known = [*_ENTRIES, *_AVERAGED]
        parts = self.prefix.rstrip(".").split(".") if self.prefix else []
        if self.entry not in known or not _WRAPPERS.issuperset(parts):
            return None
        return 2 * known.index(self.entry) + bool(parts)


@dataclass(frozen=True)
class Target:
    """What a network needs of a file.

    Attributes
    ----------
    shapes : dict of str to torch.Size
        Shape of every tensor of the network, which has no classifier.
    places : tuple of str
        Modules at which the whole network would have a classifier; what the file holds there may have any shape.
    resizable : str, optional
        Part of the names of tensors whose shape may differ, because they are resampled afterwards.
    rename : callable
        What is done to the names in a file first.
    floats : frozenset of str
        Tensors that hold floating-point numbers.
    """

    shapes: Mapping[str, torch.Size]
    places: Sequence[str] = ()
    resizable: str | None = None
    rename: Callable[[str], str] = field(default=lambda name: name)
    floats: frozenset[str] = frozenset()

    @classmethod
    def of(cls, network: torch.nn.Module, places: Sequence[str] = (), **options: Any) -> Target:
        """Return what `network`, from which the classifiers at `places` were taken, needs."""
        state = network.state_dict()
        floats = frozenset(name for name, value in state.items() if value.is_floating_point())
        return cls({name: value.shape for name, value in state.items()}, tuple(places), floats=floats, **options)


def fit(target: Target, checkpoint: Checkpoint, named: str) -> Fit:
    """Find the tensors of a network in a checkpoint.

    Parameters
    ----------
    target : Target
    checkpoint : Checkpoint
    named : str
        What the network is called in messages.

    Raises
    ------
    BackboneError
        If nothing in the file fits, or several things do and none of them goes before the others. The message says
        what is missing, unexpected and of another shape, and what the file is.
    """
    tries = list(_tries(target, checkpoint))
    fitting = [one for one in tries if not one.n_problems]
    if not fitting and target.resizable is not None:
        fitting = [one for one in tries if one.resizable(target.resizable)]
    if not fitting:
        raise _misfit(target, checkpoint, named, tries)
    chosen, others = _chosen(checkpoint, fitting)
    return Fit(
        {**_counters(target, chosen), **chosen.state},
        chosen.head,
        chosen.other_shape,
        tuple(_notes(target, chosen, others)),
    )


def load(network: torch.nn.Module, found: Fit) -> None:
    """Put the tensors of a fit into the network; those of batch norms' counters stay where the file has none."""
    network.load_state_dict({**network.state_dict(), **found.state})


def vacant_places(network: torch.nn.Module) -> tuple[str, ...]:
    """Return the modules at the network's end that hold no tensors: there a classifier was taken out by Identity."""
    import torch

    found: list[str] = []
    for name, module in network.named_modules():
        if next(module.children(), None) is None and name:
            holds = next(module.parameters(), next(module.buffers(), None)) is not None
            found = [] if holds else [*found, *([name] if isinstance(module, torch.nn.Identity) else [])]
    return tuple(found)


def _counters(target: Target, chosen: _Try) -> State:
    """Return zeros for the counters of batch norms that a file of an old torch lacks."""
    import torch

    lacking = [name for name in target.shapes if name.endswith(_COUNTER) and name not in chosen.state]
    return {name: torch.zeros(target.shapes[name], dtype=torch.long) for name in lacking}


# ---- all ways to lay a file beside a network ------------------------------------------------------------------------


def _tries(target: Target, checkpoint: Checkpoint) -> Iterator[_Try]:
    ours = {_plain(name): name for name in target.shapes}
    for entry, state in checkpoint.states.items():
        theirs = {_plain(target.rename(name)): value for name, value in state.items()}
        for own in _own_prefixes(ours):
            shortened = {name.removeprefix(own): full for name, full in ours.items()}
            for prefix in _prefixes(shortened, theirs, taken_off=own):
                yield _laid_beside(target, shortened, own, entry, prefix, theirs)


def _plain(name: str) -> str:
    return ".".join(part for part in name.split(".") if part not in _NEVER_A_NAME)


def _own_prefixes(names: Iterable[str]) -> list[str]:
    """Return the prefixes that all names of a network share: a user's module may wrap the network that was saved."""
    found, rest = [""], [name.split(".") for name in names]
    while rest and all(len(parts) > 1 and parts[0] == rest[0][0] for parts in rest):
        found.append(f"{found[-1]}{rest[0][0]}.")
        rest = [parts[1:] for parts in rest]
    return found


def _prefixes(ours: Mapping[str, str], theirs: State, *, taken_off: str) -> list[str]:
    """Return the prefixes under which the file has names of the network, but not the one that was taken off those."""
    names = [name for name in ours if not name.endswith(_COUNTER)]
    found = {""}
    for anchor in {*names[:1], *names[len(names) // 2 :][:1], *names[-1:]}:
        found.update(name[: -len(anchor)] for name in theirs if name.endswith(f".{anchor}"))
    return sorted(found - ({taken_off} if taken_off else set()), key=lambda prefix: (len(prefix), prefix))


def _laid_beside(target: Target, ours: Mapping[str, str], own: str, entry: str, prefix: str, theirs: State) -> _Try:
    inside = {name[len(prefix) :]: value for name, value in theirs.items() if name.startswith(prefix)}
    places = tuple(f"{place.removeprefix(own)}." for place in target.places)
    head = {f"{own}{name}": value for name, value in inside.items() if name.startswith(places) and name not in ours}
    state = {ours[name]: value for name, value in inside.items() if name in ours}
    return _Try(
        entry=entry,
        prefix=prefix,
        state=state,
        head=head,
        outside=tuple(name for name in theirs if not name.startswith(prefix)),
        missing=tuple(name for name in target.shapes if name not in state and not name.endswith(_COUNTER)),
        unexpected=tuple(name for name in inside if name not in ours and f"{own}{name}" not in head),
        other_shape=tuple(name for name, value in state.items() if value.shape != target.shapes[name]),
        other_kind=tuple(name for name, value in state.items() if name in target.floats and not _is_plain(value)),
    )


def _is_plain(value: torch.Tensor) -> bool:
    """Return whether a tensor holds floating-point numbers, each of them, as weights that were not quantised do."""
    return value.is_floating_point() and not (value.is_quantized or value.is_sparse)


# ---- which one ------------------------------------------------------------------------------------------------------


def _chosen(checkpoint: Checkpoint, fitting: Sequence[_Try]) -> tuple[_Try, list[_Try]]:
    """Return the one that is taken, and those that fit as well and differ from it."""
    ranked = sorted((one for one in fitting if one.rank is not None), key=lambda one: one.rank or 0)
    chosen = ranked[0] if ranked else fitting[0]
    others = [one for one in fitting if one is not chosen and not _equal(one.state, chosen.state)]
    if not ranked and others:
        places = "; ".join(one.place for one in (chosen, *others))
        raise BackboneError(
            f"{checkpoint.path} holds several networks that fit, and they differ: {places}. Save the one that is meant "
            f"alone, as torch.save({_expression(chosen, checkpoint)}, 'weights.pth') does, and name that file."
        )
    return chosen, others


def _equal(one: State, other: State) -> bool:
    import torch

    return one.keys() == other.keys() and all(torch.equal(value, other[name]) for name, value in one.items())


def _expression(one: _Try, checkpoint: Checkpoint) -> str:
    """Return Python that gives the state dict of a try."""
    entries = "".join(f"[{name!r}]" for name in one.entry.split(".") if name)
    state = f"torch.load({checkpoint.path.name!r}){entries}"
    if not one.prefix:
        return state
    return f"{{name[{len(one.prefix)}:]: x for name, x in {state}.items() if name.startswith({one.prefix!r})}}"


def _notes(target: Target, chosen: _Try, others: Sequence[_Try]) -> Iterator[str]:
    if chosen.entry or chosen.prefix:
        yield f"taken from {chosen.place}"
    if others:
        yield f"not those of {'; '.join(one.place for one in others)}, which would fit as well, with other values"
    if chosen.outside:
        yield f"left out, as not under {chosen.prefix!r}: {shortly(chosen.outside)}"
    linear = {f"{place}.{part}" for place in target.places for part in ("weight", "bias")}
    if unlike := [name for name in chosen.head if name not in linear]:
        yield f"left out, as a classifier of its owner's: {shortly(unlike)}"
    if chosen.other_shape:
        yield f"resampled to this input size: {shortly(chosen.other_shape)}"


def _misfit(target: Target, checkpoint: Checkpoint, named: str, tries: Sequence[_Try]) -> BackboneError:
    best = max(tries, key=lambda one: (len(one.state), -len(one.prefix), -one.n_problems))
    parts = [(best.missing, "missing"), (best.unexpected, "unexpected")]
    problems = [f"{counted(len(names), 'name')} {what} ({shortly(names)})" for names, what in parts if names]
    if best.other_shape:
        name = best.other_shape[0]
        shapes = f"{name} is {tuple(best.state[name].shape)} where the network has {tuple(target.shapes[name])}"
        problems.append(f"{counted(len(best.other_shape), 'tensor')} of another shape ({shapes})")
    if best.other_kind:
        name, value = best.other_kind[0], best.state[best.other_kind[0]]
        kind = f"{name} is {'sparse ' if value.is_sparse else ''}{str(value.dtype).removeprefix('torch.')}"
        problems.append(
            f"{counted(len(best.other_kind), 'tensor')} not of plain floating-point numbers ({kind}), as weights are "
            "before they are quantised"
        )
    where = f", laid beside {best.place}" if best.entry or best.prefix else ""
    return BackboneError(
        f"The weights of {checkpoint.path} belong to another architecture than {named}: {'; '.join(problems)}{where}. "
        f"The file is {checkpoint.what}."
    )
