"""The place of a store: a local path, ``s3://``, ``gs://``, or any other URL that fsspec has a driver for."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal
from urllib.parse import SplitResult, unquote, urlsplit

import pyarrow as pa
import pyarrow.fs as pafs

from featurestore.errors import ConfigurationError, StoreError, UnknownNameError
from featurestore.given_files import check_utf8, given_path

Kind = Literal["local", "s3", "gs", "fsspec"]
Options = Mapping[str, str]

# What a store on s3:// or gs:// can be told, and what it means to pyarrow; `retries` is for all but local stores.
_S3_NAMES = {
    "access_key": "access_key",
    "secret_key": "secret_key",
    "session_token": "session_token",
    "region": "region",
    "endpoint": "endpoint_override",
    "scheme": "scheme",
    "anonymous": "anonymous",
    "request_timeout": "request_timeout",
    "connect_timeout": "connect_timeout",
}
_GS_NAMES = {
    "endpoint": "endpoint_override",
    "scheme": "scheme",
    "anonymous": "anonymous",
    "project": "project_id",
}
_FLAGS = {"anonymous"}
_NUMBERS = {"request_timeout", "connect_timeout"}
_RETRIES = "retries"
_DEFAULT_RETRIES = 4
_NO_SECRETS = {"region", "endpoint", "scheme", "project", _RETRIES, *_FLAGS, *_NUMBERS}


@dataclass(frozen=True)
class Place:
    """A folder on some file system.

    Attributes
    ----------
    uri : str
        Absolute path, or URI. It holds no credentials.
    root : str
        The folder as `filesystem` knows it.
    options : mapping of str to str
        Options as they were given; they may hold credentials, so they are never shown or stored.
    retries : int
        Number of further tries after an error that may pass.
    """

    kind: Kind
    uri: str
    root: str
    filesystem: pafs.FileSystem
    retries: int
    options: Options = field(default_factory=dict, repr=False)

    def path(self, name: str) -> str:
        """Return the path of `name` in the folder, as `filesystem` knows it."""
        return f"{self.root}/{name}" if name else self.root

    def shown_options(self) -> list[str]:
        """Return the options as arguments of a command; the value of one that may be a secret is written as ``...``."""
        shown = {
            name: value if name in _NO_SECRETS and "@" not in value else "..."
            for name, value in sorted(self.options.items())
        }
        return [word for name, value in shown.items() for word in ("--storage-option", f"{name}={value}")]


def open_place(uri: str, options: Options | None = None) -> Place:
    """Find the file system of a path or URI; nothing is read or written there.

    Parameters
    ----------
    uri : str
        A path, ``file://``, ``s3://bucket/prefix``, ``gs://bucket/prefix`` or a URL of fsspec (``az://``, ``memory://``).
    options : mapping of str to str, optional
        For s3: endpoint, region, access_key, secret_key, session_token, scheme, anonymous, request_timeout,
        connect_timeout (seconds); what is absent comes from the usual AWS variables and files. For gs: endpoint,
        scheme, anonymous, project. For fsspec: what the driver takes. For all of them: retries.

    Raises
    ------
    UnknownNameError
        If there is no such option.
    ConfigurationError
        If the value of an option cannot be used, or the URI holds options itself.
    StoreError
        If nothing can open such a URI.
    """
    given = {name: str(value) for name, value in (options or {}).items()}
    scheme = uri.split("://")[0] if "://" in uri else "file"
    if scheme == "file":
        _check_names("a local path", given, ())
        folder = _local_folder(uri)
        return Place("local", folder, folder, pafs.LocalFileSystem(), retries=2)
    _check_uri(uri)
    retries = _whole_number(_RETRIES, given.get(_RETRIES, str(_DEFAULT_RETRIES)))
    own = {name: value for name, value in given.items() if name != _RETRIES}
    try:
        kind, root, filesystem = _opened(scheme, uri, own)
    except (pa.ArrowException, OSError, ValueError, TypeError) as error:
        raise StoreError(f"Cannot open the store {uri!r}: {error}") from error
    return Place(kind, uri.rstrip("/"), root.rstrip("/"), filesystem, retries, given)


def _local_folder(uri: str) -> str:
    """Return the absolute path that a path or a ``file://`` URL names."""
    parts = _split(uri) if "://" in uri else None
    if parts and (parts.netloc not in ("", "localhost") or parts.query or parts.fragment):
        raise ConfigurationError(
            "A file:// URL must be file:///absolute/path, without a host, and with %23 for # and %3F for ?. "
            f"Got {uri!r}. The plain path will do, too."
        )
    folder = given_path(unquote(parts.path) if parts else uri).absolute()
    check_utf8("a store", folder)
    if "\0" in str(folder) or not uri:
        raise ConfigurationError(f"The path of a store must be one of a folder. Got {uri!r}.")
    return str(folder)


