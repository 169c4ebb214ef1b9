"""Options of a store's file system, as a person types them: which there are, what they mean, which may be shown."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from featurestore.errors import ConfigurationError, UnknownNameError

Options = Mapping[str, str]

_FLAGS = {"anonymous"}
_NUMBERS = {"request_timeout", "connect_timeout"}
RETRIES, CHECKSUMS, CA_FILE = "retries", "checksums", "ca_file"
_DEFAULT_RETRIES = 4
_NO_SECRETS = {"region", "endpoint", "scheme", "project", RETRIES, CHECKSUMS, CA_FILE, *_FLAGS, *_NUMBERS}


def shown(options: Options) -> list[str]:
    """Return options as arguments of a command; the value of one that may be a secret is written as ``...``."""
    safe = {
        name: value if name in _NO_SECRETS and "@" not in value else "..." for name, value in sorted(options.items())
    }
    return [word for name, value in safe.items() for word in ("--storage-option", f"{name}={value}")]


def check_names(place: str, options: Options, known: Iterable[str]) -> None:
    """Check that `place` takes all of the options.

    Raises
    ------
    UnknownNameError
        If it does not take one of them.
    """
    known = list(known)
    for name in options:
        if name not in known:
            raise UnknownNameError(f"storage option of {place}", name, known, f"It takes {', '.join(known) or 'none'}.")


def retries(options: Options) -> int:
    """Return the number of further tries after an error that may pass.

    Raises
    ------
    ConfigurationError
        If it is no number.
    """
    text = options.get(RETRIES, str(_DEFAULT_RETRIES))
    if not text.isdecimal():
        raise ConfigurationError(f"The storage option {RETRIES} must be a whole number, 0 or more. Got {text!r}.")
    return int(text)


def renamed(options: Options, names: Mapping[str, str]) -> dict[str, Any]:
    """Return the options among `names` as arguments of pyarrow: name there -> value of the right type.

    Raises
    ------
    ConfigurationError
        If a value cannot be one of its option.
    """
    return {names[name]: _value(name, text) for name, text in options.items() if name in names}


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
