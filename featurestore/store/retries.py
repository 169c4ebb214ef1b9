"""The meaning of a failed access to a store: worth another try, or an error that says what to do."""

from __future__ import annotations

import errno
import random
import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

_FIRST_PAUSE, _LONGEST_PAUSE = 0.5, 8.0  # seconds

# Errors of a local or mounted file system that the next try may not meet.
_PASSING = {errno.EAGAIN, errno.EBUSY, errno.EINTR, errno.ESTALE, errno.ETIMEDOUT}

# Errors that will be the same at every try, and what to do about them: by number, and by what a message holds.
_LASTING_NUMBERS = {
    errno.ENOSPC: "The disk is full: make room",
    errno.EDQUOT: "The quota is used up: make room or have it raised",
    errno.EFBIG: "A file of this size is not allowed there: have the limit raised",
    errno.EACCES: "The permission is missing: get it",
    errno.EPERM: "The permission is missing: get it",
    errno.EROFS: "The file system is read-only: mount it for writing, or use another store",
}
_LASTING_WORDS = {
    "NO_SUCH_BUCKET": "There is no such bucket: make it, or correct its name",
    "INVALID_BUCKET_NAME": "There can be no such bucket: correct its name",
    "ACCESS_DENIED": "The credentials do not allow it: have them allowed, or give others",
    "INVALID_ACCESS_KEY_ID": "The access key is unknown: correct the credentials",
    "SIGNATURE_DOES_NOT_MATCH": "The secret key is wrong: correct the credentials",
    "INVALID_SIGNATURE": "The secret key is wrong: correct the credentials",
    "INVALID_CLIENT_TOKEN_ID": "The credentials are not valid: renew them",
    "EXPIRED_TOKEN": "The credentials have expired: renew them",
    "UNRECOGNIZED_CLIENT": "The credentials are unknown: correct them",
    "HTTP status 301": "The bucket is in another region: give it as AWS_REGION or --storage-option region=...",
    "HTTP status 400": "The request is refused: correct the credentials, the region or the endpoint",
    "HTTP status 401": "The credentials are not accepted: correct them",
    "HTTP status 403": "The credentials do not allow it: have them allowed, or give others",
}


def persist(work: Callable[[], T], *, retries: int, remote: bool) -> T:
    """Do `work`, and do it again after an error that may pass, with pauses that double and differ between workers.

    Parameters
    ----------
    work : callable
        Doing it twice must be as good as once.
    retries : int
        Number of further tries.
    remote : bool
        Whether a network is in between; then what is not known to last is held to pass.

    Raises
    ------
    OSError
        The last one.
    """
    for attempt in range(retries):
        try:
            return work()
        except OSError as error:
            if not _may_pass(error, remote=remote):
                raise
        # Without the random part, workers that were refused together would come back together.
        time.sleep(min(_LONGEST_PAUSE, _FIRST_PAUSE * 2**attempt) * random.uniform(0.5, 1.5))
    return work()


def advice(error: OSError) -> str:
    """Return what to do about an error that another try did not overcome, as the start of a sentence."""
    if error.errno in _LASTING_NUMBERS:
        return _LASTING_NUMBERS[error.errno]
    found = (text for word, text in _LASTING_WORDS.items() if word in str(error))
    return next(found, "See to it that the place can be reached")


def _may_pass(error: OSError, *, remote: bool) -> bool:
    if isinstance(error, FileNotFoundError | FileExistsError | IsADirectoryError | NotADirectoryError):
        return False
    if error.errno in _PASSING:
        return True
    lasting = error.errno in _LASTING_NUMBERS or any(word in str(error) for word in _LASTING_WORDS)
    return remote and not lasting
