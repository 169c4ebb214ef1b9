"""Fit probes on stored features. Importing this package loads neither torch nor scikit-learn.

The estimators `LogisticPath` and `LogisticProbe` need scikit-learn; they are loaded when a program first uses them.
They are not in `__all__`, because a star import would load them.
"""

import typing

from probes.fitting.fitted import Evidence, FittedProbe, Trial
from probes.objective import GAP_TOLERANCE, L2_GRID, Certificate, LogisticFit, certificate, probabilities

if typing.TYPE_CHECKING:
    from probes.estimators import LogisticPath as LogisticPath
    from probes.estimators import LogisticProbe as LogisticProbe

__all__ = [
    "GAP_TOLERANCE",
    "L2_GRID",
    "Certificate",
    "Evidence",
    "FittedProbe",
    "LogisticFit",
    "Trial",
    "certificate",
    "probabilities",
]


def __getattr__(name: str) -> type:
    if name not in ("LogisticPath", "LogisticProbe"):
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from probes import estimators

    found: type = getattr(estimators, name)
    return found
