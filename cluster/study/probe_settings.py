"""The ``[probe]`` tables of a study, checked: probes, their options, and the numbers of images."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from importlib.util import find_spec
from typing import Any

from cluster.study.toml_tables import Place, TomlTables, repeated
from featurestore.errors import ConfigurationError, UnknownNameError
from featurestore.store.layout import key_fields
from probes import methods, solvers

_MOST_SEEDS = 1000  # each is a cell for every model, dataset, probe and number of images
_INSTALLED_BY = {"cuml": "pip install 'probestore[cuml]', on a machine with an NVIDIA GPU"}


@dataclass(frozen=True, kw_only=True)
class ProbeKeys:
    """The keys of the ``[probe]`` table itself.

    Attributes
    ----------
    probes : list of str
        Probes to fit.
    solver : str
        Solver of the probes that need one; ``"auto"`` is the first solver of each probe.
    seed : int
        Seed of the fits on all training images.
    n_per_class : list of int
        Few-shot tasks beside the full one, by their number of training images per class.
    few_shot_seeds : int
        How often each few-shot task is drawn, with seeds from 0.
    """

    probes: tuple[str, ...] = ("logistic",)
    solver: str = "auto"
    seed: int = 0
    n_per_class: tuple[int, ...] = ()
    few_shot_seeds: int = 3

    def __post_init__(self) -> None:
        if self.seed < 0:
            raise ConfigurationError(f"seed must not be negative. Got {self.seed}.")
        if not 1 <= self.few_shot_seeds <= _MOST_SEEDS:
            raise ConfigurationError(f"few_shot_seeds must be 1 to {_MOST_SEEDS}. Got {self.few_shot_seeds}.")
        if min(self.n_per_class, default=1) < 1:
            raise ConfigurationError(f"n_per_class must be numbers of images, at least 1. Got {min(self.n_per_class)}.")
        for name in ("probes", "n_per_class"):
            if twice := repeated(getattr(self, name)):
                raise ConfigurationError(f"{name} must name everything once. Got {twice[0]!r} more than once.")


@dataclass(frozen=True, kw_only=True)
class ProbeSettings(ProbeKeys):
    """The ``[probe]`` table and the tables in it.

    Attributes
    ----------
    options : mapping of str to Options
        Options of the probes that have a table ``[probe.<name>]``.
    """

    options: Mapping[str, Any] = field(default_factory=dict)

    @cached_property
    def chosen(self) -> Mapping[str, tuple[str, str]]:
        """Solver and options of each probe, as `solver_of` and `options_json` return them, for thousands of cells."""
        return {probe: (self.solver_of(probe), self.options_json(probe)) for probe in self.probes}

    def options_json(self, probe: str) -> str:
        """Return all options of a probe as JSON, which is part of the keys of its cells."""
        options = self.options[probe] if probe in self.options else methods.load(probe).Options()
        return json.dumps(key_fields(options), sort_keys=True)

    def solver_of(self, probe: str) -> str:
        """Return the solver of a probe; an empty string if it needs none."""
        return resolve_solver(probe, self.solver)


def read_probe_settings(tables: TomlTables, content: Any) -> ProbeSettings:
    """Return the settings of the table ``[probe]`` and the tables in it. Methods are imported, nothing is computed.

    Raises
    ------
    ConfigurationError
        If something is wrong. The message has the line and a suggestion.
    """
    keys, options = _parted(content)
    asked = tables.record(ProbeKeys, keys, Place("probe"))
    _check_probes(tables, asked)
    found = {name: _read_options(tables, asked, name, table) for name, table in options.items()}
    return ProbeSettings(**dataclasses.asdict(asked), options=found)


def probe_settings(*, options: Sequence[str], **keys: Any) -> ProbeSettings:
    """Return settings that come from a command and not from a file.

    Parameters
    ----------
    options : sequence of str
        ``probe.option=value``; the value is JSON, or plain text.
    **keys
        Keys of the ``[probe]`` table.

    Raises
    ------
    ConfigurationError
        If something is wrong. The message has a suggestion.
    """
    by_probe: dict[str, dict[str, Any]] = {}
    for text in options:
        probe, option, value = _option(text)
        by_probe.setdefault(probe, {})[option] = value
    return read_probe_settings(TomlTables("", "These probes cannot be fitted"), {**keys, **by_probe})


def resolve_solver(probe: str, wanted: str) -> str:
    """Return the solver of a probe: the wanted one, or for "auto" its first one; an empty string if it needs none.

    Raises
    ------
    UnknownNameError
        If there is no such probe, or it does not take that solver.
    ConfigurationError
        If the solver needs a package that is not installed.
    """
    offered = methods.load(probe).SOLVERS
    known = offered or sorted({*solvers.names(), *_INSTALLED_BY})
    if wanted != "auto" and wanted not in known:
        raise UnknownNameError(f"solver of the probe {probe!r}:", wanted, known, f"There are: {', '.join(known)}.")
    if not offered:
        return ""
    found = offered[0] if wanted == "auto" else wanted
    if found in _INSTALLED_BY and find_spec(found) is None:
        others = ", ".join(name for name in offered if name not in _INSTALLED_BY)
        raise ConfigurationError(
            f"The solver {found!r} needs the package {found}, which cannot be imported here. Install it "
            f"({_INSTALLED_BY[found]}), or take another solver: {others}."
        )
    return found


def _parted(content: Any) -> tuple[Any, dict[str, Any]]:
    """Return the keys of the table, and the tables in it."""
    if not isinstance(content, dict):
        return content, {}
    fields = {own.name for own in dataclasses.fields(ProbeKeys)}
    inner = {name: value for name, value in content.items() if isinstance(value, dict) and name not in fields}
    return {name: value for name, value in content.items() if name not in inner}, inner


def _check_probes(tables: TomlTables, asked: ProbeKeys) -> None:
    for name in asked.probes:
        key = "solver" if name in methods.names() else "probes"
        try:
            resolve_solver(name, asked.solver)
        except ConfigurationError as error:
            raise tables.error(str(error), Place("probe", key)) from error


def _read_options(tables: TomlTables, asked: ProbeKeys, name: str, content: dict[str, Any]) -> Any:
    place = Place(f"probe.{name}")
    try:
        kind = methods.load(name).Options
    except UnknownNameError as error:
        raise tables.error(str(error), place) from error
    if name not in asked.probes:
        message = f"{place} sets options of a probe that is not wanted: probes has {', '.join(asked.probes) or 'none'}."
        raise tables.error(f"{message} Add {name!r} to probes, or remove the table.", place)
    return tables.record(kind, content, place)


def _option(text: str) -> tuple[str, str, Any]:
    place, equals, value = text.partition("=")
    probe, dot, option = place.strip().partition(".")
    if not (equals and dot and option):
        raise ConfigurationError(
            f"An option must be probe.option=value, for example knn.temperature=0.1. Got {text!r}."
        )
    methods.load(probe)
    try:
        return probe, option, json.loads(value)
    except (json.JSONDecodeError, RecursionError):
        return probe, option, value
