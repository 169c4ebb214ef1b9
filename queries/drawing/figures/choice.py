"""What of a store a figure is drawn from, and the errors of figures that lack it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from featurestore.errors import QueryError

IMPORT = "Results made elsewhere come in by: probestore import results FILE.csv"


@dataclass(frozen=True)
class Choice:
    """What a figure is drawn from.

    Attributes
    ----------
    probe, tap : str
        Of the results.
    dataset : str, optional
        Of the figures that show one.
    models : tuple of str
        Of the figures that show some.
    seed : int
        Of bootstrap, draws and t-SNE.
    """

    probe: str = "logistic"
    tap: str = "penultimate"
    dataset: str | None = None
    models: tuple[str, ...] = ()
    seed: int = 0

    def slice(self) -> dict[str, Any]:
        """Parameters of the questions about scores."""
        return {"probe": self.probe, "tap": self.tap}

    def results(self) -> str:
        """In words."""
        return f"results of the probe {self.probe!r} on the tap {self.tap!r}"


def lacks(number: int, needs: str, remedy: str) -> QueryError:
    """The error of a figure whose rows are not there."""
    return QueryError(f"Figure {number} needs {needs}, and the store has none. {remedy}")
