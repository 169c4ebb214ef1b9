"""The meaning of a failed access to a store: worth another try, or an error that says what to do."""

from __future__ import annotations

import errno
import random
import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

T = TypeVar("T")


class OftenTriedError(OSError):
    """An error that a client reports of a request that it has tried several times itself, out of several requests."""


@contextmanager
def trying_itself() -> Iterator[None]:
    """Let what a client reports in the block be known as tried by itself, but for what no client tries again."""
    try:
        yield
    except FileNotFoundError:
        raise
    except OSError as error:
        raise OftenTriedError(*error.args) from error


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
# By what a message holds, without spaces and underscores, in small letters: every client spells them in its own way.
_RENEW = "The credentials have expired: renew them"
_CORRECT = "The credentials are not accepted: correct them"
_NOT_ALLOWED = "The credentials do not allow it: have them allowed, or give others"
_LASTING_WORDS = {
    r"nosuchbucket|thespecifiedbucketdoesnotexist|containernotfound|google::cloud::status\(notfound": "There is no "
    "such bucket: make it, or correct its name",
    "invalidbucketname": "There can be no such bucket: correct its name",
    "requesttimetooskewed|requestisnotyetvalid": "The clock of this machine differs from the server's: set it",
    "expiredtoken|requestexpired|tokenrefreshrequired|expiredauthenticationtoken": _RENEW,
    "(token|credentials?|request)(has|have|is|are)(been)?expired|invalidgrant": _RENEW,
    "signaturenotvalidinthespecifiedtimeframe": _RENEW,
    "invalidaccesskeyid": "The access key is unknown: correct the credentials",
    "signaturedoesnotmatch|invalidsignature": "The secret key is wrong: correct the credentials",
    "invalidclienttokenid|invalidtoken": "The credentials are not valid: renew them",
    "unrecognizedclient": "The credentials are unknown: correct them",
    "accessdenied|permissiondenied|^40[13],.*forbidden|authorizationpermissionmismatch": _NOT_ALLOWED,
    "unauthenticated|unauthorized|authenticationfailed": _CORRECT,
    "quotaexceeded|insufficientstorage": "The place is full: make room, or have the quota raised",
    "targethostname|hostnamemismatch": "The server's certificate is for another host name: give the endpoint by that "
    "name, or correct the certificate",
    "certificate(has|is|verifyfailed:certificatehas)?(expired|notyetvalid)": "The server's certificate is not valid "
    "now: have it renewed, or set the clock of this machine",
    "curlcode:(60|77)|curlerror\\[(60|77)\\]|certificateverifyfailed": "The server's certificate is of an authority "
    "that this machine does not know: give the authority's file as the variable AWS_CA_BUNDLE, for gs:// as "
    "SSL_CERT_FILE, or, for s3:// only, with --storage-option ca_file=FILE",
    "wrongversionnumber|packetlengthtoolong": "The server does not speak TLS there: give an endpoint that does, or one "
    "of http://",
    "httpstatus301|authorizationheadermalformed": "The bucket is in another region: give it as AWS_REGION or "
    "--storage-option region=...",
    "notimplemented|methodnotallowed|httpstatus(405|411|415|501)": "The server does not know such a request: give one "
    "that speaks S3",
    "httpstatus400": "The request is refused: correct the credentials, the region or the endpoint",
    "httpstatus401": _CORRECT,
    "httpstatus403": _NOT_ALLOWED,
}

_REFUSAL_OF_TRAILERS = r"HTTP status (400|403|405|411|415|501)|SIGNATURE_DOES_NOT_MATCH|INVALID_\w+|AWS Error \[code"

_PERMISSIONS = {
    "HeadObject": "s3:GetObject",
    "GetObject": "s3:GetObject",
    "ListObjectsV2": "s3:ListBucket",
    "HeadBucket": "s3:ListBucket",
    "PutObject": "s3:PutObject",
    "CreateMultipartUpload": "s3:PutObject",
    "UploadPart": "s3:PutObject",
    "CompleteMultipartUpload": "s3:PutObject",
    "CopyObject": "s3:PutObject or s3:GetObject",
    "DeleteObject": "s3:DeleteObject",
}
"""Request of S3 -> what allows it."""


def persist(work: Callable[[], T], *, retries: int, remote: bool) -> T:
    """Do `work`, and do it again after an error that may pass, with pauses that double and differ between workers.

    Parameters
    ----------
    work : callable
        Doing it twice must be as good as once.
    retries : int
        Number of further tries; at most one after an `OftenTriedError`, so that tries do not multiply.
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
            if not _may_pass(error, remote=remote) or (attempt and isinstance(error, OftenTriedError)):
                raise
        # Without the random part, workers that were refused together would come back together.
        time.sleep(min(_LONGEST_PAUSE, _FIRST_PAUSE * 2**attempt) * random.uniform(0.5, 1.5))
    return work()


def advice(error: OSError) -> str:
    """Return what to do about an error that another try did not overcome, as the start of a sentence."""
    if error.errno in _LASTING_NUMBERS:
        return _LASTING_NUMBERS[error.errno]
    found = _lasting(error) or "See to it that the place can be reached"
    operation = re.search(r"during (\w+) operation", str(error))
    permission = _PERMISSIONS.get(operation[1]) if operation and found == _NOT_ALLOWED else None
    return f"The permission {permission} is missing. {found}" if permission else found


def says_why(error: OSError) -> bool:
    """Return whether an error has the server's reason, not only its status: the answer to HEAD has no body."""
    return "No response body" not in str(error)


def lasts(error: OSError) -> bool:
    """Return whether an error of a server is known to be the same at every try."""
    return _lasting(error) is not None


def may_refuse_trailers(error: OSError) -> bool:
    """Return whether an error may be that of a server that does not know checksums at the end of an upload.

    Servers answer 400, 403, 411 or 501, with many codes, or store the checksum with the content.
    """
    if arrived := re.match(r"(\d+) bytes of (\d+) have arrived", str(error)):
        return int(arrived[1]) > int(arrived[2])
    return re.search(_REFUSAL_OF_TRAILERS, str(error)) is not None and _lasting(error) not in (_NOT_ALLOWED, _RENEW)


def concerns_upload(error: OSError) -> bool:
    """Return whether an error is about an upload, and so may be such a refusal, whatever its words are."""
    return "PutObject" in str(error) or may_refuse_trailers(error)


def _lasting(error: OSError) -> str | None:
    """Return what to do about an error by its message, if it will be the same at every try."""
    unquoted = re.sub(r"(key|bucket|path) '[^']*'", "", str(error))  # a name of a person's may be any of the words
    said = re.sub(r"[\s_]+", "", unquoted).lower()
    return next((text for words, text in _LASTING_WORDS.items() if re.search(words, said)), None)


def _may_pass(error: OSError, *, remote: bool) -> bool:
    if isinstance(error, FileNotFoundError | FileExistsError | IsADirectoryError | NotADirectoryError):
        return False
    if error.errno in _PASSING:
        return True
    return remote and error.errno not in _LASTING_NUMBERS and _lasting(error) is None
