"""The place of a store: a local path, ``s3://``, ``gs://``, or another URL that fsspec has a driver for."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Literal
from urllib.parse import unquote

import pyarrow as pa
import pyarrow.fs as pafs

from featurestore.errors import ConfigurationError, StoreError
from featurestore.given_files import check_utf8, given_path
from featurestore.store import s3_client, storage_options
from featurestore.store.retries import trying_itself
from featurestore.store.storage_options import CA_FILE, RETRIES, Options
from featurestore.store.store_uris import check_uri, scheme_of, split

Kind = Literal["local", "s3", "gs", "fsspec"]

_GS_NAMES = {
    "endpoint": "endpoint_override",
    "scheme": "scheme",
    "anonymous": "anonymous",
    "project": "project_id",
}
_GS_PATIENCE = timedelta(seconds=4)  # of Google's client, which tries for 15 minutes by default; we try again

_MOST_TRIES = 3  # of a client of S3, which does not know what lasts


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
    patient : FileSystem
        The same for what takes several requests, a listing or a large upload: it tries each of them several times,
        where `filesystem` leaves that to its user, who would begin all of them anew.
    retries : int
        Number of further tries after an error that may pass.
    """

    kind: Kind
    uri: str
    root: str
    filesystem: pafs.FileSystem
    patient: pafs.FileSystem
    retries: int
    options: Options = field(default_factory=dict, repr=False)

    def path(self, name: str) -> str:
        """Return the path of `name` in the folder, as `filesystem` knows it."""
        return f"{self.root}/{name}" if name else self.root

    @contextmanager
    def patiently(self) -> Iterator[pafs.FileSystem]:
        """Give the patient file system to the block; what it reports is known as tried often, where it tries itself."""
        with trying_itself() if self.patient is not self.filesystem else nullcontext():
            yield self.patient

    def shown_options(self) -> list[str]:
        """Return the options as arguments of a command; the value of one that may be a secret is written as ``...``."""
        return storage_options.shown(self.options)


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
    scheme = scheme_of(uri)
    if scheme == "file":
        storage_options.check_names("a local path", given, ())
        folder = _local_folder(uri)
        local = pafs.LocalFileSystem()
        return Place("local", folder, folder, local, local, retries=2)
    check_uri(uri)
    if scheme in ("http", "https"):
        raise StoreError(
            f"A store must lie in a folder or a bucket; behind {scheme}:// files cannot be listed under their names. "
            f"Got {uri!r}. Give s3://bucket/prefix, with --storage-option endpoint={scheme}://HOST where it is not "
            "Amazon's, or copy the store into a folder."
        )
    if CA_FILE in given:  # another process, which is given the options, may work in another folder
        given[CA_FILE] = str(given_path(given[CA_FILE]).absolute())
    retries = storage_options.retries(given)
    own = {name: value for name, value in given.items() if name != RETRIES}
    try:
        kind, root, filesystem, patient = _opened(scheme, uri, own, retries)
    except (pa.ArrowException, OSError, ValueError, TypeError) as error:
        raise StoreError(f"Cannot open the store {uri!r}: {error}") from error
    return Place(kind, uri.rstrip("/"), root.rstrip("/"), filesystem, patient, retries, given)


def _local_folder(uri: str) -> str:
    """Return the absolute path that a path or a ``file://`` URL names."""
    parts = split(uri) if "://" in uri else None
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


def _opened(
    scheme: str, uri: str, options: Options, retries: int
) -> tuple[Kind, str, pafs.FileSystem, pafs.FileSystem]:
    """Return the kind of a place, its root, its file system and the patient one."""
    root = uri.split("://", 1)[1]
    if scheme == "s3":
        storage_options.check_names("s3://", options, [*s3_client.OPTIONS, RETRIES])
        bucket = root.split("/")[0]
        once = s3_client.open_s3(bucket, options)
        patient = s3_client.open_s3(bucket, {**options, "region": once.region}, tries=min(1 + retries, _MOST_TRIES))
        return "s3", root, once, patient
    if scheme in ("gs", "gcs") and hasattr(pafs, "GcsFileSystem"):
        return "gs", root, (google := _gs(options)), google
    kind, root, driver = _fsspec(scheme, uri, options)
    return kind, root, driver, driver


def _gs(options: Options) -> pafs.FileSystem:
    if CA_FILE in options:
        raise ConfigurationError(
            f"gs:// takes no storage option {CA_FILE}: Google's client reads the variable SSL_CERT_FILE only. Set it, "
            f"on every machine: SSL_CERT_FILE={options[CA_FILE]}"
        )
    storage_options.check_names("gs://", options, [*_GS_NAMES, RETRIES])
    return pafs.GcsFileSystem(**storage_options.renamed(options, _GS_NAMES), retry_time_limit=_GS_PATIENCE)


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
