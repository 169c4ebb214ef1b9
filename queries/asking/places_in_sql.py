"""How DuckDB reaches the files of a store: by its own S3 client, or by the file system that the store itself uses."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path

import duckdb

from featurestore.errors import QueryError
from featurestore.store.places import Place, s3_endpoint, s3_region

PATTERNS = "*?[="
"""Characters of a path that DuckDB would not read as they are: patterns, and ``=``, which makes a folder a column."""


def patterns_in(path: str) -> str:
    """Return the characters of a path, each once, that DuckDB would read as something else."""
    return "".join(character for character in PATTERNS if character in path)


def plain_temporary_folder() -> str:
    """Return a folder for temporary files whose path DuckDB reads as it is.

    Raises
    ------
    QueryError
        If there is none.
    """
    try:
        usual = tempfile.gettempdir()
    except OSError:  # none of those that Python knows can be written
        usual = os.environ.get("TMPDIR", "/tmp")
    for folder in (usual, "/tmp", "/var/tmp", "/dev/shm"):
        if not patterns_in(folder) and os.access(folder, os.W_OK):
            return folder
    raise QueryError(
        f"SQL needs a folder for temporary files that can be written and whose path holds none of "
        f"{' '.join(PATTERNS)}. Got {usual!r}. Name another one with the variable TMPDIR."
    )


def as_duckdb_opens(files: Iterable[str], place: Place, folder: Path) -> list[str]:
    """Return the paths of files of a store as DuckDB has to be given them.

    A local store below a folder such as ``lr=0.1`` or ``[1]`` is reached by a link in `folder`.
    """
    if place.kind != "local" or not patterns_in(place.root):
        return list(files)
    link = folder / "store"
    if not link.is_symlink():
        link.symlink_to(place.root, target_is_directory=True)
    above = f"{place.root}/"
    return [f"{link}/{file.removeprefix(above)}" if file.startswith(above) else file for file in files]


def connect_place(connection: duckdb.DuckDBPyConnection, place: Place) -> None:
    """Let a connection read the files of a place, with the options that the store was opened with.

    Raises
    ------
    QueryError
        If DuckDB cannot load its extension for the place.
    """
    if place.kind == "s3":
        _connect_s3(connection, place.options)
    elif place.kind != "local":
        connection.register_filesystem(place.fsspec())


def _connect_s3(connection: duckdb.DuckDBPyConnection, options: Mapping[str, str]) -> None:
    """Load httpfs, from its Python package where there is no network, and hand it the options and AWS variables."""
    try:
        from duckdb_extensions import import_extension

        import_extension("httpfs", con=connection)
    except ImportError:
        _download_httpfs(connection)
    connection.load_extension("httpfs")
    settings = ", ".join(f"{name} {literal(value)}" for name, value in _s3_settings(options).items())
    try:
        connection.execute(f"create secret (type s3{', ' if settings else ''}{settings})")
    except duckdb.Error:  # its message would show the statement, and with it the credentials
        raise QueryError("DuckDB refuses the credentials or the endpoint of this store. Check them.") from None


def _download_httpfs(connection: duckdb.DuckDBPyConnection) -> None:
    try:
        connection.install_extension("httpfs")
    except duckdb.Error as error:
        raise QueryError(
            f"SQL over s3:// needs DuckDB's httpfs: pip install 'probestore[s3]'. Its download failed: {error}"
        ) from error


def _s3_settings(options: Mapping[str, str]) -> dict[str, str]:
    given = {} if options.get("anonymous", "").lower() == "true" else _credentials(options)
    settings = {**given, "region": s3_region(options)}
    if endpoint := s3_endpoint(options):
        settings |= {"endpoint": endpoint[0], "use_ssl": str(endpoint[1]), "url_style": "path"}
    return {name: value for name, value in settings.items() if value}


def _credentials(options: Mapping[str, str]) -> dict[str, str | None]:
    """Return the credentials of the options, else those of the AWS variables; never some of each."""
    if "access_key" in options:
        names, values = ("access_key", "secret_key", "session_token"), options
    else:
        names, values = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"), os.environ
    return dict(zip(("key_id", "secret", "session_token"), map(values.get, names), strict=True))


def literal(text: str) -> str:
    """Return `text` as a string of SQL."""
    return "'" + text.replace("'", "''") + "'"
