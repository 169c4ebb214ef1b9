"""The form of a store's URI: what must hold so that every reader takes it for the same place, and may show it."""

from __future__ import annotations

import posixpath
import re
import unicodedata
from urllib.parse import SplitResult, urlsplit

from featurestore.errors import ConfigurationError

_SCHEMES = ("s3", "gs", "gcs", "az", "abfs", "abfss", "http", "https", "memory")
_ALIASES = {"s3a": "s3", "s3n": "s3"}
_BUCKETS = ("s3", "gs", "gcs")
_CONTAINERS = ("abfs", "abfss")
_FORM = "s3://bucket/prefix"
_NO_TEXT = ("Cc", "Cs")  # categories of Unicode: control characters, halves of characters


def scheme_of(uri: str) -> str:
    """Return the scheme of a URI; ``"file"`` for a path.

    Raises
    ------
    ConfigurationError
        If the text is neither, but nearly a URI: ``s3:/bucket``, ``S3://bucket``.
    """
    found = re.match(rf"\s*({'|'.join((*_SCHEMES, *_ALIASES))}):([/\\]*)", uri, re.IGNORECASE)
    if not found:
        return uri.partition("://")[0] if "://" in uri else "file"
    scheme = _ALIASES.get(found[1].lower(), found[1].lower())
    if not uri.startswith(f"{scheme}://"):
        folder = "" if "://" in uri else f", or ./{uri.lstrip()} for a folder of that name"
        raise ConfigurationError(
            f"The URI of a store must begin with {scheme}://. Got {uri!r}. "
            f"Write {scheme}://{uri[found.end() :]}{folder}."
        )
    return scheme


def split(uri: str) -> SplitResult:
    """Split a URI.

    Raises
    ------
    ConfigurationError
        If it is none.
    """
    try:
        return urlsplit(uri)
    except ValueError as error:
        raise ConfigurationError(f"The URI of a store must be one, such as {_FORM}. Got {uri!r}.") from error


def check_uri(uri: str) -> None:
    """Check that a URI names one place for all who read it, and holds nothing secret: it is printed and stored.

    Raises
    ------
    ConfigurationError
        If it does not. The message has the right form.
    """
    parts = split(uri)
    container = parts.scheme in _CONTAINERS  # of Azure, which stands where others have a user
    if (parts.username is not None and not container) or parts.password is not None or parts.query:
        raise ConfigurationError(
            f"The URI of a store must hold neither credentials nor options, because it is shown and stored; it is "
            f"{parts.scheme}://bucket/prefix. Give them with --storage-option KEY=VALUE, or as the variables that the "
            "AWS tools use."
        )
    scheme, _, place = uri.partition("://")
    if not place.strip("/ "):
        raise ConfigurationError(f"The URI of a store must name a place, such as {_FORM}. Got {uri!r}.")
    if place.removesuffix("/") != (right := _right(scheme, place)):
        raise ConfigurationError(
            "The prefix of a store must have no empty part (//), no part . or .., no backslash, no control character "
            f"and no space at its ends, because object stores and file systems read these differently. Got {uri!r}. "
            f"Write {scheme}://{right}"
        )


def _right(scheme: str, place: str) -> str:
    """Return a place as one writes it for all readers alike, without a slash at its end."""
    text = (
        "".join(letter for letter in place if unicodedata.category(letter) not in _NO_TEXT).replace("\\", "/").strip()
    )
    root = "/" if scheme not in _BUCKETS and place.startswith("/") else ""  # of a file system, or where no host is
    bucket, _, prefix = text.lstrip("/").partition("/")
    inside = posixpath.normpath(f"/{prefix.strip().lstrip('/')}").strip("/")
    return root + bucket + (f"/{inside}" if inside else "")