def _s3_endpoint(options: Options) -> tuple[str, bool] | None:
    """Return (host and port, whether TLS) of an S3 endpoint other than Amazon's, by options or AWS variables."""
    endpoint = options.get("endpoint") or os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL")
    if not endpoint:
        return None
    scheme, _, rest = endpoint.rpartition("://")
    return rest.rstrip("/"), (options.get("scheme") or scheme or "https") == "https"


def _s3_region(options: Options) -> str | None:
    """Return the region by the options or the AWS variables; None if none of them says it."""
    return options.get("region") or os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION")


def _opened(scheme: str, uri: str, options: Options) -> tuple[Kind, str, pafs.FileSystem]:
    root = uri.split("://", 1)[1]
    if scheme == "s3":
        _check_names("s3://", options, [*_S3_NAMES, _RETRIES])
        return "s3", root, _s3(root.split("/")[0], options)
    if scheme in ("gs", "gcs") and hasattr(pafs, "GcsFileSystem"):
        _check_names("gs://", options, [*_GS_NAMES, _RETRIES])
        return "gs", root, pafs.GcsFileSystem(**_renamed(options, _GS_NAMES))
    return _fsspec(scheme, uri, options)


def _s3(bucket: str, options: Options) -> pafs.S3FileSystem:
    """Return the file system of a bucket. Uploads below 10 MiB are one PUT, which S3 takes whole or not at all."""
    arguments = _renamed(options, _S3_NAMES)
    endpoint = _s3_endpoint(options)
    if endpoint:
        arguments |= {"endpoint_override": endpoint[0], "scheme": "https" if endpoint[1] else "http"}
    arguments["region"] = _s3_region(options) or ("us-east-1" if endpoint else pafs.resolve_s3_region(bucket))
    return pafs.S3FileSystem(**arguments, allow_delayed_open=True)


def _fsspec(scheme: str, uri: str, options: Options) -> tuple[Kind, str, pafs.FileSystem]:
    try:
        from fsspec.core import url_to_fs
    except ImportError as error:
        raise StoreError(f"Stores on {scheme}:// need fsspec: pip install fsspec.") from error
    try:
        filesystem, root = url_to_fs(uri, **options)
    except ImportError as error:  # it says which package the driver is in
        raise StoreError(f"Cannot open the store {uri!r}: its driver is not installed. {error}") from error
    return "fsspec", root, pafs.PyFileSystem(pafs.FSSpecHandler(filesystem))


def _renamed(options: Options, names: Mapping[str, str]) -> dict[str, Any]:
    return {names[name]: _value(name, text) for name, text in options.items()}


def _value(name: str, text: str) -> str | bool | float:
    if name in _FLAGS:
        if text.lower() not in ("true", "false"):
            raise ConfigurationError(f"The storage option {name} must be true or false. Got {text!r}.")
        return text.lower() == "true"
    if name in _NUMBERS:
        try:
            return float(text)
        except ValueError as error:
            raise ConfigurationError(f"The storage option {name} must be a number of seconds. Got {text!r}.") from error
    return text


def _whole_number(name: str, text: str) -> int:
    if not text.isdecimal():
        raise ConfigurationError(f"The storage option {name} must be a whole number, 0 or more. Got {text!r}.")
    return int(text)


def _check_names(place: str, options: Options, known: tuple[str, ...] | list[str]) -> None:
    for name in options:
        if name not in known:
            raise UnknownNameError(f"storage option of {place}", name, known, f"It takes {', '.join(known) or 'none'}.")


def _split(uri: str) -> SplitResult:
    try:
        return urlsplit(uri)
    except ValueError as error:
        raise ConfigurationError(f"The URI of a store must be one, such as s3://bucket/prefix. Got {uri!r}.") from error


def _check_uri(uri: str) -> None:
    """Check that a URI names a place, and holds nothing secret: it is printed and stored."""
    parts = _split(uri)
    if not uri.split("://", 1)[1].strip("/"):
        raise ConfigurationError(f"The URI of a store must name a place, such as s3://bucket/prefix. Got {uri!r}.")
    if parts.username is not None or parts.password is not None or parts.query:
        raise ConfigurationError(
            f"The URI of a store must hold neither credentials nor options, because it is shown and stored; it is "
            f"{parts.scheme}://bucket/prefix. Give them with --storage-option KEY=VALUE, or as the variables that the "
            "AWS tools use."
        )
