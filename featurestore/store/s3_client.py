"""The file system of a bucket on S3, by options, the variables and the files of the AWS tools, in this order."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

import pyarrow.fs as pafs

from featurestore.errors import ConfigurationError
from featurestore.store.aws_profile import profile_setting
from featurestore.store.certificates import authority_file
from featurestore.store.storage_options import CA_FILE, CHECKSUMS, Options, renamed

_NAMES = {
    "access_key": "access_key",
    "secret_key": "secret_key",
    "session_token": "session_token",
    "anonymous": "anonymous",
    "request_timeout": "request_timeout",
    "connect_timeout": "connect_timeout",
}
OPTIONS = (*_NAMES, "region", "endpoint", "scheme", CA_FILE, CHECKSUMS)
"""What a store on s3:// can be told."""

TRAILING, PLAIN = "when_supported", "when_required"
"""Values of the option `checksums`: every upload ends with a checksum, or only one that must."""
_CHECKSUM_VARIABLE = "AWS_REQUEST_CHECKSUM_CALCULATION"
_environment = threading.Lock()


@dataclass(frozen=True)
class Endpoint:
    """A server that speaks S3: host and port, and whether it speaks TLS."""

    address: str
    tls: bool


def open_s3(bucket: str, options: Options, *, in_parts: bool = False, tries: int = 1) -> pafs.S3FileSystem:
    """Return the file system of a bucket. Uploads below 10 MiB are one PUT, which S3 takes whole or not at all.

    Parameters
    ----------
    in_parts : bool
        Whether small uploads, too, go up as large ones do, in several requests.
    tries : int
        How often a request is sent that may succeed at another try. Who tries all of them again needs no more than one.

    Raises
    ------
    ConfigurationError
        If an option or a file that it names cannot be used.
    OSError
        If the region of the bucket cannot be found out.
    """
    arguments = renamed(options, _NAMES)
    server = _endpoint(options)
    region = _region(options) or ("us-east-1" if server else pafs.resolve_s3_region(bucket))
    if server:
        arguments |= {"endpoint_override": server.address, "scheme": "https" if server.tls else "http"}
    else:
        server = Endpoint(f"s3.{region}.amazonaws.com", options.get("scheme") != "http")
        arguments |= {"scheme": "https" if server.tls else "http"}
    if server.tls and (authorities := authority_file(options.get(CA_FILE), profile_setting("ca_bundle"))):
        arguments["tls_ca_file_path"] = authorities
    if proxy := _proxy(server):
        arguments["proxy_options"] = proxy
    with _checksums(checksums(options)):
        patience = pafs.AwsStandardS3RetryStrategy(max_attempts=tries)
        return pafs.S3FileSystem(**arguments, region=region, allow_delayed_open=not in_parts, retry_strategy=patience)


def checksums(options: Options) -> str:
    """Return whether uploads end with a checksum: `TRAILING` or `PLAIN`.

    Raises
    ------
    ConfigurationError
        If the option has another value.
    """
    found = options.get(CHECKSUMS) or os.environ.get(_CHECKSUM_VARIABLE, "").lower() or TRAILING
    if found not in (TRAILING, PLAIN):
        raise ConfigurationError(
            f"The storage option {CHECKSUMS} (or {_CHECKSUM_VARIABLE}) must be {TRAILING} or {PLAIN}. Got {found!r}."
        )
    return found


def _endpoint(options: Options) -> Endpoint | None:
    """Return the server if it is not Amazon's."""
    if options.get("scheme", "http") not in ("http", "https"):
        raise ConfigurationError(f"The storage option scheme must be http or https. Got {options['scheme']!r}.")
    variables = (os.environ.get(name) for name in ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL"))
    given = options.get("endpoint") or next(filter(None, variables), None) or profile_setting("endpoint_url")
    if not given:
        return None
    scheme, _, rest = given.rpartition("://")
    return Endpoint(rest.rstrip("/"), (options.get("scheme") or scheme or "https") == "https")


def _region(options: Options) -> str | None:
    variables = (os.environ.get(name) for name in ("AWS_REGION", "AWS_DEFAULT_REGION"))
    return options.get("region") or next(filter(None, variables), None) or profile_setting("region")


def _proxy(server: Endpoint) -> str | None:
    """Return the URL of the proxy that the environment names for a server, as other programs take it."""
    host = urlsplit(f"//{server.address}").hostname or ""
    proxies = getproxies()
    proxy = proxies.get("https" if server.tls else "http") or proxies.get("all")
    if not proxy or host in ("localhost", "::1") or host.startswith("127.") or proxy_bypass(host):
        return None
    return proxy if "://" in proxy else f"http://{proxy}"


@contextmanager
def _checksums(wanted: str) -> Iterator[None]:
    """Let a client that is made in the block send trailing checksums or none: it reads that from a variable only."""
    with _environment:
        former = os.environ.get(_CHECKSUM_VARIABLE)
        os.environ[_CHECKSUM_VARIABLE] = wanted
        try:
            yield
        finally:
            if former is None:
                del os.environ[_CHECKSUM_VARIABLE]
            else:
                os.environ[_CHECKSUM_VARIABLE] = former
