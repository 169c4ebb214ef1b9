"""Probes on stored features. Importing this loads neither torch nor scikit-learn."""

from probes.fitted import Evidence, FittedProbe, Trial
from probes.objective import GAP_TOLERANCE, L2_GRID, Certificate, LogisticFit, certificate, probabilities

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
