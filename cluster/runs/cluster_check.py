"""The nodes of a cluster, looked at before work starts: what each has of what a study needs, and what differs."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from typing import Any

import pyarrow as pa

from cluster.pool.cluster_facts import gathered
from cluster.pool.node_facts import Facts, Needs
from cluster.runs.study_run import find_modules
from cluster.study.study_file import Study
from featurestore import FeatureStore
from featurestore.networks.shipped_modules import shipment

_HERE = "this machine"
_SHORT = 12  # characters of a digest that are shown


def needs_of(study: Study | None, store: FeatureStore | None) -> Needs:
    """Return what a study and a store need on every node."""
    empty = Needs(store.uri, store.storage_options) if store else Needs()
    if study is None:
        return empty
    find_modules(study)
    named = [spec.identifier.split(":")[0] for spec in study.models if spec.family == "python"]
    files = [(spec.name, spec.weights) for spec in study.models if spec.weights not in ("pretrained", "none")]
    modules = shipment(study.folder, named)
    return replace(empty, modules=modules, datasets=tuple(study.datasets), weights=tuple(files))


def check_cluster(address: str, needs: Needs, note: Callable[[str], None]) -> tuple[pa.Table, list[str], bool]:
    """Compare the nodes of a cluster with this machine.

    Returns
    -------
    table : pyarrow.Table
        A row for this machine, and one for each node.
    said : list of str
        Sentences about what differs, and about nodes that cannot work.
    fit : bool
        Whether every node can work.
    """
    here, nodes = gathered(address, needs, note)
    names = [*here.values, *here.room]
    rows = [_row(_HERE, here, here, names), *(_row(node, found, here, names) for node, found in nodes.items())]
    columns = ["node", "state", *names]
    table = pa.table({name: pa.array([row[name] for row in rows], pa.string()) for name in columns})
    problems = [f"{node} cannot work: {problem}" for node, found in nodes.items() for problem in found.problems]
    unfit_here = [f"This machine cannot start a run: {problem}" for problem in here.problems]
    return table, [*unfit_here, *problems, *_differences(here, nodes)], not problems and not unfit_here


def _row(node: str, found: Facts, here: Facts, names: Iterable[str]) -> dict[str, Any]:
    """Return what a machine has; what is another than here is marked with a star."""
    differs = {name for name, _, _ in _other(here, found)}
    state = "cannot work" if found.problems else "differs" if differs else "as here"
    values = {**found.values, **found.room}
    cells = {name: _short(values.get(name, "")) + (" *" if name in differs else "") for name in names}
    return {"node": node, "state": "" if node == _HERE else state, **cells}


def _other(here: Facts, there: Facts) -> Iterator[tuple[str, str, str]]:
    """Yield what is not the same on a node that answered: its name, here, there."""
    for name, value in here.values.items():
        if there.values and there.values.get(name) != value:
            yield name, value, there.values.get(name, "not installed")


def _differences(here: Facts, nodes: dict[str, Facts]) -> Iterator[str]:
    found: dict[tuple[str, str, str], list[str]] = {}
    for node, facts in nodes.items():
        for difference in _other(here, facts):
            found.setdefault(difference, []).append(node)
    for (name, value, there), those in found.items():
        yield f"{name}: {_short(there)} on {', '.join(those)}; {_short(value)} on this machine."


def _short(value: str) -> str:
    return value[:_SHORT] if len(value) > 2 * _SHORT and " " not in value else value
