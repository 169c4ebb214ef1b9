"""The tables of `probestore list`, one per kind, made from the catalogues and from the folders that are registries."""

from __future__ import annotations

import ast
import inspect
import json
import pkgutil
from collections.abc import Callable
from dataclasses import asdict
from types import ModuleType
from typing import Any

import pyarrow as pa

from featurestore import registry
from featurestore.catalogue.datasets import known_datasets
from featurestore.catalogue.models import known_models

_LONGEST_GRID = 6


def models() -> pa.Table:
    """Return the model records that have a name. A study can name others as ``family:identifier``."""
    columns = ("backbone", "feature_dim", "input_size", "params", "imagenet_top1")
    rows = [{"model": s.name} | {column: getattr(s, column) for column in columns} for s in known_models().values()]
    return pa.Table.from_pylist(rows)


def datasets() -> pa.Table:
    """Return the dataset records that have a name."""
    return pa.Table.from_pylist(
        [{"dataset": spec.name, "source": spec.source, "metric": spec.metric} for spec in known_datasets().values()]
    )


def probes() -> pa.Table:
    """Return the files of probes/methods with the hyper-parameter that each chooses, and its options."""
    from probes import methods

    return pa.Table.from_pylist([_probe(name, methods.load(name)) for name in methods.names()])


def _probe(name: str, method: Any) -> dict[str, str]:
    return {
        "probe": name,
        "what it is": _first_paragraph(method.__doc__),
        "chooses": method.HYPERPARAMETER or "-",
        "solvers": ", ".join(method.SOLVERS) or "-",
        "options": ", ".join(f"{key}={_short(value)}" for key, value in asdict(method.Options()).items()) or "-",
    }


def _short(value: Any) -> str:
    """Return a default in TOML. Of a long grid, return its length and its ends."""
    if isinstance(value, tuple) and len(value) > _LONGEST_GRID:
        return f"[{len(value)} values, {value[0]:.4g} to {value[-1]:.4g}]"
    return json.dumps(value)


def solvers() -> pa.Table:
    """Return the files of probes/solvers."""
    import probes.solvers as package

    return _described("solver", package)


def backbones() -> pa.Table:
    """Return the files of featurestore/networks/backbones."""
    import featurestore.networks.backbones as package

    return _described("backbone", package)


def sources() -> pa.Table:
    """Return the files of featurestore/images/sources."""
    import featurestore.images.sources as package

    return _described("source", package)


def metrics() -> pa.Table:
    """Return the functions of probes/metrics.py."""
    from probes.metrics import METRICS

    return pa.Table.from_pylist(
        [{"metric": metric.name, "what it is": _first_paragraph(inspect.getdoc(metric.function))} for metric in METRICS]
    )


def queries() -> pa.Table:
    """Return the questions of queries/questions with their topics and their first lines."""
    from queries.asking import questions

    return pa.Table.from_pylist(
        [{"query": found.name, "topic": found.topic, "question": found.text} for found in questions.by_topic()]
    )


def plugins() -> pa.Table:
    """Return the entry points by which installed packages bring models and datasets; none is loaded."""
    columns = ("group", "name", "value", "distribution", "folder")
    rows = [
        (
            entry.group,
            entry.name,
            entry.value,
            registry.origin(entry),
            str(entry.dist.locate_file("")) if entry.dist else "",
        )
        for entry in registry.plugins()
    ]
    return pa.table({column: pa.array([row[i] for row in rows], pa.string()) for i, column in enumerate(columns)})


KINDS: dict[str, Callable[[], pa.Table]] = {
    function.__name__: function
    for function in (models, datasets, probes, solvers, metrics, backbones, sources, queries, plugins)
}
"""Functions that return what can be listed, by its kind."""


def _described(kind: str, package: ModuleType) -> pa.Table:
    """Return name and first paragraph of every module, read from the source: no module has to be imported."""
    modules = sorted(pkgutil.iter_modules(package.__path__), key=lambda module: module.name)
    return pa.Table.from_pylist([{kind: module.name, "what it is": _docstring(module)} for module in modules])


def _docstring(module: pkgutil.ModuleInfo) -> str:
    finder: Any = module.module_finder
    source = finder.find_spec(module.name).loader.get_source(module.name)
    return _first_paragraph(ast.get_docstring(ast.parse(source)))


def _first_paragraph(text: str | None) -> str:
    return " ".join((text or "").split("\n\n")[0].split())
