"""The certificate authorities that a server's certificate is checked by, where a person names files of them."""

from __future__ import annotations

import os
import ssl
import tempfile
from functools import cache
from pathlib import Path

from featurestore.errors import ConfigurationError

VARIABLES = ("AWS_CA_BUNDLE", "SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")
_MAY_BE_FOLDERS = {"REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"}


def authority_file(option: str | None, profile: str | None = None) -> str | None:
    """Return a file of the authorities that were named; None if none was, and those of the system are meant.

    Parameters
    ----------
    option : str, optional
        Value of the storage option ``ca_file``; nothing else counts then.
    profile : str, optional
        The ``ca_bundle`` of the AWS profile. It counts as much as the variables: the authorities of all of them are
        taken, since a machine often has some of them set for all of its users.

    Raises
    ------
    ConfigurationError
        If such a file cannot be read on this machine, or has no certificate in it.
    """
    named = {name: os.environ.get(name) for name in VARIABLES} | {"ca_bundle of the AWS profile": profile}
    if option:
        named = {"The storage option ca_file": option}
    contents: dict[Path, bytes] = {}
    for source, text in named.items():
        path = Path(text or "").expanduser()
        if text and not (source in _MAY_BE_FOLDERS and path.is_dir()):  # pyarrow takes no folder
            _check(source, path)
            contents[path.resolve()] = path.read_bytes()
    if len(contents) < 2:
        return next((str(path) for path in contents), None)
    return _file_of(b"\n".join(dict.fromkeys(contents.values())))


def _check(source: str, path: Path) -> None:
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(path)
    except ssl.SSLError:
        problem = "there is no certificate in it"
    except OSError as error:
        problem = error.strerror or str(error)
    else:
        return
    raise ConfigurationError(
        f"A file of certificate authorities must be there on every machine, in PEM format. {source} names {path}: "
        f"{problem}. Correct the path, or copy the file there."
    )


@cache
def _file_of(content: bytes) -> str:
    """Return the path of a file that lives as long as this process, and no longer however it ends."""
    if hasattr(os, "memfd_create"):
        file = os.memfd_create("authorities")
        path = f"/proc/self/fd/{file}"
    else:
        file, path = tempfile.mkstemp(prefix="probestore-authorities-")
    with open(file, "wb", closefd=False) as stream:
        stream.write(content)
    return path
