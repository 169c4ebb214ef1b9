"""How alike the features of a split's images are. Where all are the same, the network was shown nothing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

_MOST_IMAGES = 512
_FEWEST_IMAGES = 64  # however wide the features are
_MOST_VALUES = 1_000_000  # a twentieth of a second, whatever the size of the split


@dataclass(frozen=True)
class Likeness:
    """How alike the rows of a matrix are, measured on at most 512 of them, evenly spaced.

    Attributes
    ----------
    spread : float
        Median distance of a row from the middle of all, which is the median of each column, over the root mean square
        norm of the rows: 0 where more than half of the rows are equal. It does not depend on the unit of the features.
    equal : float
        Share of the rows that are one and the same, of the most frequent row; 0 where no two are equal.
    """

    spread: float
    equal: float

    @classmethod
    def of(cls, X: NDArray[Any]) -> Likeness | None:
        """Measure a matrix of shape (n_images, n_features); None below two images."""
        if len(X) < 2:
            return None
        rows = np.ascontiguousarray(_some(X))
        return cls(_spread(rows.astype(np.float64)), _equal(rows))


def _some(X: NDArray[Any]) -> NDArray[Any]:
    most = min(_MOST_IMAGES, max(_FEWEST_IMAGES, _MOST_VALUES // max(1, X.shape[1])))
    return X if len(X) <= most else X[np.linspace(0, len(X) - 1, most).astype(np.intp)]


def _spread(rows: NDArray[np.float64]) -> float:
    size = np.sqrt(np.mean(np.square(rows).sum(axis=1)))
    distances = np.linalg.norm(rows - np.median(rows, axis=0), axis=1)
    return float(np.median(distances) / size) if size > 0 else 0.0


def _equal(rows: NDArray[Any]) -> float:
    whole = rows.view(np.dtype((np.void, rows.dtype.itemsize * rows.shape[1]))).ravel()
    most = int(np.unique(whole, return_counts=True)[1].max())
    return most / len(rows) if most > 1 else 0.0
