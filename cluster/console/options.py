"""Options and arguments that several commands take."""

from __future__ import annotations

import os
from pathlib import Path

import click

from featurestore.errors import ConfigurationError

DEFAULT_STORE = "store"

store_option = click.option(
    "--store",
    "store",
    metavar="URI",
    envvar="PROBESTORE_STORE",
    show_envvar=True,
    help="Folder or s3://bucket/prefix of the store. [default: ./store]",
)


def _storage_options(context: click.Context, parameter: click.Parameter, texts: tuple[str, ...]) -> dict[str, str]:
    """Return KEY=VALUE texts as a dictionary. The error does not show a wrong text, which may hold a credential."""
    if not all("=" in text for text in texts):
        raise ConfigurationError("A --storage-option must be KEY=VALUE, such as region=eu-west-1.")
    return dict(key_value(text) for text in texts)


storage_option = click.option(
    "--storage-option",
    "storage_options",
    metavar="KEY=VALUE",
    multiple=True,
    callback=_storage_options,
    help="Setting of the file system, e.g. endpoint=URL or region=NAME; can be repeated. The AWS variables count, too.",
)
format_option = click.option(
    "--format",
    "format_",
    type=click.Choice(["table", "csv", "json", "markdown", "latex", "parquet"]),
    default="table",
    show_default=True,
    help="Format of the answer.",
)
out_option = click.option("--out", type=click.Path(path_type=Path), help="File to write to instead of the terminal.")
address_option = click.option(
    "--address",
    metavar="ADDRESS",
    help="Ray cluster to join: auto, host:port or ray://host:port. Without it, Ray is started on this machine.",
)
local_option = click.option(
    "--local",
    is_flag=True,
    help="Work in this process, one unit at a time, without Ray. This suits debuggers and small studies.",
)


study_argument = click.argument("study", type=click.Path(path_type=Path))
study_store_option = click.option(
    "--store",
    metavar="URI",
    help="Folder or s3://bucket/prefix of the store. [default: that of the study, else PROBESTORE_STORE, else ./store]",
)
strict_option = click.option(
    "--strict", is_flag=True, help="Stop a dataset at its first unreadable image, instead of leaving the image out."
)
events_option = click.option(
    "--events", metavar="FILE", help="Append events to FILE as JSON lines; - is standard output."
)
replace_option = click.option(
    "--replace",
    is_flag=True,
    help="Let STUDY take the place of the study of another file that was run under the same name.",
)
accept_drift_option = click.option(
    "--accept-drift",
    is_flag=True,
    help="Let a network count as the same although it gives other features here than those that are stored.",
)
retry_option = click.option(
    "--retry-failed",
    is_flag=True,
    help="Try failed work again, although nothing that it depends on has changed.",
)


def whole_text(text: str) -> str:
    """Return an argument that is no path as the UTF-8 that a person typed, although the locale knows ASCII only."""
    if not any("\ud800" <= character <= "\udfff" for character in text):
        return text
    try:
        return os.fsencode(text).decode()
    except UnicodeError:
        return text


def key_value(text: str) -> tuple[str, str]:
    """Split `text` at its first equals sign."""
    key, equals, value = text.partition("=")
    if not equals:
        raise ConfigurationError(f"A parameter must be key=value. Got {text!r}.")
    return whole_text(key.strip()), whole_text(value)
