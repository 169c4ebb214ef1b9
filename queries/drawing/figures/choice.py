"""The choice of results that a figure is drawn from, and the error of a figure that lacks them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from featurestore.errors import QueryError

IMPORT = "Import results made elsewhere: probestore import results FILE.csv"


@dataclass(frozen=True)
class Choice:
    """The results that a figure is drawn from.

    Attributes
    ----------
    probe, tap : str
        Probe and tap of the results.
    dataset : str, optional
        Dataset of a figure that shows one.
    models : tuple of str
        Models of a figure that shows some.
    seed : int
        Seed of bootstrap, draws and t-SNE.
    """

    probe: str = "logistic"
    tap: str = "penultimate"
    dataset: str | None = None
    models: tuple[str, ...] = ()
    seed: int = 0

    def slice(self) -> dict[str, Any]:
        """Return the parameters for questions about scores."""
        return {"probe": self.probe, "tap": self.tap}

    def results(self) -> str:
        """Return the choice in words."""
        return f"results of the probe {self.probe!r} on the tap {self.tap!r}"


def lacks(number: int, needs: str, remedy: str) -> QueryError:
    """Return the error of a figure whose rows the store lacks."""
    return QueryError(f"Figure {number} needs {needs}, and the store has none. {remedy}")
