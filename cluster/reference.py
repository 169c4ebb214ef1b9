"""The parts of cluster/README.md that are made from the code: ``make reference`` writes them."""

from __future__ import annotations

import ast
import dataclasses
import inspect
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click

from cluster.cli import cli
from cluster.reporting import events
from cluster.study.cluster_settings import WorkerSettings
from cluster.study.probe_settings import ProbeKeys
from cluster.study.study_file import ClusterKeys, ExtractSettings, TopKeys
from cluster.work import kinds
from featurestore import readme_parts, registry
from featurestore.catalogue.datasets import DatasetSpec
from featurestore.catalogue.models import ModelSpec

README = Path(__file__).with_name("README.md")

_TABLES = {
    "the top of the file": TopKeys,
    "`[extract]`": ExtractSettings,
    "`[probe]`": ProbeKeys,
    "`[cluster]`": ClusterKeys,
    "a kind of work in `[cluster]`": WorkerSettings,
    "`[[model]]`": ModelSpec,
    "`[[dataset]]`": DatasetSpec,
}
_NOT_BEFORE = "\b\n"  # click's mark of a paragraph whose lines stay as they are


def parts() -> dict[str, str]:
    """Return the parts of the README: name -> Markdown."""
    return {"keys": _keys(), "events": _events(), "kinds": _kinds(), "commands": _commands()}


# ---- study files -----------------------------------------------------------------------------------------------


def _keys() -> str:
    tables = (
        f"**{place[0].upper()}{place[1:]}**\n\n" + readme_parts.table(("key", "default", "meaning"), list(_rows(kind)))
        for place, kind in _TABLES.items()
    )
    return "\n\n".join(tables)


def _rows(kind: type) -> Iterator[list[str]]:
    """Return a row for each entry under "Attributes" in the docstring of a record."""
    fields = {field.name: field for field in dataclasses.fields(kind)}
    entries = re.findall(r"^(\w[\w, ]*) : .*\n((?: +.*\n?)+)", inspect.getdoc(kind) or "", flags=re.MULTILINE)
    for names, meaning in entries:
        keys = names.split(", ")
        defaults = dict.fromkeys(_default(fields[key]) for key in keys)
        yield [", ".join(f"`{key}`" for key in keys), ", ".join(defaults), _one_line(meaning)]


def _default(field: dataclasses.Field[Any]) -> str:
    """Return a default as TOML has it; nothing where there is none to write down."""
    if field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING:
        return "must be given"
    return "" if field.default in (None, dataclasses.MISSING) else f"`{json.dumps(field.default)}`"


# ---- events and kinds of work ----------------------------------------------------------------------------------


def _events() -> str:
    documented = [inspect.getdoc(events) or "", *(text for _, text in _files_of_kinds())]
    rows = [
        [f"`{name}`", ", ".join(f"`{field}`" if field != "..." else field for field in fields.split(", ")), meaning]
        for text in documented
        for name, fields, meaning in _entries(text)
    ]
    return readme_parts.table(("event", "fields", "meaning"), rows)


def _entries(text: str) -> Iterator[tuple[str, str, str]]:
    """Return name, fields and meaning of the events that a module describes."""
    for name, fields, meaning in re.findall(r"^(\w+): ([\w, .]+)\n((?: +.*\n?)+)", text, flags=re.MULTILINE):
        yield name, fields, _one_line(meaning)


def _kinds() -> str:
    rows = [
        [f"[`{name}`](work/kinds/{name}.py)", _one_line(text.split("\n\n")[0]).removesuffix(".")]
        for name, text in _files_of_kinds()
    ]
    return readme_parts.table(("kind of work", "what it is"), rows)


def _files_of_kinds() -> Iterator[tuple[str, str]]:
    folder = Path(kinds.__path__[0])
    for name in sorted(registry.names(kinds)):
        yield name, ast.get_docstring(ast.parse((folder / f"{name}.py").read_text(encoding="utf-8"))) or ""


# ---- commands --------------------------------------------------------------------------------------------------


def _commands() -> str:
    above = click.Context(cli, info_name="probestore")
    return "\n\n".join(_section(command, context) for command, context in _all_commands(cli, above))


def _all_commands(group: click.Group, above: click.Context) -> Iterator[tuple[click.Command, click.Context]]:
    """Return every command that can be run; one of a group instead of the group."""
    for name in group.list_commands(above):
        command = group.get_command(above, name)
        assert command is not None
        context = click.Context(command, info_name=name, parent=above)
        if isinstance(command, click.Group):
            yield from _all_commands(command, context)
        else:
            yield command, context


def _section(command: click.Command, context: click.Context) -> str:
    usage = " ".join([context.command_path, *command.collect_usage_pieces(context)])
    rows = [record for option in command.params if (record := option.get_help_record(context)) and record[1]]
    options = readme_parts.table(("option", "meaning"), [[f"`{names}`", _one_line(text)] for names, text in rows])
    head = f"### {context.command_path}\n\n`{usage}`"
    return "\n\n".join([head, *map(_paragraph, _paragraphs(command)), options])


def _paragraphs(command: click.Command) -> list[str]:
    return inspect.cleandoc(command.help or "").split("\n\n")


def _paragraph(text: str) -> str:
    """Return a paragraph of a help text as Markdown: an example as shell commands, a list as it is."""
    if not text.startswith(_NOT_BEFORE):
        return _one_line(text)
    lines = text.removeprefix(_NOT_BEFORE).removeprefix("Example:")
    if lines == text.removeprefix(_NOT_BEFORE):
        return f"```text\n{lines}\n```"
    commands = [command.strip() for line in lines.splitlines() for command in line.split(" && ")]
    return "```sh\n" + "\n".join(commands) + "\n```"


def _one_line(text: str) -> str:
    return " ".join(text.split()).replace("``", "`")


if __name__ == "__main__":
    readme_parts.write(README, parts())
