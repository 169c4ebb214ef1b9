"""The tables of probes/README.md, made from the code: ``make reference`` writes them."""

from __future__ import annotations

import inspect
import json
import re
from dataclasses import asdict
from pathlib import Path
from typing import Any

from featurestore import readme_parts
from probes import methods, metrics, solvers

README = Path(__file__).with_name("README.md")

_LONGEST_GRID = 6


def parts() -> dict[str, str]:
    """Return the parts of the README: name -> Markdown."""
    return {"probes": _probes(), "options": _options(), "solvers": _solvers(), "metrics": _metrics()}


def _probes() -> str:
    header = ("probe", "what it is", "chosen on validation", "multi-label", "source")
    learning_first = sorted(methods.names(), key=lambda name: not methods.predicts(name))
    return readme_parts.table(header, [_probe(name, methods.load(name)) for name in learning_first])


def _probe(name: str, method: Any) -> list[str]:
    chosen = f"`{method.HYPERPARAMETER}`" if method.HYPERPARAMETER else "nothing"
    return [
        f"[`{name}`](methods/{name}.py)",
        _first_sentence(method),
        chosen,
        "yes" if method.MULTILABEL else "no",
        _source(method),
    ]


def _options() -> str:
    rows = []
    for name in methods.names():
        kind = methods.load(name).Options
        meanings = _meanings(kind)
        rows += [[f"`{name}`", f"`{key} = {_default(value)}`", meanings[key]] for key, value in asdict(kind()).items()]
    return readme_parts.table(("probe", "option and default", "meaning"), rows)


def _meanings(kind: type) -> dict[str, str]:
    """Option -> the description in the docstring of an `Options` class."""
    entries = re.findall(r"^(\w[\w, ]*) : .*\n((?: +.*\n?)+)", inspect.getdoc(kind) or "", flags=re.MULTILINE)
    return {name: " ".join(text.split()) for names, text in entries for name in names.split(", ")}


def _default(value: Any) -> str:
    """Return a default in TOML. Of a long grid, return its length and its ends."""
    if isinstance(value, tuple) and len(value) > _LONGEST_GRID:
        return f"[{value[0]:g}, ..., {value[-1]:g}]  # {len(value)} values"
    return json.dumps(value)


def _solvers() -> str:
    users = {
        name: [probe for probe in methods.names() if name in methods.load(probe).SOLVERS] for name in solvers.names()
    }
    rows = [
        [
            f"[`{name}`](solvers/{name}.py)",
            _first_sentence(solvers.load(name)),
            ", ".join(f"`{user}`" for user in users[name]),
        ]
        for name in solvers.names()
    ]
    return readme_parts.table(("solver", "what it is", "of the probe"), rows)


def _metrics() -> str:
    rows = [[f"`{metric.name}`", _first_sentence(metric.function)] for metric in metrics.METRICS]
    return readme_parts.table(("metric", "what it is"), rows)


def _first_sentence(thing: Any) -> str:
    """Return the first paragraph of a docstring on one line, without its last full stop."""
    return " ".join((inspect.getdoc(thing) or "").split("\n\n")[0].split()).removesuffix(".")


def _source(method: Any) -> str:
    """Return the first publication that the docstring of a method names."""
    text = " ".join((inspect.getdoc(method) or "").split())
    found = re.search(r"Sources?: (.*?(?:19|20)\d\d)\b", text)
    return found[1] if found else ""


if __name__ == "__main__":
    readme_parts.write(README, parts())
