"""Every error that probestore raises on purpose. Messages say what must hold, what came, and what to do next.

ProbestoreError
├── UnknownNameError        a name that no catalogue, folder or study knows; carries suggestions
├── ConfigurationError      a study file, a record or an argument that cannot be used
├── BackboneError           a network that cannot be built or loaded, or whose output is not (batch, features)
│   └── DriftError          a network that gives other features here than those that are stored
├── DatasetError            images or labels that cannot be read, split or used
├── OtherFilesError         images or weights on this machine that the run was not planned with (one of both above)
├── FeatureValueError       features that no stored type may hold (NaN, infinity)
├── StoreError              a store that cannot be opened, read or written
│   ├── StoreVersionError   in a newer format than this version reads
│   ├── DamagedFileError    a file in it that is not as it was written
│   ├── MissingFileError    a file in it that is not there (any more)
│   └── MissingFeaturesError    features that have not been extracted yet
├── ProbeError              a probe that cannot be fitted on what it was given
├── ClusterLostError        a Ray cluster that answered and answers no more
└── QueryError              SQL that does not run, or a query called with the wrong parameters
"""

from __future__ import annotations

import difflib
import errno
import sys
import traceback
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal


class ProbestoreError(Exception):
    """Base of all errors that are the fault of input, configuration or environment, never of a bug."""


class ConfigurationError(ProbestoreError):
    """A study file, a record or an argument that cannot be used."""


class UnknownNameError(ConfigurationError):
    """A name that nothing answers to.

    Parameters
    ----------
    kind : str
        Kind of thing that the name should have named, e.g. ``"model"``.
    name : str
        The name that came.
    known : iterable of str
        The names that exist; close ones are suggested.
    hint : str
        Sentence that says how to see all of them.
    """

    def __init__(self, kind: str, name: str, known: Iterable[str], hint: str = "") -> None:
        super().__init__(f"Unknown {kind} {name!r}.{did_you_mean(name, known)}{' ' + hint if hint else ''}")


class BackboneError(ProbestoreError):
    """A network that cannot be built or loaded, or whose output is not (batch, features)."""


class DriftError(BackboneError):
    """A network that gives other features in this installation than in the one that made those that are stored."""


class DatasetError(ProbestoreError):
    """Images or labels that cannot be read, split or used."""


class OtherFilesError(BackboneError, DatasetError):
    """Images or weights on this machine that are not those that the run was planned with."""


class FeatureValueError(ProbestoreError):
    """Features that no stored type may hold: NaN or infinity."""


class StoreError(ProbestoreError):
    """A store that cannot be opened, read or written."""


class StoreVersionError(StoreError):
    """A store in a newer format than this version reads."""


class DamagedFileError(StoreError):
    """A file of a store that is not as it was written."""


class MissingFileError(StoreError):
    """A file that is not in a store, or not any more."""


class MissingFeaturesError(StoreError):
    """Features that have not been extracted yet."""


class ProbeError(ProbestoreError):
    """A probe that cannot be fitted on what it was given."""


class OutputError(ProbestoreError):
    """Raised if an answer, or the events of a run, cannot be written where they are wanted."""


class ClusterLostError(ProbestoreError):
    """A Ray cluster that answered when the run began, and answers no more."""


class QueryError(ProbestoreError):
    """SQL that does not run, or a query called with the wrong parameters."""


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return `` Did you mean 'x' or 'y'?`` for the known names close to `name`, or an empty string."""
    by_folded = {candidate.lower(): candidate for candidate in known}
    close = difflib.get_close_matches(name.lower(), by_folded, n=3, cutoff=0.6)
    return f" Did you mean {' or '.join(repr(by_folded[match]) for match in close)}?" if close else ""


Verdict = Literal["machine", "passing", "lasting"]
"""The verdict on a failure: who is to blame, and so where another try may succeed.

``"machine"``: this worker's device, memory or file system is to blame; another worker may do better now.
``"passing"``: the network, the store or the installation is to blame; another run may do better.
``"lasting"``: the same would fail again, wherever and whenever it is tried.
"""

_ERRNOS_OF_THE_MACHINE = {
    errno.EIO,
    errno.ESTALE,
    errno.ETIMEDOUT,
    errno.ENETUNREACH,
    errno.EHOSTUNREACH,
    errno.ECONNRESET,
}
_PASSING = (OSError, ImportError, StoreError, OtherFilesError, DriftError)
_PASSING_WORDS = ("out of memory", "can't allocate memory", "CUDA error")  # torch raises them as plain RuntimeErrors


def verdict_on(error: BaseException) -> Verdict:
    """Judge an exception while it is at hand: its class is known then, not only the class's name."""
    if isinstance(error, (MemoryError, *_device_errors())):
        return "machine"
    if isinstance(error, OSError) and error.errno in _ERRNOS_OF_THE_MACHINE:
        return "machine"
    if isinstance(error, _PASSING) or isinstance(error.__cause__, (OSError, ImportError)):
        return "passing"
    if any(words in str(error) for words in _PASSING_WORDS):
        return "passing"
    return "lasting"


def _device_errors() -> tuple[type[BaseException], ...]:
    """Return torch's errors of a device, where torch is loaded: nothing else can have raised them."""
    torch = sys.modules.get("torch")
    found = (getattr(torch, name, None) for name in ("AcceleratorError", "OutOfMemoryError"))
    return tuple(kind for kind in found if isinstance(kind, type))


@dataclass(frozen=True)
class Failure:
    """A failure in a form that survives any transport and can become a row of the `failures` table.

    Attributes
    ----------
    error : str
        Class of the exception.
    message : str
        Its message; for an exception that is not one of ours, also where it was raised.
    verdict : Verdict
        Whether and where another try may succeed.
    """

    error: str
    message: str
    verdict: Verdict = "lasting"

    @property
    def passing(self) -> bool:
        """True if another try, by another worker or in another run, may succeed."""
        return self.verdict != "lasting"

    @classmethod
    def of(cls, error: BaseException) -> Failure:
        """Describe an exception, and judge it."""
        message = str(error) or type(error).__name__
        frames = traceback.extract_tb(error.__traceback__)
        if frames and not isinstance(error, ProbestoreError):
            message = f"{message} ({Path(frames[-1].filename).name}, line {frames[-1].lineno}, in {frames[-1].name})"
        return cls(type(error).__name__, message, verdict_on(error))
