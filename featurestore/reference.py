"""The tables of featurestore/README.md, made from the code: ``make reference`` writes them."""

from __future__ import annotations

import ast
import pkgutil
from pathlib import Path
from types import ModuleType

from featurestore import readme_parts
from featurestore.images import sources
from featurestore.networks import backbones
from featurestore.store import schema

README = Path(__file__).with_name("README.md")

_NEEDED_BY = {
    "study": "its study",
    "cell": "its cell",
    "model": "cells of its model",
    "features": "cells of its features",
    "set": "nothing: it goes with its set",
}


def parts() -> dict[str, str]:
    """Return the parts of the README: name -> Markdown."""
    return {
        "tables": _tables(),
        "sources": _files(sources, "source"),
        "backbones": _files(backbones, "family"),
    }


def _tables() -> str:
    sets = [[f"`{name}`", table.row, "one per shard, and a manifest", "cells"] for name, table in schema.SETS.items()]
    records = [
        [f"`{name}`", table.row, f"one per `{table.named_by}`", _NEEDED_BY[table.needed_by]]
        for name, table in schema.TABLES.items()
    ]
    return readme_parts.table(("table", "one row per", "files", "needed by"), [*sets, *records])


def _files(package: ModuleType, kind: str) -> str:
    """Return a table of the files of a folder with the first paragraphs of their docstrings."""
    folder = Path(package.__path__[0])
    rows = []
    for module in sorted(pkgutil.iter_modules(package.__path__), key=lambda module: module.name):
        path = folder / f"{module.name}.py"
        text = (ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or "").replace("``", "`")
        link = path.relative_to(README.parent).as_posix()
        rows.append([f"[`{module.name}`]({link})", " ".join(text.split("\n\n")[0].split()).removesuffix(".")])
    return readme_parts.table((kind, "what it is"), rows)


if __name__ == "__main__":
    readme_parts.write(README, parts())
